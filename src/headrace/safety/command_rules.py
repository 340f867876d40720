"""Commands: whether a command line may run, by rules, mode, sandbox and the files it names."""

import os.path
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from headrace.core.decisions import Allow, Ask, Decision, Deny
from headrace.safety import harmless
from headrace.safety.file_rules import Files, Standing, denied_by, inside
from headrace.safety.protected import is_secret, protected_part
from headrace.safety.rules import Rule, allows, forbids, is_plain_variable
from headrace.safety.shell_quotes import HOLE, PART, Word
from headrace.safety.shell_words import Command, parse
from headrace.safety.wrappers import Unit, units

_CWDS_MAX = 32
_DEVICES = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr", "/dev/stdin", "/dev/tty"})
_NO_FILES = frozenset({"echo", "printf", "true", "false", ":", "expr", "seq", "sleep", "cd"})
_FILE_COMMANDS = {
    "mkdir": "pv",
    "touch": "",
    "rmdir": "pv",
    "mv": "fnv",
    "cp": "afnprRv",
    "rm": "frRv",
}


class Commands:
    """Decides about command lines."""

    def __init__(self, standing: Standing, files: Files) -> None:
        self._now = standing
        self._files = files

    def decide(self, text: str) -> Decision:
        """Whether a command line may run."""
        found, unsure = units(parse(text))
        touched = list(self._touched(found))
        if denied := self._denied_command(found, touched):
            return denied
        free = self._now.mode == "bypassPermissions"
        if not (self._now.sandboxed or (free and self._now.dangerous)):
            return Ask("no sandbox holds this command: it can do whatever you can", red=True)
        asked = self._asked_command(found, touched, unsure)
        if asked or free:
            return asked or Allow("the mode bypassPermissions")
        exact = (r for r in self._now.rules.allow if r.tool == "Bash" and r.spec == text.strip())
        whole = next((r for r in self._now.rules.allow if r.tool == "Bash" and not r.spec), None)
        rule = whole or next((r for r in exact if not unsure and "*" not in r.spec), None)
        if rule and self._now.mode != "plan":
            return self._outside_write(touched) or Allow(f"the rule {rule}")
        if unsure:
            return Ask(f"not understood, so no rule is asked: {unsure}")
        return self._each(found, touched, text.strip())

    def _denied_command(
        self, found: Sequence[Unit], touched: Sequence[tuple[str, str]]
    ) -> Deny | None:
        for rule in self._now.rules.deny:
            if _hits(rule, found):
                return denied_by(rule)
        decisions = (self._files.decide(tool, path) for tool, path in touched)
        return next((each for each in decisions if isinstance(each, Deny)), None)

    def _asked_command(
        self, found: Sequence[Unit], touched: Sequence[tuple[str, str]], unsure: str
    ) -> Ask | None:
        """What asks in every mode: ask rules, what may be denied, protected files."""
        for rule in self._now.rules.ask:
            if _hits(rule, found):
                return Ask(f"the rule {rule} asks")
        for rule in (*self._now.rules.deny, *self._now.rules.ask):
            if rule.tool != "Bash":
                continue
            if unsure or any(forbids(rule, unit.command) == "maybe" for unit in found):
                return Ask(f"it may come to what the rule {rule} is about")
        return self._git_asked(found) or self._asked_touch(touched)

    def _git_asked(self, found: Sequence[Unit]) -> Ask | None:
        """No path of a command tells what git prints from its own store."""
        rule = next((rule for rule in self._now.rules.deny if rule.tool == "Read"), None)
        if rule and any(harmless.prints_tracked(unit.command) for unit in found):
            return Ask(f"git may print from its own store what the rule {rule} denies")
        return None

    def _asked_touch(self, touched: Sequence[tuple[str, str]]) -> Ask | None:
        for tool, path in touched:
            decision = self._files.decide(tool, path)
            if tool == "Edit" and isinstance(decision, Ask) and decision.rule is None:
                return decision
            if (
                tool == "Edit"
                and self._now.mode == "bypassPermissions"
                and isinstance(decision, Ask)
            ):
                return decision
            if rule := self._files.rule_for("ask", tool, path):
                return Ask(f"the rule {rule} asks")
        return None

    def _outside_write(self, touched: Sequence[tuple[str, str]]) -> Ask | None:
        for tool, path in touched:
            if tool == "Edit" and inside(os.path.realpath(path), self._now.roots) is None:
                decision = self._files.decide(tool, path)
                return decision if isinstance(decision, Ask) else None
        return None

    def _each(
        self, found: Sequence[Unit], touched: Sequence[tuple[str, str]], text: str
    ) -> Decision:
        """Each simple command and each file needs to be allowed by itself."""
        bases = self._bases(found)
        reasons: list[str] = []
        missing: list[Command] = []
        for unit in found:
            if unit.clear:
                continue
            reason = self._reason(unit.command, bases)
            if not reason:
                missing.append(unit.command)
            reasons.append(reason)
        for tool, path in touched:
            decision = self._files.decide(tool, path)
            if isinstance(decision, Ask | Deny):
                return Ask(decision.why, decision.rule) if isinstance(decision, Ask) else decision
        if any(self._unknown_target(unit.command, bases) for unit in found):
            return Ask("it writes to a file that is known only when it runs")
        if not missing:
            return Allow(next((r for r in reasons if r.startswith("the rule")), "it only looks"))
        first = missing[0]
        if self._now.mode == "plan":
            return Ask(f"the mode plan only looks, and `{_short(first)}` may do more")
        offer = harmless.always(first) if len(missing) == 1 else None
        if len(missing) > 1 and "*" not in text and "\n" not in text:
            offer = f"Bash({text})" if all(harmless.always(each) for each in missing) else None
        return Ask(f"no rule allows `{_short(first)}`", offer)

    def _reason(self, command: Command, bases: Sequence[str]) -> str:
        """Why a simple command may run; empty where nothing says so."""
        looks = harmless.only_looks(command) and _plain_assignment(command)
        if looks and self._stays(command, bases):
            return "it only looks"
        if self._now.mode == "plan":
            return ""
        rule = next((rule for rule in self._now.rules.allow if allows(rule, command)), None)
        if rule:
            return f"the rule {rule}"
        if self._now.mode == "acceptEdits" and self._moves_files(command, bases):
            return "the mode acceptEdits"
        return ""

    def _stays(self, command: Command, bases: Sequence[str]) -> bool:
        """Whether a `cd` goes to a plain folder of the workspace."""
        if not command.words or command.words[0].text != "cd":
            return True
        targets = [path for word in command.words[1:] for path in self._paths(word, bases)]
        return bool(targets) and all(
            protected_part(below) is None
            for target in targets
            for below in [inside(target, self._now.roots) or ".git"]
        )

    def _moves_files(self, command: Command, bases: Sequence[str]) -> bool:
        """Whether it only makes, moves or removes plain files of the workspace."""
        name = command.words[0].text if command.words else ""
        if name not in _FILE_COMMANDS or command.assignments:
            return False
        for word in command.words[1:]:
            if word.text.startswith("-"):
                if not word.known or set(word.text[1:]) - set(_FILE_COMMANDS[name]):
                    return False
                continue
            plain = Word(word.text.split("*")[0].split("?")[0].split("[")[0], tilde=word.tilde)
            paths = self._paths(plain if word.glob else word, bases)
            if not paths or (word.glob and "/" not in plain.text):
                return False
            for path in paths:
                below = inside(os.path.realpath(path), self._now.roots)
                if below in {None, "."} or not isinstance(self._files.decide("Edit", path), Allow):
                    return False
        return True

    def _bases(self, found: Sequence[Unit]) -> list[str]:
        """The folders that relative paths may start from; none where that is not known."""
        bases = [self._now.place.cwd]
        for unit in found:
            words = unit.command.words
            if not words or words[0].text not in {"cd", "pushd", "popd"}:
                continue
            targets = [word for word in words[1:] if not word.text.startswith("-")]
            moved = [path for word in targets for path in self._paths(word, bases)]
            if len(targets) != 1 or not moved or len(bases) > _CWDS_MAX:
                return []
            bases += [path for path in moved if path not in bases]
        return bases

    def _paths(self, word: Word, bases: Sequence[str]) -> list[str]:
        """What a word may name, absolute; nothing where that is not known."""
        if not word.known or not word.text:
            return []
        text = self._now.place.home + word.text[1:] if word.tilde else word.text
        return [os.path.join(base, text) for base in (["/"] if text.startswith("/") else bases)]  # noqa: PTH118

    def _unknown_target(self, command: Command, bases: Sequence[str]) -> bool:
        return any(not self._paths(each.target, bases) for each in command.redirects)

    def _touched(self, found: Sequence[Unit]) -> Iterator[tuple[str, str]]:
        """The files that redirections write and read, and those that commands name."""
        bases = self._bases(found)
        for unit in found:
            for redirect in unit.command.redirects:
                for path in self._paths(redirect.target, bases or [self._now.place.cwd]):
                    if path not in _DEVICES and not path.startswith("/dev/fd/"):
                        yield ("Edit" if redirect.writes else "Read"), path
            words = unit.command.words
            if words and words[0].text not in _NO_FILES:
                yield from self._named(words[1:], bases)

    def _named(self, words: Sequence[Word], bases: Sequence[str]) -> Iterator[tuple[str, str]]:
        for word in words:
            text = word.text.partition("=")[2] if word.text.startswith("--") else word.text
            bare = text.translate(str.maketrans("", "", f"*?[]{HOLE}{PART}"))
            for path in self._paths(Word(bare, tilde=word.tilde), bases or [self._now.place.cwd]):
                normal = os.path.normpath(path)
                below = inside(normal, self._now.roots) or normal.lstrip("/")
                name = text.rpartition("/")[2]
                hidden = word.glob and name[:1] == "." and fnmatchcase(".env", name)
                if hidden or is_secret(below) or is_secret(f"{below}/any"):
                    yield "Read", f"{path.rpartition('/')[0]}/.env" if hidden else path
                elif self._files.rule_for("deny", "Read", path):
                    yield "Read", path


def _hits(rule: Rule, found: Sequence[Unit]) -> bool:
    """Whether a rule that asks or denies speaks of any command; a bare one does of all texts."""
    bare = rule.tool == "Bash" and not rule.spec
    return bare or any(forbids(rule, unit.command) == "yes" for unit in found)


def _short(command: Command) -> str:
    text = " ".join(command.source.split())
    limit = 60
    return text if len(text) <= limit else f"{text[:limit]}…"


def _plain_assignment(command: Command) -> bool:
    """Whether what it sets reaches no program: plain variables, or names that are not exported."""
    for name, _ in command.assignments:
        own = not command.words and name.lower() == name and not name.endswith("_proxy")
        if not (own or is_plain_variable(name)):
            return False
    return True
