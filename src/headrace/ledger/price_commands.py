"""`headrace prices list|set|update`: of the running Headrace."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from headrace.config.settings import load_settings
from headrace.core.errors import InvalidRequest
from headrace.net.operator import ask, live

_NS_PER_S = 1_000_000_000
_COLUMNS = ("side", "of", "input", "cached", "output", "by", "since (UTC)")
_RIGHT = frozenset(("input", "cached", "output"))
_AMOUNTS = {
    "input": "a million tokens of input",
    "output": "a million tokens of output",
    "cached": "a million tokens of input from the cache (default: as input)",
    "cache_written": "a million tokens of input that the cache newly keeps (default: as input)",
    "cache_written_long": "the same, kept for an hour or longer (default: as input)",
    "reasoning": "a million tokens of reasoning (default: as output)",
    "image": "an image",
    "call": "a call",
}


class _Price(msgspec.Struct, frozen=True):
    """As the admin API tells it."""

    side: str
    target: str
    rates: dict[str, Any]
    origin: str
    effective_ns: int
    current: bool


class _Prices(msgspec.Struct, frozen=True):
    """As the admin API tells them."""

    prices: tuple[_Price, ...]
    unpriced: tuple[str, ...]


def parser() -> argparse.ArgumentParser:
    """The command line of `headrace prices`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", metavar="FOLDER", help="data folder (HEADRACE_DATA)")
    common.add_argument("--json", action="store_true", help="print JSON")
    top = argparse.ArgumentParser(
        "headrace prices", description="What calls are charged, and what upstreams charge us."
    )
    words = top.add_subparsers(dest="word", required=True, metavar="list|set|update")
    listing = words.add_parser("list", parents=[common], help="show what holds now")
    listing.add_argument("--all", action="store_true", help="earlier and later versions too")
    put = words.add_parser("set", parents=[common], help="set a price from now or later on")
    put.add_argument("target", metavar="MODEL", help="a model; with --cost UPSTREAM/MODEL")
    put.add_argument("--cost", action="store_true", help="what the upstream charges us for it")
    for name, text in _AMOUNTS.items():
        put.add_argument(f"--{name.replace('_', '-')}", metavar="USD", help=f"dollars for {text}")
    put.add_argument("--batch-percent", type=int, metavar="N", help="what a batch pays of it")
    put.add_argument("--rates", metavar="JSON", help="all rates as the API takes them, with tiers")
    put.add_argument("--from", dest="start", metavar="DATE", help="UTC, such as 2027-01-01T00:00")
    words.add_parser("update", parents=[common], help="fetch the newest list prices of upstreams")
    return top


def main(arguments: list[str]) -> int:
    """Run `headrace prices`; returns the exit code."""
    flags = parser().parse_args(arguments)
    run = live(load_settings({"data": flags.data}))
    if flags.word == "list":
        reply = ask(run, "GET", "/admin/prices")
        found = msgspec.json.decode(reply, type=_Prices)
        _say(reply.decode() if flags.json else _page(found, whole=flags.all))
    elif flags.word == "set":
        reply = ask(run, "POST", "/admin/prices", _body(flags))
        one = msgspec.json.decode(reply, type=_Price)
        _say(reply.decode() if flags.json else _table([one]))
    else:
        reply = ask(run, "POST", "/admin/prices/update")
        told = msgspec.json.decode(reply)
        _say(
            reply.decode()
            if flags.json
            else f"{told['listed']} of {told['targets']} upstream models have a list price,"
            f" {told['changed']} changed"
        )
    return 0


def _body(flags: argparse.Namespace) -> dict[str, object]:
    stated = {name: getattr(flags, name) for name in (*_AMOUNTS, "batch_percent")}
    rates: object = {name: value for name, value in stated.items() if value is not None}
    if flags.rates is not None:
        if rates:
            raise InvalidRequest("--rates says all rates; leave the other ones out")
        try:
            rates = msgspec.json.decode(flags.rates)
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"--rates is not JSON: {error}") from None
    return {
        "side": "cost" if flags.cost else "price",
        "target": flags.target,
        "rates": rates,
        "effective_ns": None if flags.start is None else time_ns(flags.start),
    }


def time_ns(text: str) -> int:
    """A date in UTC, with a time or without.

    Raises:
        InvalidRequest: It is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            f"{text!r} is not a date", hint="Write 2027-01-01 or 2027-01-01T12:00."
        ) from None
    known = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return int(known.timestamp()) * _NS_PER_S


def _page(found: _Prices, *, whole: bool) -> str:
    shown = [one for one in found.prices if whole or one.current]
    lines = [_table(shown)] if shown else []
    lines += [
        f"{model} is free of charge: nobody has set its price. Set one with:"
        f" headrace prices set {model} --input 0.15 --output 0.60"
        for model in found.unpriced
    ]
    return "\n".join(lines) or "no prices, and no models that could have one"


def _table(found: Sequence[_Price]) -> str:
    lines = [_COLUMNS, *(_line(one) for one in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _line(one: _Price) -> tuple[str, ...]:
    rates = one.rates
    since = datetime.fromtimestamp(one.effective_ns // _NS_PER_S, UTC)
    more = " and more above" if "above" in rates else ""
    return (
        one.side,
        one.target,
        str(rates.get("input", "")),
        str(rates.get("cached", rates.get("input", ""))),
        f"{rates.get('output', '')}{more}",
        one.origin,
        since.strftime("%Y-%m-%d %H:%M"),
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
