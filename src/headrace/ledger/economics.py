"""Economics of a machine of our own: what a token costs there, and from which volume on it pays.

A day of the machine costs `F` whether or not anybody uses it, and `L` while it is fully used; it
then makes `M` tokens. So a token costs `v = (L - F) / M` beside the fixed part. A provider asks `p`
for a token of the same mix. The machine is cheaper from `F / (p - v)` tokens a day on, if it can
make so many. All of it is exact until somebody rounds it.
"""

from fractions import Fraction

import msgspec

_NS_PER_HOUR = 3_600_000_000_000


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What calls used of a machine: its time, and the tokens that were made in it."""

    machine_ns: int
    prefill_machine_ns: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int


class TokenCosts(msgspec.Struct, frozen=True):
    """Nano-dollars for a token of each class while the machine is fully used; None: none was made.

    Time before the first token is that of the input which no cache held: cached input takes next
    to none of it, and what it takes is in there.
    """

    uncached_input: Fraction | None
    output: Fraction | None


def token_costs(load_nano_per_hour: Fraction, work: Work) -> TokenCosts:
    """What tokens cost by their class, of measured work."""
    uncached = work.input_tokens - work.cached_tokens
    decode_ns = work.machine_ns - work.prefill_machine_ns
    return TokenCosts(
        _each(load_nano_per_hour, work.prefill_machine_ns, uncached),
        _each(load_nano_per_hour, decode_ns, work.output_tokens),
    )


def breakeven_tokens(
    fixed_nano: Fraction, load_nano: Fraction, tokens_max: Fraction, asked_nano: Fraction
) -> Fraction | None:
    """From how many tokens on the machine is cheaper than a provider.

    Args:
        fixed_nano: What it costs in a time when nobody uses it.
        load_nano: What it costs in the same time fully used.
        tokens_max: How many tokens it then makes.
        asked_nano: What the provider asks for a token.

    Returns:
        Tokens in that time; None where the provider is cheaper than a fully used machine.
    """
    each = (load_nano - fixed_nano) / tokens_max
    if asked_nano <= each:
        return None
    volume = fixed_nano / (asked_nano - each)
    return volume if volume <= tokens_max else None


def _each(load_nano_per_hour: Fraction, time_ns: int, tokens: int) -> Fraction | None:
    return load_nano_per_hour * time_ns / _NS_PER_HOUR / tokens if tokens > 0 else None
