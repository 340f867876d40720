"""`headrace code sessions | trust | replay`: what is around a session."""

import asyncio
import sys
from pathlib import Path

from headrace.code.connect import data_folder
from headrace.code.flags import Flags
from headrace.code.screen.text import exact_line
from headrace.core.errors import InvalidRequest

_HELP = {
    "sessions": """\
usage: headrace code sessions [--data FOLDER]

List the sessions of this folder, the newest first: id, time, first words.""",
    "trust": """\
usage: headrace code trust [--yes | --revoke] [--data FOLDER]

Show what this folder brings that would run or be obeyed, and the hash that `--trust` takes.

options:
  --yes                 trust it in exactly this state from now on
  --revoke              trust it no longer""",
    "replay": """\
usage: headrace code replay SESSION [--data FOLDER]

Run a kept session again, offline, from what it recorded, and check that each request comes out
byte for byte as it was. SESSION is an id, its beginning, or the session's first words.""",
}


def run(word: str, arguments: list[str]) -> int:
    """Run one of them; returns the exit code."""
    if {"--help", "-h"} & set(arguments):
        _say(_HELP[word])
        return 0
    flags, rest = _read(arguments)
    workspace = Path.cwd().resolve()
    state = data_folder(flags) / "code"
    match word, rest:
        case "sessions", []:
            return _sessions(state, workspace)
        case "trust", [] | ["--yes"] | ["--revoke"]:
            return _trust(state, workspace, *rest)
        case "replay", [session]:
            return asyncio.run(_replay(state, workspace, session))
        case _:
            raise InvalidRequest("the command line is wrong", hint=_HELP[word].partition("\n")[0])


def _read(arguments: list[str]) -> tuple[Flags, list[str]]:
    """What is left without `--data FOLDER`."""
    rest, flags = list(arguments), Flags()
    for at, argument in enumerate(rest):
        if argument.startswith("--data="):
            flags.data = rest.pop(at).partition("=")[2]
            break
        if argument == "--data" and at + 1 < len(rest):
            flags.data = rest.pop(at + 1)
            rest.pop(at)
            break
    return flags, rest


def _sessions(state: Path, workspace: Path) -> int:
    from datetime import UTC, datetime  # noqa: PLC0415 - its one use

    from headrace.agent.log import folder_of, sessions  # noqa: PLC0415 - not for --help

    for one in sessions(folder_of(state, workspace)):
        when = datetime.fromtimestamp(one.changed_ns / 1e9, tz=UTC).astimezone()
        _say(exact_line(f"{one.id}  {when:%Y-%m-%d %H:%M}  {one.words}"))
    return 0


def _trust(state: Path, workspace: Path, action: str = "") -> int:
    from headrace.core.clock import SystemClock  # noqa: PLC0415 - not for --help
    from headrace.safety.trust import Trust, bundle_of  # noqa: PLC0415 - not for --help

    trust, bundle = Trust(state / "trust", SystemClock()), bundle_of(workspace)
    if action == "--revoke":
        _say("trusted no longer" if trust.revoke(workspace) else "it was not trusted")
        return 0
    for item in bundle.items:
        for line in item.shows or ("",):
            _say(exact_line(f"{item.name}: {line}"))
    if not bundle.items:
        _say("This folder brings nothing that would run or be obeyed.")
    if action == "--yes":
        trust.grant(bundle)
    trusted = "trusted" if trust.check(bundle).trusted else "not trusted"
    _say(f"{bundle.digest}  {trusted}")
    return 0


async def _replay(state: Path, workspace: Path, session: str) -> int:
    from headrace.agent.log import folder_of  # noqa: PLC0415 - not for --help
    from headrace.agent.replay import replay  # noqa: PLC0415 - not for --help
    from headrace.code.guided.guide import ProjectGuide  # noqa: PLC0415 - not for --help
    from headrace.code.resuming import kept_path  # noqa: PLC0415 - not for --help

    report = await replay(kept_path(session, folder_of(state, workspace)), ProjectGuide())
    for line in (*report.notices, *report.differences):
        _say(exact_line(line))
    same = "differs" if report.differences else "the same, byte for byte"
    _say(f"{report.requests} requests, {report.entries} entries: {same}")
    return 1 if report.differences else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
