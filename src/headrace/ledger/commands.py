"""`headrace receipts [ID]`: what each model call used, took and cost."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from headrace.config.settings import Settings, load_settings
from headrace.core.clock import SystemClock
from headrace.core.errors import InvalidRequest, NotFound
from headrace.core.money import NanoDollars, format_usd
from headrace.ledger import receipts
from headrace.ledger.records import Entry
from headrace.store import accounts
from headrace.store.database import Database
from headrace.store.generations import Generation

_LIMIT = 20
_NS_PER_S = 1_000_000_000
_MS_PER_S = 1_000
_UNKNOWN = "-"
_EMPTY = "no receipts yet: every model call leaves one. Try: headrace ask 'Hello'"
_COLUMNS = ("id", "time (UTC)", "purpose", "model", "in", "cached", "out", "first", "total")
_RIGHT = {"in", "cached", "out", "first", "total", "charged"}


def parser() -> argparse.ArgumentParser:
    """The command line of `headrace receipts`."""
    made = argparse.ArgumentParser(
        "headrace receipts", description="What each model call used, took and cost."
    )
    made.add_argument("id", nargs="?", help="one receipt in full")
    made.add_argument(
        "--limit", type=int, default=_LIMIT, metavar="N", help="how many, newest first"
    )
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument("--data", metavar="FOLDER", help="data folder (HEADRACE_DATA)")
    return made


def main(arguments: list[str]) -> int:
    """Run `headrace receipts`; returns the exit code."""
    flags = parser().parse_args(arguments)
    if flags.limit < 1:
        raise InvalidRequest("--limit must be at least 1")
    settings = load_settings({"data": flags.data})
    journal = settings.data / "journal"
    if flags.id is not None:
        found = _read(settings, journal, flags.id, flags.limit)
        if not found:
            raise NotFound(f"there is no receipt {flags.id}")
        entries = receipts.entries(journal, found[0])
        if flags.json:
            whole = msgspec.structs.asdict(found[0]) | {"entries": entries}
            print(msgspec.json.encode(whole).decode())
        else:
            print(_page(found[0], entries or ()))
        return 0
    found = _read(settings, journal, None, flags.limit)
    if flags.json:
        print(msgspec.json.encode({"receipts": found}).decode())
    else:
        print(_table(found) if found else _EMPTY)
    return 0


def _read(
    settings: Settings, journal: Path, identifier: str | None, limit: int
) -> Sequence[Generation]:
    """The receipts the owner may see; none where nothing has ever run."""
    if settings.database_url is None and not (settings.data / "headrace.db").exists():
        return ()
    database = Database.at(settings.data, settings.database_url)

    def work(connection: Connection) -> Sequence[Generation]:
        home = accounts.find_home(connection)
        if home is None:
            return ()
        if identifier is not None:
            return (receipts.find(connection, journal, home.owner, identifier),)
        return receipts.recent(connection, journal, home.owner, limit=limit)

    try:
        database.migrate(SystemClock())
        return database.read_now(work)
    finally:
        database.close()


def _table(found: Sequence[Generation]) -> str:
    header = (*_COLUMNS, "charged", "end")
    lines = [header, *(_line(one) for one in found)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in _RIGHT else cell.ljust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _line(one: Generation) -> tuple[str, ...]:
    used = one.usage
    return (
        one.id,
        _time(one),
        one.purpose,
        one.model_id,
        _UNKNOWN if used is None else str(used.input),
        _UNKNOWN if used is None else str(used.cached),
        _UNKNOWN if used is None else str(used.output),
        _seconds(one.first_token_ms),
        _seconds(one.duration_ms),
        _money(one.price_nano),
        _end(one),
    )


def _page(one: Generation, entries: Sequence[Entry]) -> str:
    used = one.usage
    facts = {
        "receipt": one.id,
        "time": f"{_time(one)} UTC",
        "end": _end(one),
        "model": one.model_id,
        "release": one.release_digest,
        "engine": one.engine,
        "dialect": one.dialect,
        "purpose": one.purpose,
        "key": one.key_id,
        "account": one.account_id,
        "tokens in": "unknown" if used is None else f"{used.input} ({used.cached} from the cache)",
        "tokens out": "unknown" if used is None else f"{used.output} ({used.reasoning} reasoning)",
        "first token": _seconds(one.first_token_ms),
        "duration": _seconds(one.duration_ms),
        "speed": _speed(one),
        "held": _money(one.held_nano),
        "charged": _money(one.price_nano),
        "loss": _money(one.loss_nano),
        "cost": _UNKNOWN if one.cost_nano is None else _money(one.cost_nano),
    }
    if one.machine is not None:
        facts["machine"] = f"{one.machine}, {one.machine_ns / _NS_PER_S:.3f} s of it"
    if one.estimated:
        facts["estimated"] = "tokens or cost are our own estimate"
    if one.parent_id is not None:
        facts["part of"] = one.parent_id
    lines = [f"{name:<12} {fact}" for name, fact in facts.items()]
    lines += [f"{'entry':<12} {entry.account} {_money(entry.amount_nano)}" for entry in entries]
    return "\n".join(lines)


def _time(one: Generation) -> str:
    return datetime.fromtimestamp(one.started_ns // _NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _end(one: Generation) -> str:
    if one.stop is None:
        return "running"
    return one.stop if one.error_kind is None else f"{one.stop}: {one.error_kind}"


def _seconds(duration_ms: int | None) -> str:
    return _UNKNOWN if duration_ms is None else f"{duration_ms / _MS_PER_S:.2f} s"


def _speed(one: Generation) -> str:
    """Tokens per second behind the first one."""
    if one.usage is None or one.duration_ms is None or one.first_token_ms is None:
        return _UNKNOWN
    decode_ms = one.duration_ms - one.first_token_ms
    if decode_ms <= 0 or one.usage.output <= 1:
        return _UNKNOWN
    return f"{(one.usage.output - 1) * _MS_PER_S / decode_ms:.1f} tokens/s"


def _money(nano: int) -> str:
    return format_usd(NanoDollars(nano))
