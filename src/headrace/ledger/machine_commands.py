"""`headrace machines list|set|asset`: of the running Headrace."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.config.settings import load_settings
from headrace.core.errors import InvalidRequest
from headrace.core.money import NanoDollars, format_usd, parse_usd
from headrace.ledger.price_commands import time_ns
from headrace.net.operator import ask, live

_COLUMNS = ("machine", "an idle hour", "an hour of work", "energy")
_RIGHT = frozenset(("an idle hour", "an hour of work"))
_TERMS = {
    "rent_per_hour": "dollars of rent for an hour",
    "purchase": "dollars that it was bought for",
    "residual_percent": "what it is worth at the end of its life, in percent of that",
    "life_years": "years of its life (default: 4)",
    "interest_percent": "what its money costs a year, in percent",
    "space_per_hour": "dollars of space for an hour",
    "network_per_hour": "dollars of network for an hour",
    "operation_per_hour": "dollars of somebody's work for an hour",
    "idle_watts": "watts that it draws when idle",
    "load_watts": "watts that it draws under full load",
    "pue": "what the building draws for each of its watts (default: 1)",
    "kwh": "dollars of a kilowatt-hour",
}


class _Machine(msgspec.Struct, frozen=True):
    """As the admin API tells it."""

    name: str
    terms: dict[str, Any] | None
    measured: dict[str, str | None]
    idle_nano_per_hour: int
    load_nano_per_hour: int


def parser() -> argparse.ArgumentParser:
    """The command line of `headrace machines`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", metavar="FOLDER", help="data folder (HEADRACE_DATA)")
    common.add_argument("--json", action="store_true", help="print JSON")
    top = argparse.ArgumentParser(
        "headrace machines", description="What machines of our own cost, and training."
    )
    words = top.add_subparsers(dest="word", required=True, metavar="list|set|asset")
    words.add_parser("list", parents=[common], help="show all machines and what an hour costs")
    put = words.add_parser("set", parents=[common], help="set what a machine costs")
    put.add_argument("name", help="`local`, or as an upstream's `machine` names it")
    for name, text in _TERMS.items():
        put.add_argument(f"--{name.replace('_', '-')}", metavar="N", help=text.replace("%", "%%"))
    put.add_argument("--from", dest="start", metavar="DATE", help="UTC, such as 2027-01-01T00:00")
    asset = words.add_parser("asset", parents=[common], help="enter what training a release cost")
    asset.add_argument("digest", help="of the release, as receipts name it")
    asset.add_argument("--cost", required=True, metavar="USD", help="dollars that it cost")
    asset.add_argument(
        "--tokens", required=True, type=int, metavar="N", help="tokens that shall pay for it"
    )
    return top


def main(arguments: list[str]) -> int:
    """Run `headrace machines`; returns the exit code."""
    flags = parser().parse_args(arguments)
    run = live(load_settings({"data": flags.data}))
    if flags.word == "list":
        reply = ask(run, "GET", "/admin/machines")
        found = msgspec.json.decode(reply, type=dict[str, tuple[_Machine, ...]])["machines"]
        said = _table(found)
    elif flags.word == "set":
        reply = ask(run, "POST", "/admin/machines", _body(flags))
        said = _table([msgspec.json.decode(reply, type=_Machine)])
    else:
        asset: dict[str, object] = {
            "release_digest": flags.digest,
            "cost_nano": _nano(flags.cost),
            "planned_tokens": flags.tokens,
        }
        reply = ask(run, "POST", "/admin/assets", asset)
        said = f"{flags.digest} is an asset now"
    sys.stdout.write(f"{reply.decode() if flags.json else said}\n")
    return 0


def _body(flags: argparse.Namespace) -> dict[str, object]:
    stated = {name: getattr(flags, name) for name in _TERMS}
    return {
        "name": flags.name,
        "terms": {name: value for name, value in stated.items() if value is not None},
        "effective_ns": None if flags.start is None else time_ns(flags.start),
    }


def _nano(text: str) -> int:
    try:
        return parse_usd(text)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None


def _table(found: Sequence[_Machine]) -> str:
    lines = [_COLUMNS, *(_line(one) for one in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _line(one: _Machine) -> tuple[str, ...]:
    if one.terms is None:
        return (one.name, "-", "-", "nobody has said what it costs")
    return (
        one.name,
        format_usd(NanoDollars(one.idle_nano_per_hour)),
        format_usd(NanoDollars(one.load_nano_per_hour)),
        one.measured.get("energy") or "not counted",
    )
