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
    # On the road of every call: the usual one has one tier, and few kinds of tokens.
    percent = _WHOLE_PERCENT
    if tier == "batch":
        rates, percent = _batch(rates)
    if rates.above:
        rates = rates.of(usage.input)
    micro = usage.input * rates.input + usage.output * rates.output
    if usage.cached or usage.cache_written:
        micro += _kept(rates, usage)
    if usage.reasoning and rates.reasoning is not None:
        micro += min(usage.reasoning, usage.output) * (rates.reasoning - rates.output)
    if images or rates.call:
        micro += (images * rates.image + rates.call) * PER_MILLION
    return NanoDollars(half_even(micro * percent, PER_MILLION * _WHOLE_PERCENT))


def worst(
    rates: Rates, input_tokens: int, output_tokens: int, *, images: int = 0, tier: Tier = "standard"
) -> NanoDollars:
    """The most that a call within these bounds can come to."""
    percent = _WHOLE_PERCENT
    if tier == "batch":
        rates, percent = _batch(rates)
    highest = _most(rates, input_tokens, output_tokens, images)
    if rates.above:
        for tokens, above in rates.above.items():
            if input_tokens > tokens:
                highest = max(highest, _most(above, input_tokens, output_tokens, images))
    return NanoDollars(half_even(highest * percent, PER_MILLION * _WHOLE_PERCENT))


def saved(rates: Rates, usage: Usage, *, tier: Tier = "standard") -> NanoDollars:
    """What the cached input of a call would have come to in addition, uncached."""
    percent = _WHOLE_PERCENT
    if tier == "batch":
        rates, percent = _batch(rates)
    tiered = rates.of(usage.input)
    less = 0 if tiered.cached is None else tiered.input - tiered.cached
    micro = min(usage.cached, usage.input) * less * percent
    return NanoDollars(half_even(micro, PER_MILLION * _WHOLE_PERCENT))


def half_even(value: int, unit: int) -> int:
    """`value / unit`, rounded half to even; `unit` is more than 0."""
    whole, rest = divmod(value, unit)
    twice = 2 * rest
    return whole + (twice > unit or (twice == unit and whole % 2 == 1))


def _batch(rates: Rates) -> tuple[Rates, int]:
    """The rates of a batch, and the part of their sum that it pays."""
    return (rates, rates.batch_percent) if rates.batch is None else (rates.batch, _WHOLE_PERCENT)


def _kept(rates: Rates, usage: Usage) -> int:
    """What input from a cache, or for one, comes to beyond plain input."""
    cached = min(usage.cached, usage.input)
    written = min(usage.cache_written, usage.input - cached)
    written_long = min(usage.cache_written_long, written)
    plain = rates.input
    return (
        cached * (_or(rates.cached, plain) - plain)
        + (written - written_long) * (_or(rates.cache_written, plain) - plain)
        + written_long * (_or(rates.cache_written_long, plain) - plain)
    )


def _most(rates: Rates, input_tokens: int, output_tokens: int, images: int) -> int:
    dearest = max(
        rates.input,
        rates.cached or 0,
        rates.cache_written or 0,
        rates.cache_written_long or 0,
    )
    made = max(rates.output, rates.reasoning or 0)
    return (
        input_tokens * dearest
        + output_tokens * made
        + (images * rates.image + rates.call) * PER_MILLION
    )


def _or(rate: int | None, other: int) -> int:
    return other if rate is None else rate
