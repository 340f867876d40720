"""`headrace limits list|set|remove`: of the running Headrace."""

import argparse
import sys
from urllib.parse import quote

import msgspec

from headrace.config.settings import load_settings
from headrace.core.errors import InvalidRequest
from headrace.core.limits import LimitKind, LimitPeriod
from headrace.core.scope import NodeKind
from headrace.net.operator import ask, live

_COLUMNS = ("of", "id", "limit", "per", "maximum", "used")
_RIGHT = frozenset(("maximum", "used"))
_NODES = ("organisation", "team", "account", "key")
_RATES = ("requests", "input_tokens", "output_tokens")
_EMPTY = "no limits; set one with: headrace limits set key ID requests/minute 60"


class _Limit(msgspec.Struct, frozen=True):
    """As the admin API tells it."""

    node_kind: NodeKind
    node_id: str
    kind: LimitKind
    period: LimitPeriod
    maximum: int
    used: int


def parser() -> argparse.ArgumentParser:
    """The command line of `headrace limits`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", metavar="FOLDER", help="data folder (HEADRACE_DATA)")
    common.add_argument("--json", action="store_true", help="print JSON")
    top = argparse.ArgumentParser(
        "headrace limits", description="How much may be used in a minute or a day, and at once."
    )
    words = top.add_subparsers(dest="word", required=True, metavar="list|set|remove")
    words.add_parser("list", parents=[common], help="show all limits and what is used of them")
    put = words.add_parser("set", parents=[common], help="set a limit; it binds the next call")
    put.add_argument("node", choices=_NODES, help="what it is for")
    put.add_argument("id", help="id of that organisation, team, account or key")
    _add_what(put)
    put.add_argument("maximum", type=int, help="how many")
    remove = words.add_parser("remove", parents=[common], help="take a limit away")
    remove.add_argument("id", help="id of what it is for")
    _add_what(remove)
    return top


def main(arguments: list[str]) -> int:
    """Run `headrace limits`; returns the exit code."""
    flags = parser().parse_args(arguments)
    run = live(load_settings({"data": flags.data}))
    if flags.word == "list":
        reply = ask(run, "GET", "/admin/limits")
        found = msgspec.json.decode(reply, type=dict[str, tuple[_Limit, ...]])["limits"]
        _say(reply.decode() if flags.json else _table(found))
        return 0
    kind, period = _split(flags.what)
    if flags.word == "remove":
        ask(run, "DELETE", f"/admin/limits/{quote(flags.id, safe='')}/{kind}/{period}")
        _say(msgspec.json.encode({"removed": flags.id}).decode() if flags.json else "removed")
        return 0
    body = {
        "node_kind": flags.node,
        "node_id": flags.id,
        "kind": kind,
        "period": period,
        "maximum": flags.maximum,
    }
    reply = ask(run, "PUT", "/admin/limits", body)
    _say(reply.decode() if flags.json else _table((msgspec.json.decode(reply, type=_Limit),)))
    return 0


def _add_what(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "what",
        metavar="WHAT/PERIOD",
        help="requests, input_tokens or output_tokens, each /minute or /day; or concurrent",
    )


def _split(what: str) -> tuple[str, str]:
    """The kind and the period of `requests/minute` or `concurrent`."""
    if what == "concurrent":
        return what, "now"
    kind, _, period = what.partition("/")
    if kind not in _RATES or period not in {"minute", "day"}:
        raise InvalidRequest(
            f"{what!r} is no limit",
            hint="Write requests/minute, input_tokens/day, output_tokens/minute or concurrent.",
        )
    return kind, period


def _table(limits: tuple[_Limit, ...]) -> str:
    if not limits:
        return _EMPTY
    lines = [_COLUMNS, *(_line(limit) for limit in limits)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, line, widths, strict=True)
        )
        for line in lines
    )


def _line(limit: _Limit) -> tuple[str, ...]:
    per = "at once" if limit.period == "now" else limit.period
    return (
        limit.node_kind,
        limit.node_id,
        limit.kind.replace("_", " "),
        per,
        str(limit.maximum),
        str(limit.used),
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
