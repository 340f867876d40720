"""The command line of `headrace code`: flags as people's hands know them from Claude Code.

Written by hand, since argparse knows neither lists that end at the next flag nor values that may
be left out, and costs 20 ms at each start.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from headrace.core.errors import InvalidRequest
from headrace.core.money import NanoDollars, parse_usd

OUTPUT_FORMATS = ("text", "json", "stream-json")
INPUT_FORMATS = ("text", "stream-json")
DIALECTS = ("anthropic", "openai_chat", "openai_responses")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_RULE = re.compile(r"(\*|[A-Z]\w*|mcp__[\w-]+)(\(.*\))?", re.DOTALL)
_NEAR = 0.6


class Flags(msgspec.Struct, kw_only=True):
    """One command line, checked. `resume` is empty where a session is to be chosen."""

    prompt: str | None = None
    print: bool = False
    continue_: bool = False
    resume: str | None = None
    fork_session: bool = False
    session_id: str | None = None
    model: str | None = None
    output_format: str = "text"
    input_format: str = "text"
    include_partial_messages: bool = False
    replay_user_messages: bool = False
    verbose: bool = False
    allowed_tools: tuple[str, ...] = ()
    disallowed_tools: tuple[str, ...] = ()
    tools: tuple[str, ...] | None = None
    guided: str | None = None
    permission_mode: str | None = None
    dangerously_skip_permissions: bool = False
    permission_prompt_tool: str | None = None
    add_dir: tuple[str, ...] = ()
    system_prompt: str | None = None
    append_system_prompt: str | None = None
    json_schema: dict[str, Any] | None = None
    max_turns: int | None = None
    max_budget_nano: NanoDollars | None = None
    worktree: str | None = None
    endpoint: str | None = None
    dialect: str | None = None
    trust: str | None = None
    data: str | None = None
    profile_model: bool = False

    @property
    def headless(self) -> bool:
        """Whether nobody sits before it."""
        return self.print or self.input_format == "stream-json" or self.output_format != "text"


class _Flag(msgspec.Struct, frozen=True):
    """One flag: its spellings, the field it sets, and what it takes.

    `takes` is none, one, list, or maybe, for a value that may be left out.
    """

    names: tuple[str, ...]
    field: str
    takes: str = "none"
    read: Callable[[str], object] = str


def parse(arguments: list[str]) -> Flags:
    """Read a command line without its first words.

    Raises:
        InvalidRequest: It is wrong; the text names the flag and what it takes.
    """
    flags = Flags()
    waiting = _spread(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            for each in waiting:
                _take_prompt(flags, each)
            break
        if word.startswith("-") and len(word) > 1:
            _take_flag(flags, word, waiting)
        else:
            _take_prompt(flags, word)
    _check(flags)
    return flags


def split_rules(text: str) -> tuple[str, ...]:
    """Tool rules parted by commas or blanks; those within parentheses part nothing."""
    rules, rule, depth = list[str](), "", 0
    for character in text:
        if depth == 0 and (character == "," or character.isspace()):
            rules.append(rule)
            rule = ""
            continue
        depth += (character == "(") - (character == ")" and depth > 0)
        rule += character
    return tuple(each for each in (*rules, rule) if each)


def _spread(arguments: list[str]) -> list[str]:
    """Short flags written together, `-pc`, each for itself; `-rID` and `-wNAME` in two."""
    words: list[str] = []
    for at, word in enumerate(arguments):
        if word == "--":
            return words + arguments[at:]
        letters = word[1:]
        if not word.startswith("-") or word.startswith("--") or len(letters) <= 1:
            words.append(word)
            continue
        while letters:
            words.append(f"-{letters[0]}")
            letters = letters[1:]
            if words[-1] in {"-r", "-w"} and letters:
                words[-1] += f"={letters.removeprefix('=')}"
                letters = ""
    return words


def _take_flag(flags: Flags, word: str, waiting: list[str]) -> None:
    name, equals, value = word.partition("=")
    flag = _BY_NAME.get(name)
    if flag is None:
        raise _unknown(name)
    given = [value] if equals else []
    if flag.takes == "none":
        if equals:
            raise InvalidRequest(f"{name} takes no value")
        setattr(flags, flag.field, True)
        return
    if not equals:
        given = _following(flags, flag, waiting)
    if flag.takes == "list":
        held: tuple[str, ...] = getattr(flags, flag.field) or ()
        pieces = flag.read(given[0]) if len(given) == 1 else [flag.read(each) for each in given]
        setattr(flags, flag.field, held + _flat(pieces))
    else:
        text = given[0] if given else ""
        try:
            setattr(flags, flag.field, flag.read(text))
        except ValueError as error:
            raise InvalidRequest(f"{name} {text}: {error}") from None


def _following(flags: Flags, flag: _Flag, waiting: list[str]) -> list[str]:
    """The values after a flag, taken from what waits."""
    if flag.takes != "maybe" and not waiting:
        raise InvalidRequest(f"{flag.names[0]} takes a value")
    if flag.takes == "one":
        return [waiting.pop(0)]
    if flag.takes == "maybe":
        fits = bool(waiting) and not waiting[0].startswith("-") and _is_value(flag, waiting[0])
        return [waiting.pop(0)] if fits else []
    # A list goes up to the next flag. Words that can be no rule are the prompt, which people
    # write behind it and which would be lost otherwise.
    given = [waiting.pop(0)]
    while waiting and not waiting[0].startswith("-"):
        is_prompt = flags.prompt is None and flag.read is split_rules
        if is_prompt and not all(map(_RULE.fullmatch, split_rules(waiting[0]))):
            break
        given.append(waiting.pop(0))
    return given


def _is_value(flag: _Flag, word: str) -> bool:
    """Whether a word after `-r` or `-w` is its value and no prompt, which has blanks."""
    return not any(character.isspace() for character in word) or flag.field == "resume"


def _flat(pieces: object) -> tuple[str, ...]:
    if isinstance(pieces, str):
        return (pieces,)
    found: list[str] = []
    for piece in pieces:  # pyright: ignore[reportUnknownVariableType, reportGeneralTypeIssues] - str or nested sequences of str
        found += _flat(piece)  # pyright: ignore[reportUnknownArgumentType]
    return tuple(found)


def _take_prompt(flags: Flags, word: str) -> None:
    if flags.prompt is not None:
        raise InvalidRequest(
            f"there are two prompts, {flags.prompt[:40]!r} and {word[:40]!r}",
            hint="put the prompt in quotes",
        )
    flags.prompt = word


def _unknown(name: str) -> InvalidRequest:
    if name in _LATER:
        return InvalidRequest(f"{name} is not supported yet: {_LATER[name]}")
    import difflib  # noqa: PLC0415 - only for a wrong flag

    near = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=_NEAR)
    return InvalidRequest(
        f"there is no flag {name}",
        hint=f"did you mean {near[0]}?" if near else "headrace code --help lists them",
    )


def _check(flags: Flags) -> None:
    """What goes together and what does not."""
    if flags.continue_ and flags.resume is not None:
        raise InvalidRequest("--continue and --resume exclude each other")
    goes_on = flags.continue_ or flags.resume is not None
    if flags.fork_session and not goes_on:
        raise InvalidRequest("--fork-session goes with --continue or --resume")
    if flags.session_id is not None and goes_on and not flags.fork_session:
        raise InvalidRequest("--session-id names a new session: add --fork-session")
    if flags.headless and flags.resume == "":
        raise InvalidRequest("--resume takes a session's id where nobody can choose one")
    streams = flags.output_format == "stream-json"
    if flags.input_format == "stream-json" and not streams:
        raise InvalidRequest("--input-format stream-json goes with --output-format stream-json")
    if flags.include_partial_messages and not streams:
        raise InvalidRequest("--include-partial-messages goes with --output-format stream-json")
    if flags.permission_prompt_tool not in {None, "stdio"}:
        raise InvalidRequest("--permission-prompt-tool takes only stdio")


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"takes {', '.join(words[:-1])} or {words[-1]}")
        return text

    return read


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("takes a whole number from 1 on")
    return int(text)


def _dollars(text: str) -> NanoDollars:
    amount = parse_usd(text)
    if amount <= 0:
        raise ValueError("takes an amount of dollars above 0")
    return amount


def _session_id(text: str) -> str:
    if _UUID.fullmatch(text.lower()) is None:
        raise ValueError("takes a UUID")
    return text.lower()


def _schema(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ValueError(f"takes a JSON Schema as one JSON object: {error}") from None


_FLAGS = (
    _Flag(("--print", "-p"), "print"),
    _Flag(("--continue", "-c"), "continue_"),
    _Flag(("--resume", "-r"), "resume", "maybe"),
    _Flag(("--fork-session",), "fork_session"),
    _Flag(("--session-id",), "session_id", "one", _session_id),
    _Flag(("--model",), "model", "one"),
    _Flag(("--output-format",), "output_format", "one", _one_of(*OUTPUT_FORMATS)),
    _Flag(("--input-format",), "input_format", "one", _one_of(*INPUT_FORMATS)),
    _Flag(("--include-partial-messages",), "include_partial_messages"),
    _Flag(("--replay-user-messages",), "replay_user_messages"),
    _Flag(("--verbose",), "verbose"),
    _Flag(("--allowedTools", "--allowed-tools"), "allowed_tools", "list", split_rules),
    _Flag(("--disallowedTools", "--disallowed-tools"), "disallowed_tools", "list", split_rules),
    _Flag(("--tools",), "tools", "list", split_rules),
    _Flag(("--guided",), "guided", "one", _one_of("on", "off")),
    _Flag(("--permission-mode",), "permission_mode", "one"),
    _Flag(("--dangerously-skip-permissions", "--yolo"), "dangerously_skip_permissions"),
    _Flag(("--permission-prompt-tool",), "permission_prompt_tool", "one"),
    _Flag(("--add-dir",), "add_dir", "list"),
    _Flag(("--system-prompt",), "system_prompt", "one"),
    _Flag(("--append-system-prompt",), "append_system_prompt", "one"),
    _Flag(("--json-schema",), "json_schema", "one", _schema),
    _Flag(("--max-turns",), "max_turns", "one", _count),
    _Flag(("--max-budget-usd",), "max_budget_nano", "one", _dollars),
    _Flag(("--worktree", "-w"), "worktree", "maybe"),
    _Flag(("--endpoint",), "endpoint", "one"),
    _Flag(("--dialect",), "dialect", "one", _one_of(*DIALECTS)),
    _Flag(("--trust",), "trust", "one"),
    _Flag(("--data",), "data", "one"),
    _Flag(("--profile-model",), "profile_model"),
)
_BY_NAME = {name: flag for flag in _FLAGS for name in flag.names}
_LATER = {
    "--mcp-config": "MCP servers come later",
    "--strict-mcp-config": "MCP servers come later",
    "--agents": "subagents come later",
    "--plugin-dir": "plugins come later",
    "--settings": "settings come from .headrace/settings.json and .claude/settings.json",
    "--fallback-model": "fall-backs are set up where the model is served",
    "--ide": "editors come later",
}
