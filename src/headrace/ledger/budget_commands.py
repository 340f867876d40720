"""`headrace budgets list|set|end|webhook-key`: of the running Headrace."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from headrace.config.runfile import RunFile
from headrace.config.secrets import load_or_create
from headrace.config.settings import load_settings
from headrace.core.errors import InvalidRequest
from headrace.core.money import NanoDollars, format_usd, parse_usd
from headrace.net.operator import ask, live

_COLUMNS = ("id", "of", "node", "per", "limit", "spent", "held", "kind", "until (UTC)")
_RIGHT = frozenset(("limit", "spent", "held"))
_NODES = ("organisation", "team", "account", "key")
_PERIODS = ("hour", "day", "month", "once")
_EMPTY = "no budgets; set one with: headrace budgets set account ID month 50"
_NS_PER_S = 1_000_000_000


class _Budget(msgspec.Struct, frozen=True):
    """As the admin API tells it."""

    id: str
    node_kind: str
    node_id: str
    period: str
    limit_nano: int
    hard: bool
    window_end_ns: int | None
    spent_nano: int
    held_nano: int


def parser() -> argparse.ArgumentParser:
    """The command line of `headrace budgets`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", metavar="FOLDER", help="data folder (HEADRACE_DATA)")
    common.add_argument("--json", action="store_true", help="print JSON")
    top = argparse.ArgumentParser(
        "headrace budgets", description="What may be spent in an hour, a day, a month, or in all."
    )
    words = top.add_subparsers(dest="word", required=True, metavar="list|set|end|webhook-key")
    words.add_parser("list", parents=[common], help="show all budgets and what is spent of them")
    put = words.add_parser(
        "set", parents=[common], help="set a budget, or change the one of this node and period"
    )
    put.add_argument("node", choices=_NODES, help="what it is for")
    put.add_argument("id", help="id of that organisation, team, account or key")
    put.add_argument("period", choices=_PERIODS, help="when it begins anew, in UTC")
    put.add_argument("dollars", help="how much, such as 12.50")
    put.add_argument("--soft", action="store_true", help="warn only, refuse nothing")
    put.add_argument(
        "--warn", metavar="N,N", help="shares in percent that are told (default: 50,80,100)"
    )
    put.add_argument("--webhook", metavar="URL", help="where they are told, besides the log")
    end = words.add_parser("end", parents=[common], help="end a budget")
    end.add_argument("id", help="id of the budget, as `headrace budgets list` shows it")
    words.add_parser(
        "webhook-key", parents=[common], help="show the key that webhooks are signed with"
    )
    return top


def main(arguments: list[str]) -> int:
    """Run `headrace budgets`; returns the exit code."""
    flags = parser().parse_args(arguments)
    settings = load_settings({"data": flags.data})
    if flags.word == "webhook-key":
        key = load_or_create(settings.data, "webhook").hex()
        _say(msgspec.json.encode({"webhook_key": key}).decode() if flags.json else key)
        return 0
    run = live(settings)
    if flags.word == "list":
        reply = ask(run, "GET", "/admin/budgets")
        _say(reply.decode() if flags.json else _table(_budgets(reply)))
    elif flags.word == "end":
        ask(run, "DELETE", f"/admin/budgets/{quote(flags.id, safe='')}")
        _say(msgspec.json.encode({"ended": flags.id}).decode() if flags.json else "ended")
    else:
        reply = _set(run, flags)
        shown = (msgspec.json.decode(reply, type=_Budget),)
        _say(reply.decode() if flags.json else _table(shown))
    return 0


def _set(run: RunFile, flags: argparse.Namespace) -> bytes:
    body: dict[str, object] = {"limit_nano": _nano(flags.dollars), "hard": not flags.soft}
    if flags.warn is not None:
        body["warn_percent"] = _percents(flags.warn)
    if flags.webhook is not None:
        body["webhook_url"] = flags.webhook
    place = (flags.node, flags.id, flags.period)
    for one in _budgets(ask(run, "GET", "/admin/budgets")):
        if (one.node_kind, one.node_id, one.period) == place:
            return ask(run, "PATCH", f"/admin/budgets/{one.id}", body)
    named = dict(zip(("node_kind", "node_id", "period"), place, strict=True))
    return ask(run, "POST", "/admin/budgets", named | body)


def _budgets(reply: bytes) -> tuple[_Budget, ...]:
    return msgspec.json.decode(reply, type=dict[str, tuple[_Budget, ...]])["budgets"]


def _nano(dollars: str) -> int:
    try:
        return parse_usd(dollars.removeprefix("$"))
    except ValueError as error:
        raise InvalidRequest(str(error), hint="Write dollars, such as 12.50.") from None


def _percents(text: str) -> list[int]:
    try:
        return [int(one) for one in text.split(",") if one]
    except ValueError:
        raise InvalidRequest(
            f"--warn {text!r} is not a list of percents", hint="Write it as 50,80,100."
        ) from None


def _table(found: Sequence[_Budget]) -> str:
    if not found:
        return _EMPTY
    lines = [_COLUMNS, *map(_line, found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _line(one: _Budget) -> tuple[str, ...]:
    until = "not renewed"
    if one.window_end_ns is not None:
        until = f"{datetime.fromtimestamp(one.window_end_ns // _NS_PER_S, UTC):%Y-%m-%d %H:%M}"
    return (
        one.id,
        one.node_kind,
        one.node_id,
        one.period,
        *(
            format_usd(NanoDollars(nano))
            for nano in (one.limit_nano, one.spent_nano, one.held_nano)
        ),
        "hard" if one.hard else "soft",
        until,
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
