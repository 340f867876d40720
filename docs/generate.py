"""Writes the generated reference pages: `just docs`.

Settings come from the list that loads them, commands from their own `--help`, routes from the
very objects that serve them, and what each is for from the OpenAPI document.
"""

# ruff: noqa: INP001 - a program beside the pages it writes

import asyncio
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Generator, Mapping
from pathlib import Path

from headrace.__main__ import main
from headrace.chat.pages import STATIC
from headrace.config.settings import SETTINGS, Setting, load_settings
from headrace.core.clock import SystemClock
from headrace.edge.routes import RuledRoute
from headrace.serving.engines.scripted import ScriptedEngine
from headrace.serving.pool import Place
from headrace.up.house import open_house
from headrace.up.models import Served
from headrace.up.openapi import operations

REFERENCE = Path(__file__).parent / "reference"

_COLUMNS = 96
_UNWRAPPED = "1000"
_NOTICE = "<!-- Written by docs/generate.py; `just docs` writes it anew. -->\n\n"
_SETTINGS_HEAD = f"""{_NOTICE}# Settings

A flag of `headrace up` goes before the environment, the environment before
`headrace.toml`, the file before the default. The file is `headrace.toml` in the working
folder, or the one that `--config` or `HEADRACE_CONFIG` names; it holds plain
`name = value` lines, and after them the tables of [upstreams and their
models](../guides/upstreams.md). An unknown name or a wrong value stops the start with a message.

`HEADRACE_DATA` and `--data` hold for every command. Commands also read the file, so run
them where `up` runs, or set `HEADRACE_CONFIG`.

`headrace code` reads no `headrace.toml`, since the folder it works in may be anybody's. Besides
`HEADRACE_DATA` it heeds the variables of its [guide](../guides/code-headless.md#any-server):
`HEADRACE_CODE_ENDPOINT`, `HEADRACE_CODE_DIALECT`, `HEADRACE_CODE_KEY`, `HEADRACE_CODE_MODEL` and
`HEADRACE_API_KEY`.

```toml
# headrace.toml
port = 8080
allowed_hosts = ["chat.example.org"]
open_browser = false
```

| name | variable | flag of `up` | default | what it does |
|---|---|---|---|---|
"""
_COMMANDS_HEAD = f"""{_NOTICE}# Commands

What each command says to `--help`. Exit code 0: done; 1: it could not be done, and the message
says why; 2: the command line is wrong; 130: stopped by Ctrl-C.
"""
_ROUTES_HEAD = f"""{_NOTICE}# Routes

Every route states who may call it:

| rule | who |
|---|---|
| public | anybody who reaches the port |
| key | holders of an API key: `Authorization: Bearer hr-…` or `x-api-key: hr-…` |
| session | everybody who is signed in |
| member | those of them who may call models and change what is their own: all but viewers |
| viewer | those who may see the organisation's figures: owners, admins, viewers |
| admin | owners and admins |
| owner | owners |

From `session` on, a browser comes with the cookie of a session, and changes must come from
Headrace's own pages; commands of the user who runs `headrace up` come with the run file's
credential, which is the owner's. [Roles](../guides/accounts.md#roles) say more.

Every reply, of a public route too, goes through the [guard](../concepts/safety.md): the
Host must be one that is served, and no foreign Origin is taken. `GET` includes `HEAD`.
Files at the top of the built page (an icon, say) are public too.

| method | path | rule | what it is for |
|---|---|---|---|
"""

# Defaults that depend on the machine or are None, told in words.
_DEFAULTS = {
    "data": "`~/.local/share/headrace`; on macOS `~/Library/Application Support/headrace`",
    "model": "what the first start chose",
    "database_url": "`headrace.db` in the data folder",
    "allowed_hosts": "none",
    "engine_threads": "one less than there are cores",
    "engine_context_tokens": "`8192`, or the model's own if that is less",
    "engine_batch_tokens": "from the measured speed",
    "engine_lora": "none",
    "moderation_model": "none",
}
# The one flag that is not named like its setting.
_FLAGS = {"open_browser": "--no-browser"}

ROUTES: Mapping[tuple[str, str], str] = {
    (operation.method, operation.path): operation.summary for operation in operations()
}
"""What each route is for, in the order of the page."""


def pages() -> dict[Path, str]:
    """Every generated page's path and text."""
    return {
        REFERENCE / "settings.md": settings_page(),
        REFERENCE / "commands.md": commands_page(),
        REFERENCE / "routes.md": routes_page(),
    }


