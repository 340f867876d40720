"""Permission rules in Claude Code's syntax: reading them, and what they match."""

import functools
import os.path
import re
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import msgspec

from headrace.core.errors import ConfigError
from headrace.safety import path_patterns
from headrace.safety.harmless import options_that_do_more
from headrace.safety.shell_quotes import HOLE, PART, Word
from headrace.safety.shell_words import Command, parse
from headrace.safety.wrappers import units

Scope = Literal["managed", "flags", "session", "local", "project", "user"]
Kind = Literal["allow", "ask", "deny"]
Answer = Literal["yes", "maybe", "no"]

_RULE = re.compile(r"([A-Za-z_][\w-]*\*?)(?:\((.*)\))?", re.DOTALL)
_DOMAIN = re.compile(r"domain:(\*|(\*\.)?[\w*-]+(\.[\w*-]+)*\.?)")
_READERS = frozenset({"Grep", "Glob", "LS", "NotebookRead"})
_WRITERS = frozenset({"Write", "NotebookEdit", "MultiEdit"})
PATH_TOOLS = _READERS | _WRITERS | {"Read", "Edit"}
_RULE_CHARACTERS_MAX = 1_000
_EXAMPLES_MAX = 100
_BLANKS = str.maketrans(dict.fromkeys(" \t\n", "\x1f"))
_EMPTY = "\x1e"
_GIT_VALUED = frozenset({"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env"})
# Variables that no program takes a command, a file or an address from.
_PLAIN_VARIABLES = re.compile(
    r"LANG|LC_[A-Z]+|NO_COLOR|FORCE_COLOR|CI|COLUMNS|LINES|NODE_ENV|RUST_BACKTRACE|RUST_LOG"
    r"|PYTHONUNBUFFERED|PYTHONDONTWRITEBYTECODE"
)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, such as `Bash(git diff:*)`.

    Attributes:
        text: As it was written.
        tool: The tool's name, `Bash`.
        spec: What stands in the parentheses, `git diff:*`; empty: every use of the tool.
        scope: Whose rule it is.
        file: Where it was read, for people; empty for flags and what was kept for the session.
        root: What a leading `/` in a path means: the folder its settings belong to, absolute.
    """

    text: str
    tool: str
    spec: str = ""
    scope: Scope
    file: str = ""
    root: str

    def __str__(self) -> str:
        """As decisions name it: the rule, its scope, its file."""
        return f"`{self.text}` ({self.scope}{', ' + self.file if self.file else ''})"


class Rules(msgspec.Struct, frozen=True):
    """Rules by what they do."""

    allow: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()

    def __add__(self, other: "Rules") -> "Rules":
        """Both, in order of precedence."""
        return Rules(self.allow + other.allow, self.ask + other.ask, self.deny + other.deny)


class Place(msgspec.Struct, frozen=True):
    """What paths in rules are relative to, absolute."""

    cwd: str
    home: str


def parse_rule(  # noqa: D417 - `value` is described in the first line
    value: Any,  # noqa: ANN401 - it comes from JSON
    *,
    kind: Kind,
    scope: Scope,
    root: str,
    file: str = "",
    home: str = "/",
) -> Rule:
    """Read a rule: a text, or `{"rule": …, "match": […], "not_match": […]}` with own examples.

    Args:
        kind: Whether it allows, asks or denies; an allow rule must cover all of an example.
        scope: Whose rule it is.
        root: The folder its settings belong to, absolute.
        file: Where it was read, for people.
        home: What `~/` means in it and its examples.

    Raises:
        ConfigError: It is no rule, or an example of its own fails; names the file and the rule.
    """
    where = f"{file or scope}: permissions.{kind}"
    examples = cast("dict[str, Any]", value) if isinstance(value, dict) else {"rule": value}
    text = examples.get("rule")
    match = _RULE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[2] == "" or not set(examples) <= {"rule", "match", "not_match"}:
        raise ConfigError(
            f"{where}: {value!r} is no rule",
            hint='write "Tool", "Tool(what:*)" or {"rule": …, "match": […], "not_match": […]}',
        )
    if "*" in match[0] and len(match[0]) > _RULE_CHARACTERS_MAX:
        raise ConfigError(f"{where}: {match[0][:60]!r}… has over {_RULE_CHARACTERS_MAX} characters")
    tool, spec = match[1], match[2] or ""
    spec = "" if spec in {"*", ":*"} and tool not in PATH_TOOLS else spec
    if tool == "WebFetch" and spec and not _DOMAIN.fullmatch(spec):
        raise ConfigError(f"{where}: {text!r} names no domain", hint="WebFetch(domain:example.com)")
    if tool in PATH_TOOLS and spec.startswith("!"):
        raise ConfigError(f"{where}: {text!r} negates a path, which rules cannot")
    rule = Rule(text=match[0], tool=tool, spec=spec, scope=scope, file=file, root=root)
    _check_path(rule, where, home)
    _try_examples(rule, kind, examples, where, Place(root, home))
    return rule


def _check_path(rule: Rule, where: str, home: str) -> None:
    if rule.tool in PATH_TOOLS and rule.spec:
        try:
            matches_path(rule, rule.tool, "/", Place(rule.root, home), loose=False)
        except re.error as error:
            raise ConfigError(f"{where}: {rule.text!r} is no pattern: {error}") from None


def _try_examples(
    rule: Rule, kind: Kind, examples: dict[str, Any], where: str, place: Place
) -> None:
    for key, expected in (("match", True), ("not_match", False)):
        given = examples.get(key, [])
        if not isinstance(given, list) or not all(
            isinstance(e, str) for e in cast("list[Any]", given)
        ):
            raise ConfigError(f"{where}: `{key}` of `{rule.text}` is no list of texts")
        texts = cast("list[str]", given)
        if len(texts) > _EXAMPLES_MAX or any(len(text) > _RULE_CHARACTERS_MAX for text in texts):
            raise ConfigError(
                f"{where}: `{key}` of `{rule.text}` has over {_EXAMPLES_MAX} examples,"
                f" or one of over {_RULE_CHARACTERS_MAX} characters"
            )
        for example in texts:
            if _covers(rule, kind, example, place) is not expected:
                verb = "does not match" if expected else "matches"
                raise ConfigError(
                    f"{where}: `{rule.text}` {verb} its own example {example!r}",
                    hint="mend the rule or its example",
                )


def _covers(rule: Rule, kind: Kind, example: str, place: Place) -> bool:
    """Whether the rule decides an example: a command, a path or a URL."""
    if rule.tool == "WebFetch":
        return matches_url(rule, example)
    if rule.tool in PATH_TOOLS:
        path = place.home + example[1:] if example.startswith("~/") else example
        path = os.path.normpath(os.path.join(rule.root, path))  # noqa: PTH118 - words, not files
        return matches_path(rule, rule.tool, path, place, loose=kind != "allow")
    found, unsure = units(parse(example))
    if kind == "allow":
        return not unsure and all(allows(rule, each.command) for each in found if not each.clear)
    return any(forbids(rule, each.command) == "yes" for each in found)


def names(rule: Rule, tool: str) -> bool:
    """Whether it speaks of a tool; those of Read and Edit cover their kin."""
    if rule.tool.startswith("mcp__"):
        return tool == rule.tool or tool.startswith(rule.tool.rstrip("*").rstrip("_") + "__")
    kin = {"Read": _READERS, "Edit": _WRITERS}.get(rule.tool, frozenset[str]())
    return tool == rule.tool or tool in kin


def matches_path(rule: Rule, tool: str, path: str, place: Place, *, loose: bool) -> bool:
    """Whether it decides what `tool` does to a path; `loose` ignores case, as some disks do."""
    if not names(rule, tool):
        return False
    if not rule.spec:
        return True
    pattern = path_patterns.compiled(rule.spec, rule.root, place.cwd, place.home, loose)
    return pattern.fullmatch(path_patterns.composed(path) if loose else path) is not None


def matches_url(rule: Rule, url: str) -> bool:
    """Whether it decides the fetching of a URL."""
    if not names(rule, "WebFetch") or not rule.spec:
        return names(rule, "WebFetch")
    try:
        host = (urlsplit(url).hostname or "").rstrip(".").lower()
    except ValueError:
        return False
    domain = rule.spec.removeprefix("domain:").rstrip(".").lower()
    if domain == "*":
        return True
    # A leading `*.` spans labels; any other star stays in one, since anybody may buy a domain.
    wanted, labels = domain.removeprefix("*.").split("."), host.split(".")
    if domain.startswith("*.") and len(labels) > len(wanted):
        labels = labels[-len(wanted) :]
    elif domain.startswith("*.") or len(labels) != len(wanted):
        return False
    return all(_stars(one).fullmatch(label) for one, label in zip(wanted, labels, strict=True))


def is_plain_variable(name: str) -> bool:
    """Whether no program takes a command, a file or an address from an environment variable."""
    return _PLAIN_VARIABLES.fullmatch(name) is not None


def allows(rule: Rule, command: Command) -> bool:
    """Whether it allows a simple command, whatever becomes of what is known only when it runs.

    A rule with a wildcard covers options that write files or start programs only if it names them.
    """
    if rule.tool != "Bash":
        return False
    if not rule.spec or ("*" not in rule.spec and rule.spec == command.source):
        return True
    if not command.words or not all(is_plain_variable(n) for n, _ in command.assignments):
        return False
    pattern, canonical = _pattern(rule.spec)
    if not canonical or not _regex(pattern).fullmatch(flat(command.words)):
        return False
    more = options_that_do_more(command)
    return not more or more in rule.spec


def forbids(rule: Rule, command: Command) -> Answer:
    """Whether a rule that asks or denies hits a simple command, in any of its spellings."""
    if rule.tool != "Bash":
        return "no"
    if not rule.spec:
        return "yes"
    pattern, _ = _pattern(rule.spec)
    regex = _regex(pattern)
    spellings = list(_spellings(command.words))
    if any(regex.fullmatch(text) for text in (command.source, *map(flat, spellings))):
        return "yes"
    open_ended = any(not word.known for word in command.words)
    if open_ended and any(_may_match(pattern, flat(each, loose=True)) for each in spellings):
        return "maybe"
    return "no"


def flat(words: tuple[Word, ...], *, loose: bool = False) -> str:
    """Words as one text in which a space parts words and nothing else does."""
    return " ".join(
        HOLE if loose and word.glob else word.text.translate(_BLANKS) or _EMPTY for word in words
    )


def _spellings(words: tuple[Word, ...]) -> "list[tuple[Word, ...]]":
    if not words:
        return []
    found = [words]
    program = os.path.basename(words[0].text)  # noqa: PTH119 - a word, not a file
    if program and program != words[0].text:
        found.append((Word(program, words[0].glob), *words[1:]))
    if program == "git":
        at = 1
        while at < len(words) and words[at].text.startswith("-"):
            at += 2 if words[at].text in _GIT_VALUED else 1
        found.append((Word("git"), *words[at:]))
    return found


@functools.lru_cache(maxsize=1024)
def _pattern(spec: str) -> tuple[str, bool]:
    """A rule's pattern over `flat` texts, and whether its words could be told apart."""
    spec = f"{spec[:-2]} *" if spec.endswith(":*") else spec
    script = parse(spec)
    if script.unsure or len(script.commands) != 1:
        return spec, False
    command = script.commands[0]
    text = flat(command.words)
    if command.assignments or command.redirects or HOLE in text or PART in text:
        return spec, False
    return text, True


