"""`headrace ledger …`: the reports, the books, and the proof that they are right."""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, TypeVar, get_args

import msgspec
from sqlalchemy import Connection

from headrace.config.settings import Settings, load_settings
from headrace.core.clock import SystemClock
from headrace.core.errors import InvalidRequest, NotFound
from headrace.core.scope import Scope
from headrace.ledger import report_tables as tables
from headrace.ledger.reports.changes import Change, changes
from headrace.ledger.reports.index import REPORTS, Asked
from headrace.ledger.reports.names import By
from headrace.ledger.reports.span import span_of
from headrace.ledger.reports.sums import Same
from headrace.ledger.reports.table import to_csv
from headrace.ledger.verdict import Verdict
from headrace.store import accounts, balances
from headrace.store.balances import Balance
from headrace.store.database import Database

T = TypeVar("T")

_NS_PER_S = 1_000_000_000
_AUDIT_LIMIT = 50
_BYS: tuple[By, ...] = get_args(By)
_TEXTS = {
    "spend": "what was charged, to whom and for what",
    "units": "what a thousand tokens and an accepted change of code come to",
    "margin": "gross margin by model, team and account",
    "payback": "what releases trained here have earned, and what they still must",
    "burn": "how fast money goes, and how long each budget lasts",
    "breakeven": "at which volume a machine of ours beats a provider",
    "cache": "what prefix caches saved",
    "machines": "machines: up, busy, idle, energy, cost",
}
_SHOW: dict[str, Callable[[Any], None]] = {
    "spend": tables.show_spend,
    "units": tables.show_units,
    "margin": tables.show_margin,
    "payback": tables.show_payback,
    "burn": tables.show_burn,
    "breakeven": tables.show_breakeven,
    "cache": tables.show_cache,
    "machines": tables.show_machines,
}
_SAME = {
    "team": "team_id",
    "account": "account_id",
    "key": "key_id",
    "model": "model_id",
    "release": "release_digest",
    "purpose": "purpose",
}


def parser() -> argparse.ArgumentParser:
    """The command line of `headrace ledger`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", metavar="FOLDER", help="data folder (HEADRACE_DATA)")
    common.add_argument("--json", action="store_true", help="print JSON, exact to the nano-dollar")
    span = argparse.ArgumentParser(add_help=False)
    span.add_argument("--since", metavar="DAY", help="from this day on, such as 2026-07-01")
    span.add_argument("--until", metavar="DAY", help="up to and with this day (default: today)")
    span.add_argument("--csv", action="store_true", help="print the table as CSV")
    top = argparse.ArgumentParser(
        "headrace ledger", description="What every token cost, and whether the money works."
    )
    words = top.add_subparsers(dest="word", required=True, metavar="WORD")
    for word, text in _TEXTS.items():
        made = words.add_parser(word, parents=[common, span], help=text)
        if word == "spend":
            made.add_argument("--by", choices=_BYS, default="team", help="what is told apart")
        if word in {"spend", "units", "cache"}:
            for name in _SAME:
                made.add_argument(f"--{name}", metavar="ID", help=f"calls of this {name} only")
    words.add_parser("balances", parents=[common], help="what each account of the books comes to")
    log = words.add_parser("audit", parents=[common], help="who changed what, newest first")
    log.add_argument("--limit", type=int, default=_AUDIT_LIMIT, metavar="N", help="how many")
    words.add_parser(
        "verify", parents=[common], help="prove from the journals that the books are right"
    )
    return top


def main(arguments: list[str]) -> int:
    """Run `headrace ledger`; returns the exit code."""
    flags = parser().parse_args(arguments)
    settings = load_settings({"data": flags.data})
    if flags.word == "verify":
        return _verify(settings, as_json=flags.json)
    if flags.word == "balances":
        _balances(_read(settings, balances.every), as_json=flags.json)
    elif flags.word == "audit":
        if flags.limit < 1:
            raise InvalidRequest("--limit must be at least 1")
        found = _read(settings, lambda c, scope: changes(c, scope, limit=flags.limit))
        _audit(found, as_json=flags.json)
    else:
        _report(settings, flags)
    return 0


def _report(settings: Settings, flags: argparse.Namespace) -> None:
    report = REPORTS[flags.word]
    now_ns = SystemClock().now_ns()
    until_ns = _day_ns("--until", flags.until)
    asked = Asked(
        now_ns=now_ns,
        span=span_of(
            now_ns,
            _day_ns("--since", flags.since),
            None if until_ns is None else until_ns + 1,
        ),
        same=Same(**{column: getattr(flags, name, None) for name, column in _SAME.items()}),
        by=getattr(flags, "by", "team"),
    )
    made = _read(settings, lambda connection, scope: report.make(connection, scope, asked))
    if flags.json:
        _write(msgspec.json.encode(made).decode())
    elif flags.csv:
        sys.stdout.write(to_csv(report.shape, getattr(made, report.rows)))
    else:
        _SHOW[flags.word](made)


def _balances(found: tuple[Balance, ...], *, as_json: bool) -> None:
    if as_json:
        _write(msgspec.json.encode({"balances": found}).decode())
    else:
        tables.show_balances(found)


def _audit(found: tuple[Change, ...], *, as_json: bool) -> None:
    if as_json:
        _write(msgspec.json.encode({"events": found}).decode())
    else:
        tables.show_audit(found)


def _verify(settings: Settings, *, as_json: bool) -> int:
    from headrace.ledger.verify import verify  # noqa: PLC0415 - for this word alone

    journals = settings.data / "journal"

    def progress(records: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{records:,} records …")
            sys.stderr.flush()

    database = _database(settings)
    try:
        found = database.read_now(lambda connection: verify(connection, journals, progress))
    finally:
        database.close()
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
    _write(msgspec.json.encode(found).decode() if as_json else _told(found))
    return 1 if found.problems_count else 0


def _told(found: Verdict) -> str:
    seen = (
        f"{found.records:,} records of {found.journals} journals: {found.generations:,} calls"
        f" ({found.open} open), {found.postings:,} postings, {found.changes:,} changes;"
        f" {tables.usd(found.charged_nano)} charged, {tables.usd(found.refunded_nano)} given back"
    )
    if not found.problems_count:
        return f"{seen}\nThe books are right."
    lines = [f"{one.check}: {one.where}: {one.text}" for one in found.problems]
    if found.problems_count > len(lines):
        lines.append(f"and {found.problems_count - len(lines):,} more")
    return "\n".join((seen, *lines, f"The books are wrong: {found.problems_count:,} problems."))


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _database(settings: Settings) -> Database:
    """The database as it stands, whether or not Headrace runs."""
    if settings.database_url is None and not (settings.data / "headrace.db").exists():
        raise NotFound(
            f"there is no ledger in {settings.data} yet", hint="the first `headrace up` makes it"
        )
    database = Database.at(settings.data, settings.database_url)
    try:
        database.migrate(SystemClock())
    except BaseException:
        database.close()
        raise
    return database


def _read(settings: Settings, work: Callable[[Connection, Scope], T]) -> T:
    """Ask the database as the owner."""
    database = _database(settings)

    def ask(connection: Connection) -> T:
        home = accounts.find_home(connection)
        if home is None:
            raise NotFound("nobody lives here yet", hint="run `headrace up` once")
        return work(connection, home.owner)

    try:
        return database.read_now(ask)
    finally:
        database.close()


def _day_ns(flag: str, text: str | None) -> int | None:
    """When a day begins, in UTC."""
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"{flag} is not a day such as 2026-07-01: {text!r}") from None
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * _NS_PER_S
