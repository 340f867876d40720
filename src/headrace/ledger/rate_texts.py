"""Rates as people write them: decimal strings of dollars per million tokens."""

from decimal import Decimal, InvalidOperation, localcontext

import msgspec

from headrace.core.errors import InvalidRequest
from headrace.ledger.prices import Rates

_NANO = 1_000_000_000
_DIGITS_MAX = 9
_DOLLARS_MAX = 100_000
_LETTERS_MAX = 40
_ABOVE_MAX = 16
_AMOUNTS = (
    "input",
    "output",
    "cached",
    "cache_written",
    "cache_written_long",
    "reasoning",
    "image",
    "call",
)
_FREE = frozenset({"image", "call"})


class FlatRates(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Dollars per million tokens of each kind; `image` and `call` are dollars for one of them.

    What is not said is as `input`, or for `reasoning` as `output`; an image or a call is free.
    """

    input: str | None = None
    output: str | None = None
    cached: str | None = None
    cache_written: str | None = None
    cache_written_long: str | None = None
    reasoning: str | None = None
    image: str | None = None
    call: str | None = None


class TieredRates(FlatRates, frozen=True, kw_only=True, omit_defaults=True):
    """Rates, and `above` by input tokens those of calls whose input is longer."""

    above: dict[int, FlatRates] = {}


class StatedRates(TieredRates, frozen=True, kw_only=True, omit_defaults=True):
    """All rates of a price: a batch pays `batch`, or `batch_percent` of the sum."""

    batch_percent: int = 100
    batch: TieredRates | None = None


def read(stated: StatedRates) -> Rates:
    """The rates that somebody wrote.

    Raises:
        InvalidRequest: An amount is not one; `param` names it.
    """
    if not 0 <= stated.batch_percent <= 100:  # noqa: PLR2004 - percent
        raise InvalidRequest("batch_percent must be between 0 and 100", param="batch_percent")
    if stated.input is None or stated.output is None:
        missing = "input" if stated.input is None else "output"
        raise InvalidRequest(
            f"the rates do not say {missing}", param=missing, hint='a free one is "0"'
        )
    batch = None if stated.batch is None else _tiered(stated.batch, "batch.")
    return msgspec.structs.replace(
        _tiered(stated, ""), batch_percent=stated.batch_percent, batch=batch
    )


def write(rates: Rates) -> StatedRates:
    """Rates as people read them."""
    texts = _texts(rates) | {"batch_percent": rates.batch_percent}
    if rates.batch is not None:
        texts["batch"] = _texts(rates.batch)
    return msgspec.convert(texts, StatedRates)


def _tiered(stated: TieredRates, where: str) -> Rates:
    if len(stated.above) > _ABOVE_MAX or any(tokens < 1 for tokens in stated.above):
        raise InvalidRequest(
            f"above has at most {_ABOVE_MAX} numbers of tokens, each at least 1", param="above"
        )
    base = _flat(stated, stated, where)
    above = {
        tokens: _flat(flat, stated, f"{where}above.{tokens}.")
        for tokens, flat in sorted(stated.above.items())
    }
    return msgspec.structs.replace(base, above=above)


def _flat(stated: FlatRates, base: FlatRates, where: str) -> Rates:
    """Rates of one tier; what it does not say is as in `base`."""
    amounts = {name: _nano(stated, name, where) for name in _AMOUNTS}
    for name, amount in amounts.items():
        if amount is None:
            amounts[name] = _nano(base, name, where)
    kinds = {name: amount for name, amount in amounts.items() if amount is not None}
    return msgspec.convert(kinds, Rates)


def _nano(stated: FlatRates, name: str, where: str) -> int | None:
    text: str | None = getattr(stated, name)
    if text is None:
        return None
    dollars = _decimal(text)
    if dollars is None:
        raise InvalidRequest(
            f"{where}{name} is not a number of dollars: {text[:50]!r}", param=f"{where}{name}"
        )
    # The default context would round after 28 digits.
    with localcontext(prec=2 * _LETTERS_MAX):
        nano = dollars * _NANO
        whole = int(nano)
    if nano != whole:
        raise InvalidRequest(
            f"{where}{name} has more than {_DIGITS_MAX} decimals", param=f"{where}{name}"
        )
    if not 0 <= whole <= _DOLLARS_MAX * _NANO:
        raise InvalidRequest(
            f"{where}{name} must be between 0 and {_DOLLARS_MAX} dollars", param=f"{where}{name}"
        )
    return whole


def _decimal(text: str) -> Decimal | None:
    # A long exponent would make a number that fills the memory.
    if len(text) > _LETTERS_MAX or "e" in text.lower():
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _texts(rates: Rates) -> dict[str, object]:
    found = _flat_texts(rates, _FREE)
    if rates.above:
        # A tier that does not say what an image costs has the price of the one below.
        found["above"] = {tokens: _flat_texts(one) for tokens, one in rates.above.items()}
    return found


def _flat_texts(rates: Rates, free: frozenset[str] = frozenset()) -> dict[str, object]:
    return {
        name: _dollars(amount)
        for name in _AMOUNTS
        if (amount := getattr(rates, name)) or (amount == 0 and name not in free)
    }


def _dollars(nano: int) -> str:
    dollars, rest = divmod(nano, _NANO)
    decimals = f"{rest:09d}".rstrip("0")
    return f"{dollars}.{decimals}" if decimals else str(dollars)
