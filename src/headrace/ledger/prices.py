"""Prices: what the tokens of a call come to, in integers, rounded once.

Rates are nano-dollars per million tokens, so that $0.0375 per million is a whole number. Every
rate is at least 0, so a call can never come to more than the worst case of its bounds.
"""

from typing import Literal

import msgspec

from headrace.core.models import Usage
from headrace.core.money import NanoDollars

PER_MILLION = 1_000_000
_WHOLE_PERCENT = 100

Tier = Literal["standard", "batch"]


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nano-dollars per million tokens of each kind; `image` and `call` are for one of them.

    None: as `input`, or for `reasoning` as `output`. `above` holds the rates of calls whose input
    is longer than its key says, in tokens; they hold for all tokens of such a call. `batch_percent`
    is what a batch pays of the sum.
    """

    input: int = 0
    output: int = 0
    cached: int | None = None
    cache_written: int | None = None
    cache_written_long: int | None = None
    reasoning: int | None = None
    image: int = 0
    call: int = 0
    batch_percent: int = 100
    above: dict[int, "Rates"] = {}

    def of(self, input_tokens: int) -> "Rates":
        """The rates of a call with so much input."""
        reached = [tokens for tokens in self.above if input_tokens > tokens]
        return self.above[max(reached)] if reached else self


class Price(msgspec.Struct, frozen=True):
    """One version of the rates of a model or an upstream's model; it never changes."""

    id: str
    target: str
    rates: Rates
    effective_ns: int
    origin: str = "set"


def amount(rates: Rates, usage: Usage, *, images: int = 0, tier: Tier = "standard") -> NanoDollars:
    """What a call comes to, rounded half to even once."""
    tiered = rates.of(usage.input)
    written_long = min(usage.cache_written_long, usage.cache_written)
    written = usage.cache_written - written_long
    plain = max(0, usage.input - usage.cached - usage.cache_written)
    spoken = max(0, usage.output - usage.reasoning)
    micro = (
        plain * tiered.input
        + usage.cached * _or(tiered.cached, tiered.input)
        + written * _or(tiered.cache_written, tiered.input)
        + written_long * _or(tiered.cache_written_long, tiered.input)
        + spoken * tiered.output
        + usage.reasoning * _or(tiered.reasoning, tiered.output)
        + (images * tiered.image + tiered.call) * PER_MILLION
    )
    percent = rates.batch_percent if tier == "batch" else _WHOLE_PERCENT
    return NanoDollars(half_even(micro * percent, PER_MILLION * _WHOLE_PERCENT))


def worst(
    rates: Rates, input_tokens: int, output_tokens: int, *, images: int = 0, tier: Tier = "standard"
) -> NanoDollars:
    """The most that a call within these bounds can come to."""
    reached = (rates, *(above for tokens, above in rates.above.items() if input_tokens > tokens))
    highest = max(
        input_tokens * _dearest_input(one)
        + output_tokens * max(one.output, _or(one.reasoning, one.output))
        + (images * one.image + one.call) * PER_MILLION
        for one in reached
    )
    percent = rates.batch_percent if tier == "batch" else _WHOLE_PERCENT
    return NanoDollars(half_even(highest * percent, PER_MILLION * _WHOLE_PERCENT))


def saved(rates: Rates, usage: Usage) -> NanoDollars:
    """What the cached input of a call would have come to in addition, uncached."""
    tiered = rates.of(usage.input)
    less = tiered.input - _or(tiered.cached, tiered.input)
    return NanoDollars(half_even(usage.cached * less, PER_MILLION))


def _dearest_input(rates: Rates) -> int:
    return max(
        rates.input,
        _or(rates.cached, 0),
        _or(rates.cache_written, 0),
        _or(rates.cache_written_long, 0),
    )


def _or(rate: int | None, other: int) -> int:
    return other if rate is None else rate


def half_even(value: int, unit: int) -> int:
    """`value / unit`, rounded half to even; `unit` is more than 0."""
    whole, rest = divmod(value, unit)
    twice = 2 * rest
    return whole + (twice > unit or (twice == unit and whole % 2 == 1))
