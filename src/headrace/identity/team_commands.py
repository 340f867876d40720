"""`headrace teams`: what the accounts of the organisation are gathered in."""

import argparse
from urllib.parse import quote

import msgspec

from headrace.config.runfile import RunFile
from headrace.config.settings import load_settings
from headrace.identity.account_commands import common_flags, out, say, table, takes_id
from headrace.net.operator import ask, live
from headrace.store.account import ShownTeam


class _Teams(msgspec.Struct):
    teams: tuple[ShownTeam, ...]


def parser() -> argparse.ArgumentParser:
    """The command line of `headrace teams`."""
    common = common_flags()
    top = argparse.ArgumentParser(
        "headrace teams", description="Teams of the Headrace that runs here."
    )
    words = top.add_subparsers(dest="word", required=True, metavar="list|add|rename|close")
    words.add_parser("list", parents=[common], help="show all teams")
    add = words.add_parser("add", parents=[common], help="make a team")
    add.add_argument("name", help="what to call it")
    rename = words.add_parser("rename", parents=[common], help="call a team otherwise")
    takes_id(rename)
    rename.add_argument("name", help="what to call it")
    takes_id(words.add_parser("close", parents=[common], help="its accounts stay, in no team"))
    return top


def main(arguments: list[str]) -> int:
    """Run `headrace teams`; returns the exit code."""
    flags = parser().parse_args(arguments)
    run = live(load_settings({"data": flags.data}))
    if flags.word == "list":
        _list(run, as_json=flags.json)
    elif flags.word == "add":
        reply = ask(run, "POST", "/admin/teams", {"name": flags.name})
        say(reply, msgspec.json.decode(reply, type=ShownTeam).id, flags)
    elif flags.word == "rename":
        reply = ask(run, "PATCH", _path(flags.id), {"name": flags.name})
        say(reply, f"renamed {flags.id}", flags)
    else:
        say(ask(run, "DELETE", _path(flags.id)), f"closed {flags.id}", flags)
    return 0


def _list(run: RunFile, *, as_json: bool) -> None:
    reply = ask(run, "GET", "/admin/teams")
    if as_json:
        out(reply.decode())
        return
    found = msgspec.json.decode(reply, type=_Teams).teams
    table(("id", "name", "accounts"), [(each.id, each.name, str(each.members)) for each in found])


def _path(identifier: str) -> str:
    return f"/admin/teams/{quote(identifier, safe='')}"