def settings_page() -> str:
    """The page of all settings."""
    flags = set(re.findall(r"--[a-z-]+", help_of("up")))
    rows = [_setting_row(setting, flags) for setting in SETTINGS]
    return _SETTINGS_HEAD + "".join(rows)


def _setting_row(setting: Setting, flags: set[str]) -> str:
    flag = _FLAGS.get(setting.name, f"--{setting.name.replace('_', '-')}")
    shown = f"`{flag}`" if flag in flags else ""
    default = _DEFAULTS.get(setting.name) or f"`{_toml(setting.default())}`"
    return f"| `{setting.name}` | `{setting.variable}` | {shown} | {default} | {setting.text} |\n"


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def commands_page() -> str:
    """The page of all commands: what each says to `--help`."""
    parts = [_COMMANDS_HEAD, _section("headrace", help_of())]
    for word in commands():
        text = help_of(word)
        parts.append(_section(f"headrace {word}", text))
        parts += [
            _section(f"headrace {word} {action}", help_of(word, action))
            for action in _actions(text)
        ]
    return "".join(parts)


def commands() -> list[str]:
    """Every command word, as `headrace --help` lists them."""
    return re.findall(r"^  ([a-z]+) ", help_of(), re.MULTILINE)


def _actions(text: str) -> list[str]:
    """The sub-commands that a help text lists."""
    positional = text.partition("positional arguments:")[2].partition("\n\n")[0]
    return re.findall(r"^    ([a-z]+)  ", positional, re.MULTILINE)


def help_of(*words: str) -> str:
    """What `headrace WORDS --help` prints, one line for each paragraph and option."""
    shown = io.StringIO()
    with (
        _columns(_UNWRAPPED),
        _argv(*words, "--help"),
        contextlib.redirect_stdout(shown),
        contextlib.suppress(SystemExit),
    ):
        main()
    return shown.getvalue()


@contextlib.contextmanager
def _columns(count: str) -> Generator[None]:
    """Let argparse neither wrap nor colour: both differ between versions of Python."""
    before = dict(os.environ)
    os.environ.pop("FORCE_COLOR", None)
    os.environ |= {"COLUMNS": count, "NO_COLOR": "1"}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


@contextlib.contextmanager
def _argv(*words: str) -> Generator[None]:
    before = sys.argv
    sys.argv = ["headrace", *words]
    try:
        yield
    finally:
        sys.argv = before


def _section(title: str, text: str) -> str:
    lines = [wrapped for line in text.strip("\n").split("\n") for wrapped in _wrap(line)]
    return f"\n## {title}\n\n```text\n" + "\n".join(lines) + "\n```\n"


def _wrap(line: str) -> list[str]:
    """The line, folded so that what follows stands under its own column."""
    column = re.match(r"(usage: headrace |  +\S.*?  +|)", line)
    indent = " " * (column.end() if column else 0)
    return textwrap.wrap(line, _COLUMNS, subsequent_indent=indent, drop_whitespace=True) or [""]


def routes_page() -> str:
    """The page of all routes.

    Raises:
        LookupError: A route is not described, or a description has no route.
    """
    found = {
        (method, route.path.replace(":path", "")): route
        for route in asyncio.run(served_routes())
        for method in sorted((route.methods or set()) - {"HEAD"})
    }
    if differing := set(found) ^ set(ROUTES):
        raise LookupError(f"the OpenAPI document and the server differ: {differing}")
    rows = [
        f"| `{method}` | `{path}` | {found[method, path].rule.value} | {text} |\n"
        for (method, path), text in ROUTES.items()
    ]
    return _ROUTES_HEAD + "".join(rows)


async def served_routes() -> list[RuledRoute]:
    """The routes of a whole Headrace, put together but not started."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "script.json"
        script.write_text(json.dumps({}), encoding="utf-8")
        settings, clock = load_settings({"data": folder / "data"}), SystemClock()
        served = Served((Place(ScriptedEngine(script, clock)),), None, (), 0)
        async with open_house(settings, served, clock, "http://127.0.0.1:4747") as house:
            routes = list(house.routes)
    return [route for route in routes if not (STATIC / route.path.removeprefix("/")).is_file()]


def write() -> None:
    """Write every page that is not as it should be."""
    for path, text in pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(REFERENCE.parent.parent)}\n")


if __name__ == "__main__":
    write()
