"""The child process that reads list prices: `python -m headrace.ledger.list_prices_child`.

One JSON line comes on standard input, one goes out. The library of prices takes a second to load
and stays in memory for good, so no server ever imports it.
"""

import sys
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.ledger.prices import Rates

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice

_NANO = 1_000_000_000
_THOUSAND = 1_000
_STEPS_A_DAY = 48
_TOKENS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached": "cache_read_mtok",
    "cache_written": "cache_write_mtok",
    "cache_written_long": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
}
_REQUESTS = "requests_kcount"


class Wanted(msgspec.Struct, frozen=True):
    """A model by the name it has at an upstream, and the upstream's URL."""

    url: str
    model: str


class Question(msgspec.Struct, frozen=True):
    """Which prices are wanted, of which day; `newest`: from the library's own address."""

    wanted: list[Wanted]
    now_ns: int
    newest: bool = False


class Answer(msgspec.Struct, frozen=True):
    """The rates of what was wanted, None where there are none; or why there is no answer."""

    version: str = ""
    rates: list[Rates | None] = []
    error: str | None = None


def answer(question: Question) -> Answer:
    """Look all of them up."""
    import genai_prices  # noqa: PLC0415 - the child's own, and heavy
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - as above
    from genai_prices.update_prices import UpdatePrices  # noqa: PLC0415 - as above

    snapshot = get_snapshot()
    if question.newest:
        try:
            snapshot = UpdatePrices().fetch() or snapshot
        except Exception as error:  # noqa: BLE001 - whatever its client raises, offline above all
            return Answer(error=f"{type(error).__name__}: {error}")
    now = datetime.fromtimestamp(question.now_ns // _NANO, UTC)
    rates = [_find(snapshot, one, now) for one in question.wanted]
    return Answer(genai_prices.__version__, rates)


def _find(snapshot: "DataSnapshot", wanted: Wanted, now: datetime) -> Rates | None:
    try:
        _, model = snapshot.find_provider_model(wanted.model, None, None, wanted.url)
    except LookupError:
        return None
    standard, batch = _dearest(model, now, None), _dearest(model, now, {"processing": "batch"})
    if standard is None:
        return None
    same = batch is None or batch == standard
    return standard if same else msgspec.structs.replace(standard, batch=batch)


def _dearest(model: "ModelInfo", now: datetime, context: dict[str, str] | None) -> Rates | None:
    """The rates of today; where they change with the hour, the highest of them."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    step = timedelta(days=1) / _STEPS_A_DAY
    found = [
        converted(model.get_prices(midnight + step * index, context))
        for index in range(_STEPS_A_DAY)
    ]
    known = [rates for rates in found if rates is not None]
    return max(known, key=lambda rates: rates.input + rates.output, default=None)


def converted(price: "ModelPrice") -> Rates | None:
    """Rates of a price; None where it is for something else than tokens and calls."""
    starts = {0} | {
        tier.start
        for key in (*_TOKENS.values(), _REQUESTS)
        for tier in getattr(vars(price).get(key), "tiers", ())
    }
    flat = {start: _flat(price, start) for start in sorted(starts)}
    base = flat.pop(0)
    if base is None:
        return None
    above = {start: rates for start, rates in flat.items() if rates is not None}
    return msgspec.structs.replace(base, above=above)


def _flat(price: "ModelPrice", start: int) -> Rates | None:
    """The rates of calls with more input than `start`."""
    fields = {kind: _nano(price, key, start) for kind, key in _TOKENS.items()}
    calls = _nano(price, _REQUESTS, start)
    if fields["input"] is None and fields["output"] is None and calls is None:
        return None
    given: dict[str, Any] = {kind: rate for kind, rate in fields.items() if rate is not None}
    return Rates(**given, call=(calls or 0) // _THOUSAND)


def _nano(price: "ModelPrice", key: str, start: int) -> int | None:
    """Dollars per million tokens, or per thousand calls, in nano-dollars."""
    value = vars(price).get(key)
    if value is None:
        return None
    dollars: Decimal = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        if tier.start <= start:
            dollars = tier.price
    # A few prices of resellers have more than nine digits.
    return int((dollars * _NANO).to_integral_value(ROUND_HALF_EVEN))


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.buffer.readline(), type=Question)
    sys.stdout.buffer.write(msgspec.json.encode(answer(asked)) + b"\n")