@functools.lru_cache(maxsize=1024)
def _stars(pattern: str, more: str = "") -> re.Pattern[str]:
    pieces = [re.escape(piece) for piece in re.split(r"\*+", pattern)]
    return re.compile(path_patterns.first_fits(pieces, ".") + more, re.DOTALL)


def _regex(pattern: str) -> re.Pattern[str]:
    # A trailing ` *` also matches nothing: `ls *` allows a bare `ls`, but never `lsof`.
    optional = pattern.endswith(" *")
    return _stars(pattern[:-2], "(?: .*)?") if optional else _stars(pattern)


def _may_match(pattern: str, text: str) -> bool:
    """Whether some filling of the holes in `text` matches; both are read as wildcards."""
    optional = pattern.endswith(" *")
    if _meet(pattern[:-2] if optional else pattern, text):
        return True
    return optional and _meet(pattern, text)


def _meet(pattern: str, text: str) -> bool:
    """Walk along the text with the set of all places in the pattern, as the bits of a number."""
    pattern = re.sub(r"\*+", "*", pattern)
    places: dict[str, int] = {}
    for at, char in enumerate(pattern):
        places[char] = places.get(char, 0) | 1 << at
    stars, every = places.pop("*", 0), (2 << len(pattern)) - 1
    within = every >> 1 & ~places.get(" ", 0)
    here = 1 | (1 & stars) << 1
    for char in text:
        if char == HOLE:  # anywhere from the first place on
            moved = every & -(here & -here)
        elif char == PART:  # on to the next space: the carry of an addition runs through a word
            moved = here | ((here & within) + within ^ within) & every
        else:
            moved = here & stars | (here & places.get(char, 0)) << 1
        here = moved | (moved & stars) << 1
        if not here:
            return False
    return bool(here >> len(pattern) & 1)
