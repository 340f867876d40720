"""`headrace accounts`: who is in the organisation that runs here."""

import argparse
import sys
from urllib.parse import quote

import msgspec

from headrace.config.runfile import RunFile
from headrace.config.settings import load_settings
from headrace.net.operator import ask, live
from headrace.store.account import ShownAccount, ShownTeam

_NONE = "-"


class _Accounts(msgspec.Struct):
    accounts: tuple[ShownAccount, ...]


class _Made(msgspec.Struct):
    account: ShownAccount
    invite_path: str | None


class _Teams(msgspec.Struct):
    teams: tuple[ShownTeam, ...]


class _Link(msgspec.Struct):
    path: str


def parser() -> argparse.ArgumentParser:
    """The command line of `headrace accounts`."""
    common = common_flags()
    top = argparse.ArgumentParser(
        "headrace accounts", description="People and services of the Headrace that runs here."
    )
    words = top.add_subparsers(
        dest="word", required=True, metavar="list|add|change|invite|close|erase"
    )
    words.add_parser("list", parents=[common], help="show all accounts")
    add = words.add_parser("add", parents=[common], help="a person or a service comes in")
    add.add_argument("name", help="what to call them")
    add.add_argument("--email", metavar="ADDRESS", help="what a person signs in with")
    add.add_argument("--service", action="store_true", help="a service, which has keys only")
    add.add_argument("--role", default="member", help="owner, admin, member or viewer")
    add.add_argument("--team", metavar="ID", help="the team they belong to")
    change = words.add_parser("change", parents=[common], help="another name, role or team")
    takes_id(change)
    change.add_argument("--name", help="what to call them")
    change.add_argument("--email", metavar="ADDRESS", help="what they sign in with; none: -")
    change.add_argument("--role", help="owner, admin, member or viewer")
    change.add_argument("--team", metavar="ID", help="the team they belong to; none: -")
    for word, text in (
        ("invite", "print a fresh link to set a password with; the one so far is void"),
        ("close", "refuse their keys and sessions from now on"),
        ("erase", "close, and forget whose the account was; receipts stay"),
    ):
        takes_id(words.add_parser(word, parents=[common], help=text))
    return top


def common_flags() -> argparse.ArgumentParser:
    """Flags that every word takes."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", metavar="FOLDER", help="data folder (HEADRACE_DATA)")
    common.add_argument("--json", action="store_true", help="print JSON")
    return common


def takes_id(parser: argparse.ArgumentParser) -> None:
    """A word that is about one of them."""
    parser.add_argument("id", help="its id, as `list` shows it")


def main(arguments: list[str]) -> int:
    """Run `headrace accounts`; returns the exit code."""
    flags = parser().parse_args(arguments)
    run = live(load_settings({"data": flags.data}))
    if flags.word == "list":
        _list(run, as_json=flags.json)
    elif flags.word == "add":
        _add(run, flags)
    elif flags.word == "change":
        _change(run, flags)
    elif flags.word == "invite":
        reply = ask(run, "POST", f"{_path(flags.id)}/invite")
        say(reply, f"{run.url}{msgspec.json.decode(reply, type=_Link).path}", flags)
    elif flags.word == "close":
        say(ask(run, "DELETE", _path(flags.id)), f"closed {flags.id}", flags)
    else:
        say(ask(run, "POST", f"{_path(flags.id)}/erase"), f"erased {flags.id}", flags)
    return 0


def _list(run: RunFile, *, as_json: bool) -> None:
    reply = ask(run, "GET", "/admin/accounts")
    if as_json:
        out(reply.decode())
        return
    teams = {
        team.id: team.name
        for team in msgspec.json.decode(ask(run, "GET", "/admin/teams"), type=_Teams).teams
    }
    found = msgspec.json.decode(reply, type=_Accounts).accounts
    table(
        ("id", "name", "address", "kind", "role", "team", "state"),
        [
            (
                each.id,
                each.name or _NONE,
                each.email or _NONE,
                each.kind,
                each.role,
                teams.get(each.team_id or "", _NONE),
                "open" if each.closed_ns is None else "closed",
            )
            for each in found
        ],
    )


def _add(run: RunFile, flags: argparse.Namespace) -> None:
    wanted = {
        "kind": "service" if flags.service else "person",
        "name": flags.name,
        "email": flags.email,
        "role": flags.role,
        "team_id": flags.team,
    }
    reply = ask(run, "POST", "/admin/accounts", wanted)
    made = msgspec.json.decode(reply, type=_Made)
    link = "" if made.invite_path is None else f"\n{run.url}{made.invite_path}"
    say(reply, f"{made.account.id}{link}", flags)


def _change(run: RunFile, flags: argparse.Namespace) -> None:
    given = {"name": flags.name, "role": flags.role, "email": flags.email, "team_id": flags.team}
    wanted = {
        name: None if value == _NONE and name in {"email", "team_id"} else value
        for name, value in given.items()
        if value is not None
    }
    say(ask(run, "PATCH", _path(flags.id), wanted), f"changed {flags.id}", flags)


def out(text: str) -> None:
    """Write a line."""
    sys.stdout.write(f"{text}\n")


def table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> None:
    """Print lines in columns."""
    rows = [head, *lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out("  ".join(cells).rstrip())


def say(reply: bytes, text: str, flags: argparse.Namespace) -> None:
    """Print the answer as it came, or what it means; some have no body."""
    if not flags.json:
        out(text)
    elif reply:
        out(reply.decode())


def _path(identifier: str) -> str:
    return f"/admin/accounts/{quote(identifier, safe='')}"
