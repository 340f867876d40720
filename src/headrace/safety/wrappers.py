"""Programs that run other commands, and which commands these are."""

import os.path
import re
from collections.abc import Iterator

import msgspec

from headrace.safety.shell_quotes import HOLE, PART, Word
from headrace.safety.shell_words import Command, Script, parse

_DEPTH_MAX = 6
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "busybox"})
# Options of wrappers that take their value as the next word.
_VALUED = {
    "timeout": ("-k", "-s", "--kill-after", "--signal"),
    "nice": ("-n", "--adjustment"),
    "stdbuf": ("-i", "-o", "-e"),
    "env": ("-u", "-C", "-S", "--unset", "--chdir", "--split-string"),
    "sudo": ("-u", "-g", "-h", "-p", "-C", "-D", "-r", "-t", "-T", "-U"),
    "doas": ("-u", "-C"),
    "xargs": ("-a", "-d", "-E", "-I", "-L", "-n", "-P", "-s"),
    "ionice": ("-c", "-n", "-p"),
    "watch": ("-n", "-d"),
    "flock": ("-w", "-E"),
    "setpriv": (),
    "setsid": (),
    "nohup": (),
    "chroot": (),
    "unshare": (),
    "strace": ("-o", "-e", "-p"),
    "command": (),
    "builtin": (),
    "exec": ("-a",),
    "time": ("-f", "-o"),
}
# These take one word of their own before the command.
_OPERANDS = {"timeout": 1, "flock": 1, "chroot": 1}
# What may be taken off before allow rules are asked; the rest only counts for deny and ask.
_CLEAR = frozenset({"timeout", "time", "nice", "nohup", "stdbuf", "xargs"})
_TIMEOUT = re.compile(r"[0-9.]+[smhd]?")


class Unit(msgspec.Struct, frozen=True):
    """A simple command to be judged.

    Attributes:
        command: The command.
        clear: It only starts the unit that follows, so no allow rule need name it.
        runs: It runs other commands in a way that rules with wildcards do not cover alone.
    """

    command: Command
    clear: bool = False
    runs: bool = False


def units(script: Script) -> tuple[tuple[Unit, ...], str]:
    """All commands of a script with those they run in turn, and what was not understood."""
    found: list[Unit] = []
    unsure = _collect(script, found, 0)
    return tuple(found), unsure


def _collect(script: Script, found: list[Unit], depth: int) -> str:
    if depth > _DEPTH_MAX:
        return "commands within commands so deep"
    unsure = script.unsure
    for command in script.commands:
        inner = tuple(_inner(command))
        clear = bool(inner) and _is_clear(command)
        found.append(Unit(command, clear, bool(inner) and not clear))
        for each in inner:
            unsure = _collect(each, found, depth + 1) or unsure
    return unsure


def _is_clear(command: Command) -> bool:
    words = [word.text for word in command.words]
    if words[0] not in _CLEAR or not all(word.known for word in command.words[:2]):
        return False
    if words[0] == "xargs":
        return not words[1].startswith("-")
    if words[0] == "time":
        return words[1] == "-p" or not words[1].startswith("-")
    return True


def _inner(command: Command) -> Iterator[Script]:
    if not command.words:
        return
    program = os.path.basename(command.words[0].text)  # noqa: PTH119 - a word, not a file
    if program in _SHELLS:
        yield from _of_shell(command)
    elif program == "eval":
        yield _parsed(command.words[1:])
    elif program == "find":
        yield from _of_find(command)
    elif program in _VALUED:
        yield from _of_wrapper(program, command)


def _of_shell(command: Command) -> Iterator[Script]:
    """`sh -c SCRIPT`; a script in a file is one nobody has seen."""
    words = command.words[1:]
    for at, word in enumerate(words):
        if re.fullmatch(r"[-+][A-Za-z]*c[A-Za-z]*", word.text) and word.known:
            script = next((each for each in words[at + 1 :] if each.text[:1] not in "-+"), None)
            yield _parsed((script,)) if script else Script((), "a shell without a script")
            return
        if not word.known:
            yield Script((), "what a shell runs")
            return


def _parsed(words: tuple[Word, ...]) -> Script:
    if not all(word.known for word in words):
        return Script((), "what a shell runs")
    return parse(" ".join(word.text for word in words))


def _of_find(command: Command) -> Iterator[Script]:
    words = command.words
    at = 1
    while at < len(words):
        at += 1
        if words[at - 1].text[:1] in {HOLE, PART}:
            yield Script((), "what find does")
        if words[at - 1].text in {"-exec", "-execdir", "-ok", "-okdir"}:
            end = at
            while end < len(words) and words[end].text != ";":
                end += 1
                if words[end - 1].text == "{}" and end < len(words) and words[end].text == "+":
                    break
            yield _command(tuple(_filled(each) for each in words[at:end]))
            at = end


def _filled(word: Word) -> Word:
    return Word(word.text.replace("{}", PART), word.glob, word.tilde)


def _of_wrapper(program: str, command: Command) -> Iterator[Script]:
    words = command.words[1:]
    at = _options_end(program, words)
    if program == "env":
        while at < len(words) and "=" in words[at].text:
            at += 1
        split = next((n for n, w in enumerate(words[:at]) if w.text.startswith(("-S", "--sp"))), -1)
        if split >= 0:
            yield Script((), "env -S")
            return
    at += _OPERANDS.get(program, 0)
    rest = words[at:]
    if program == "timeout" and rest and not _TIMEOUT.fullmatch(words[at - 1].text):
        yield Script((), "how long timeout waits")
    elif program == "flock" and rest and rest[0].text == "-c":
        yield _parsed(rest[1:2])
    elif program == "watch" and rest:
        yield _parsed(rest)
    elif program == "xargs" and rest:
        yield _command((*rest, Word(HOLE)))
    elif rest and not (program == "command" and words[0].text in {"-v", "-V"}):
        yield _command(rest)


def _options_end(program: str, words: tuple[Word, ...]) -> int:
    at = 0
    while at < len(words) and words[at].text.startswith("-"):
        option = words[at].text
        at += 1
        if option == "--":
            break
        at += option in _VALUED[program]
    return at


def _command(words: tuple[Word, ...]) -> Script:
    if not words:
        return Script(())
    source = " ".join(word.text for word in words)
    return Script((Command(words, source=source.replace(HOLE, "…").replace(PART, "…")),))
