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
    is longer than its key says, in tokens; they hold for all tokens of such a call. A batch has the
    rates of `batch`, or where there are none `batch_percent` of the sum.
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
    batch: "Rates | None" = None

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
    """What a call comes to, rounded half to even once.

    A part counts for no more than its whole, whatever an upstream says of it: else a call could
    come to more than its `worst`.
    """
    percent = _percent(rates, tier)
    tiered = _of_tier(rates, tier).of(usage.input)
    cached = min(usage.cached, usage.input)
    written = min(usage.cache_written, usage.input - cached)
    written_long = min(usage.cache_written_long, written)
    reasoning = min(usage.reasoning, usage.output)
    micro = (
        (usage.input - cached - written) * tiered.input
        + cached * _or(tiered.cached, tiered.input)
        + (written - written_long) * _or(tiered.cache_written, tiered.input)
        + written_long * _or(tiered.cache_written_long, tiered.input)
        + (usage.output - reasoning) * tiered.output
        + reasoning * _or(tiered.reasoning, tiered.output)
        + (images * tiered.image + tiered.call) * PER_MILLION
    )
    return NanoDollars(half_even(micro * percent, PER_MILLION * _WHOLE_PERCENT))


def worst(
    rates: Rates, input_tokens: int, output_tokens: int, *, images: int = 0, tier: Tier = "standard"
) -> NanoDollars:
    """The most that a call within these bounds can come to."""
    base = _of_tier(rates, tier)
    reached = (base, *(above for tokens, above in base.above.items() if input_tokens > tokens))
    highest = max(
        input_tokens * _dearest_input(one)
        + output_tokens * max(one.output, _or(one.reasoning, one.output))
        + (images * one.image + one.call) * PER_MILLION
        for one in reached
    )
    return NanoDollars(half_even(highest * _percent(rates, tier), PER_MILLION * _WHOLE_PERCENT))


def saved(rates: Rates, usage: Usage, *, tier: Tier = "standard") -> NanoDollars:
    """What the cached input of a call would have come to in addition, uncached."""
    tiered = _of_tier(rates, tier).of(usage.input)
    less = tiered.input - _or(tiered.cached, tiered.input)
    micro = min(usage.cached, usage.input) * less * _percent(rates, tier)
    return NanoDollars(half_even(micro, PER_MILLION * _WHOLE_PERCENT))


def _of_tier(rates: Rates, tier: Tier) -> Rates:
    return rates.batch if tier == "batch" and rates.batch is not None else rates


def _percent(rates: Rates, tier: Tier) -> int:
    return rates.batch_percent if tier == "batch" and rates.batch is None else _WHOLE_PERCENT


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
