"""`headrace keys`: over HTTP while `up` runs, else on the database."""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, get_args
from urllib.parse import quote

import msgspec

from headrace.config.runfile import RunFile, read_live
from headrace.config.settings import Settings, load_settings
from headrace.core.clock import SystemClock
from headrace.core.errors import InvalidRequest
from headrace.identity.new_key import NewKey
from headrace.net.operator import ask
from headrace.store.key import Key, KeyScopes, RouteName

if TYPE_CHECKING:
    from headrace.core.scope import Scope
    from headrace.identity.keys import KeyRing

T = TypeVar("T")

_NS_PER_S = 1_000_000_000
_COLUMNS = ("id", "name", "purpose", "key", "made", "last used", "state")


class Wanted(msgspec.Struct, frozen=True):
    """What a new key shall be."""

    name: str
    purpose: str
    expires_days: int | None
    account_id: str | None
    scopes: KeyScopes | None


class _Keys(Protocol):
    """Either way to the keys."""

    def create(self, wanted: "Wanted") -> NewKey: ...
    def list(self) -> tuple[Key, ...]: ...
    def revoke(self, identifier: str) -> None: ...
    def rotate(self, identifier: str, grace_s: float) -> NewKey: ...


def parser() -> argparse.ArgumentParser:
    """The command line of `headrace keys`."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", metavar="FOLDER", help="data folder (HEADRACE_DATA)")
    common.add_argument("--json", action="store_true", help="print JSON")
    top = argparse.ArgumentParser("headrace keys", description="API keys of this installation.")
    words = top.add_subparsers(dest="word", required=True, metavar="create|list|rotate|revoke")
    create = words.add_parser("create", parents=[common], help="make a key; shown once")
    create.add_argument("name", nargs="?", default="key", help="what to call it")
    create.add_argument("--purpose", help="word that receipts show (default: api)")
    create.add_argument("--expires-days", type=int, metavar="N", help="refuse it after N days")
    create.add_argument("--account", metavar="ID", help="whose key it is (default: the owner's)")
    create.add_argument(
        "--models", type=_words, metavar="A,B*", help="models it may use; patterns (default: all)"
    )
    create.add_argument(
        "--routes", type=_words, metavar="A,B", help=f"of {', '.join(get_args(RouteName))}"
    )
    create.add_argument(
        "--purposes", type=_words, metavar="A,B", help="words that calls may choose as purpose"
    )
    words.add_parser("list", parents=[common], help="show all keys, without secrets")
    rotate = words.add_parser("rotate", parents=[common], help="give a key a new secret")
    rotate.add_argument("id", help="id of the key, as `headrace keys list` shows it")
    rotate.add_argument(
        "--grace-s",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds in which the former secret opens as well (default: 0)",
    )
    revoke = words.add_parser("revoke", parents=[common], help="refuse a key from now on")
    revoke.add_argument("id", help="id of the key, as `headrace keys list` shows it")
    return top


def main(arguments: list[str]) -> int:
    """Run `headrace keys`; returns the exit code."""
    flags = parser().parse_args(arguments)
    settings = load_settings({"data": flags.data})
    run = read_live(settings.data)
    keys = _OnDisk(settings) if run is None else _OverHttp(run)
    if flags.word == "create":
        _show(keys.create(_wanted(flags)), as_json=flags.json)
    elif flags.word == "rotate":
        _show(keys.rotate(flags.id, flags.grace_s), as_json=flags.json)
    elif flags.word == "list":
        _list(keys, as_json=flags.json)
    else:
        keys.revoke(flags.id)
        print(json.dumps({"revoked": flags.id}) if flags.json else f"revoked {flags.id}")
    return 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _wanted(flags: argparse.Namespace) -> Wanted:
    lists = {"models": flags.models, "routes": flags.routes, "purposes": flags.purposes}
    given = {name: words for name, words in lists.items() if words}
    try:
        scopes = msgspec.convert(given, KeyScopes) if given else None
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"these scopes are not known: {error}") from None
    # A key that is for some purposes only has the first of them, unless one is named.
    purpose = flags.purpose or (scopes.purposes[0] if scopes and scopes.purposes else "api")
    return Wanted(flags.name, purpose, flags.expires_days, flags.account, scopes)


def _show(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(made).decode())
        return
    print(made.secret)
    print(f"  key {made.name!r}, id {made.id}, purpose {made.purpose}")
    if made.expires_ns is not None:
        print(f"  expires {_day(made.expires_ns)}")
    print("  Keep it now: it is stored as a hash only and cannot be shown again.")


def _list(keys: _Keys, *, as_json: bool) -> None:
    found = keys.list()
    if as_json:
        print(msgspec.json.encode({"keys": found}).decode())
        return
    if not found:
        print("no keys yet; make one with: headrace keys create NAME")
        return
    now_ns = SystemClock().now_ns()
    table = [_COLUMNS, *(_line(key, now_ns) for key in found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _line(key: Key, now_ns: int) -> tuple[str, ...]:
    used = "never" if key.last_used_ns is None else _day(key.last_used_ns)
    return (
        key.id,
        key.name,
        key.purpose,
        f"hr-…{key.last4}",
        _day(key.created_ns),
        used,
        _state(key, now_ns),
    )


def _state(key: Key, now_ns: int) -> str:
    if key.revoked_ns is not None:
        return f"revoked {_day(key.revoked_ns)}"
    if key.expires_ns is None:
        return "live"
    word = "expires" if key.expires_ns > now_ns else "expired"
    return f"{word} {_day(key.expires_ns)}"


def _day(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // _NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M")


class _OverHttp:
    """Keys of the running `headrace up`, which so hears of every change at once."""

    def __init__(self, run: RunFile) -> None:
        self._run = run

    def create(self, wanted: Wanted) -> NewKey:
        body = msgspec.structs.asdict(wanted)
        return msgspec.json.decode(ask(self._run, "POST", "/admin/keys", body), type=NewKey)

    def list(self) -> tuple[Key, ...]:
        reply = ask(self._run, "GET", "/admin/keys")
        return msgspec.json.decode(reply, type=dict[str, tuple[Key, ...]])["keys"]

    def revoke(self, identifier: str) -> None:
        ask(self._run, "DELETE", f"/admin/keys/{quote(identifier, safe='')}")

    def rotate(self, identifier: str, grace_s: float) -> NewKey:
        path = f"/admin/keys/{quote(identifier, safe='')}/rotate"
        return msgspec.json.decode(ask(self._run, "POST", path, {"grace_s": grace_s}), type=NewKey)


class _OnDisk:
    """Keys in the database, when nothing runs that would hold them in memory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def create(self, wanted: Wanted) -> NewKey:
        expires_ns = None
        if wanted.expires_days is not None:
            life_ns = timedelta(days=1) // timedelta(microseconds=1) * 1_000 * wanted.expires_days
            expires_ns = SystemClock().now_ns() + life_ns
        return self._do(lambda ring, owner: _made(ring, owner, wanted, expires_ns))

    def list(self) -> tuple[Key, ...]:
        return self._do(lambda ring, scope: ring.list(scope))

    def revoke(self, identifier: str) -> None:
        self._do(lambda ring, scope: ring.revoke(scope, identifier))

    def rotate(self, identifier: str, grace_s: float) -> NewKey:
        return self._do(lambda ring, scope: ring.renew(scope, identifier, grace_s=grace_s))

    def _do(self, work: "Callable[[KeyRing, Scope], Awaitable[T]]") -> T:
        return asyncio.run(_with_keys(self._settings.data, self._settings.database_url, work))


async def _made(ring: "KeyRing", owner: "Scope", wanted: Wanted, expires_ns: int | None) -> NewKey:
    scope = msgspec.structs.replace(owner, account_id=wanted.account_id or owner.account_id)
    return await ring.create(
        scope, wanted.name, wanted.purpose, expires_ns, wanted.scopes, actor=owner
    )


async def _with_keys(
    data: Path, url: str | None, work: "Callable[[KeyRing, Scope], Awaitable[T]]"
) -> T:
    """Open the database, act as its owner, close it."""
    # SQL only when there is no server to ask: these imports take most of a second.
    from headrace.config.secrets import load_or_create  # noqa: PLC0415 - see above
    from headrace.identity.keys import KeyRing  # noqa: PLC0415 - see above
    from headrace.store.database import Database  # noqa: PLC0415 - see above
    from headrace.store.home import bootstrap  # noqa: PLC0415 - see above

    clock = SystemClock()
    database = Database.at(data, url)
    try:
        database.migrate(clock)
        home = await database.write(lambda connection: bootstrap(connection, clock))
        ring = KeyRing(database, load_or_create(data, "pepper"), clock)
        return await work(ring, home.owner)
    finally:
        database.close()
