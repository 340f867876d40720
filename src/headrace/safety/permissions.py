"""Policy: whether an action may happen, by rules, mode and sandbox.

Deny comes before ask, ask before allow, allow before what the mode says. Nothing here is a
boundary against a hostile program, which is the sandbox's part; it decides what people are asked.
"""

import os.path
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import urlsplit

from headrace.core.decisions import Allow, Ask, Decision, Deny
from headrace.core.errors import Forbidden, InvalidRequest
from headrace.safety import harmless, path_patterns
from headrace.safety.actions import Action
from headrace.safety.denied_paths import DeniedPaths, denied_paths
from headrace.safety.protected import folded, is_secret, protected_part
from headrace.safety.rules import (
    PATH_TOOLS,
    Kind,
    Place,
    Rule,
    Rules,
    Scope,
    allows,
    forbids,
    is_plain_variable,
    matches_path,
    matches_url,
    names,
    parse_rule,
)
from headrace.safety.shell_words import HOLE, PART, Command, Word, parse
from headrace.safety.wrappers import Unit, units

Mode = Literal["default", "acceptEdits", "plan", "bypassPermissions", "dontAsk"]
MODES: tuple[Mode, ...] = ("default", "acceptEdits", "plan", "bypassPermissions", "dontAsk")
_KEPT_DECISIONS = 50
_CWDS_MAX = 32
_WRITERS = frozenset({"Edit", "Write", "NotebookEdit", "MultiEdit"})
_DEVICES = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr", "/dev/stdin", "/dev/tty"})
# What later sessions obey: a change of these asks, whoever wanted it.
_MEMORY = frozenset({"agents.md", "claude.md", "claude.local.md", "gemini.md"})
_NO_FILES = frozenset({"echo", "printf", "true", "false", ":", "expr", "seq", "sleep", "cd"})
_FILE_COMMANDS = {
    "mkdir": "pv",
    "touch": "",
    "rmdir": "pv",
    "mv": "fnv",
    "cp": "afnprRv",
    "rm": "frRv",
}


def mode_of(word: str) -> Mode:
    """The mode a word names; `manual` is `default`.

    Raises:
        InvalidRequest: There is no such mode.
    """
    word = "default" if word == "manual" else word
    if word not in MODES:
        raise InvalidRequest(
            f"there is no permission mode {word!r}",
            param="permission_mode",
            hint=f"one of manual, {', '.join(MODES)}",
        )
    return word


class Policy:
    """Decides each action: deny, then ask, then allow, then what the mode says.

    Args:
        rules: Of all scopes, highest first.
        workspace: The folder worked in, absolute, links resolved.
        home: The user's home folder, for `~/` in rules.
        roots: Further folders that may be worked in (`--add-dir`), absolute.
        read_roots: Further folders that may be read without question, such as kept outputs.
        mode: How to decide where no rule does.
        sandboxed: Whether commands run in a sandbox that was tried and holds.
        dangerous: In bypassPermissions commands may run without a sandbox, and write anywhere.
        bypass_barred_by: Who forbids bypassPermissions, for people; None where nobody does.
        save: Writes a kept rule into the settings of a scope and says into which file.

    Raises:
        InvalidRequest: There is no such mode.
        Forbidden: The mode is bypassPermissions, and that is barred.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        workspace: str,
        home: str,
        roots: Sequence[str] = (),
        read_roots: Sequence[str] = (),
        mode: str = "default",
        sandboxed: bool,
        dangerous: bool = False,
        bypass_barred_by: str | None = None,
        save: Callable[[str, Scope], str] | None = None,
    ) -> None:
        self._rules = rules
        self._place = Place(os.path.realpath(workspace), home)
        self._roots = [self._place.cwd, *map(os.path.realpath, roots)]
        self._read_roots = [os.path.realpath(root) for root in read_roots]
        self._sandboxed = sandboxed
        self._dangerous = dangerous
        self._barred_by = bypass_barred_by
        self._save = save
        self._decided: deque[str] = deque(maxlen=_KEPT_DECISIONS)
        self._mode: Mode = "default"
        self.mode = mode
        self._first_mode = self._mode

    @property
    def mode(self) -> Mode:
        """The mode now in force."""
        return self._mode

    @mode.setter
    def mode(self, word: str) -> None:
        """Change it.

        Raises:
            InvalidRequest: There is no such mode.
            Forbidden: bypassPermissions, where that is barred.
        """
        mode = mode_of(word)
        if mode == "bypassPermissions" and self._barred_by:
            raise Forbidden(f"bypassPermissions is forbidden by {self._barred_by}")
        self._mode = mode

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that shift+tab goes through; the last two only where it began in them."""
        return tuple(mode for mode in MODES if mode in (*MODES[:3], self._first_mode))

    @property
    def rules(self) -> Rules:
        """All rules now in force, for `/permissions`."""
        return self._rules

    @property
    def roots(self) -> tuple[str, ...]:
        """The workspace and the further folders that may be worked in, links resolved."""
        return tuple(self._roots)

    def why(self, count: int = 1) -> tuple[str, ...]:
        """The last decisions, newest first, each in one line: what, decision, reason."""
        return tuple(reversed(self._decided))[:count]

    def keep(self, rule: str, scope: Scope = "session") -> str:
        """Allow from now on what a rule says; `local` and `user` also write it down.

        Returns:
            Where it is kept, for people.

        Raises:
            ConfigError: It is no rule, or the settings file is broken.
        """
        root = self._place.home if scope == "user" else self._place.cwd
        read = parse_rule(rule, kind="allow", scope=scope, root=root)
        file = self._save(rule, scope) if self._save and scope in {"local", "user"} else ""
        read = Rule(
            text=read.text, tool=read.tool, spec=read.spec, scope=scope, file=file, root=root
        )
        self._rules = Rules((read,)) + self._rules
        return file or "this session"

    def add_root(self, folder: str) -> None:
        """Let one more folder be worked in (`/add-dir`)."""
        self._roots.append(os.path.realpath(folder))

    def may_read(self, path: str) -> bool:
        """Whether no rule denies reading an absolute path, for what a search comes by."""
        return self._rule_for("deny", "Read", path) is None

    def denied_paths(self) -> DeniedPaths:
        """The files and folders there are now that deny rules name, for the sandbox.

        Looks through the roots where a rule has wildcards or counts at any depth.
        """
        return denied_paths(self._rules.deny, self._roots, self._place)

    def decide(self, action: Action) -> Decision:
        """Whether it may happen, with a `why` of one line."""
        if action.command is not None:
            decision = self._command(action.command)
        elif action.path is not None and action.tool in PATH_TOOLS:
            decision = self._file(action.tool, action.path)
        elif action.tool == "WebFetch":
            decision = self._fetch(action.url or "")
        else:
            decision = self._other(action)
        if isinstance(decision, Ask) and self._mode == "dontAsk":
            decision = Deny(f"{decision.why}; the mode dontAsk asks nobody")
        what = action.command or action.path or action.url or ""
        word = {Allow: "allowed", Ask: "asked", Deny: "denied"}[type(decision)]
        line = " ".join(f"{action.tool} {what}: {word}: {decision.why}".split())
        if line in self._decided:  # a call is judged again when its turn comes
            self._decided.remove(line)
        self._decided.append(line)
        return decision

    # -- Files

    def _rule_for(self, kind: Kind, tool: str, path: str) -> Rule | None:
        """The first rule that decides this use; all spellings must be allowed, any be denied."""
        spots = {os.path.normpath(path), os.path.realpath(path)}
        loose = kind != "allow"
        tools = [tool, "Read"] if kind == "deny" else [tool]
        found = None
        for spot in spots:
            hits = (
                rule
                for rule in getattr(self._rules, kind)
                if any(matches_path(rule, t, spot, self._place, loose=loose) for t in tools)
            )
            hit = next(hits, None)
            if hit is None and not loose:
                return None
            found = hit or found
        return found

    def _inside(self, path: str, roots: Sequence[str]) -> str | None:
        """The path relative to the root that holds it; None where none does."""
        for root in roots:
            if path == root or path.startswith(root.rstrip("/") + "/"):
                return os.path.relpath(path, root)
        return None

    def _file(self, tool: str, path: str) -> Decision:
        writes = tool in _WRITERS
        if rule := self._rule_for("deny", tool, path):
            return _denied_by(rule)
        if writes and self._mode == "plan":
            return Deny("the mode plan changes no file; leave it with shift+tab")
        if rule := self._rule_for("ask", tool, path):
            return Ask(f"the rule {rule} asks")
        spots = sorted({os.path.normpath(path), os.path.realpath(path)})
        roots = self._roots if writes else [*self._roots, *self._read_roots]
        below = [self._inside(spot, roots) for spot in spots]
        shown = [name or spot.lstrip("/") for name, spot in zip(below, spots, strict=True)]
        if writes and (part := next(filter(None, map(protected_part, shown)), None)):
            return Ask(f"{part} holds settings that programs outside act on: writing there asks")
        return self._plain_file(tool, path, shown, inside=None not in below)

    def _plain_file(self, tool: str, path: str, shown: Sequence[str], *, inside: bool) -> Decision:
        """What allow rules and the mode say of a file that nothing else speaks of."""
        writes = tool in _WRITERS
        secret = any(map(is_secret, shown))
        memory = writes and any(folded(name.rpartition("/")[2]) in _MEMORY for name in shown)
        rule = self._rule_for("allow", tool, path)
        if rule and (rule.spec or not (secret or memory)):
            return Allow(f"the rule {rule}")
        if self._mode == "bypassPermissions" and (inside or self._dangerous or not writes):
            return Allow("the mode bypassPermissions")
        verb, kin = ("writing", "Edit") if writes else ("reading", "Read")
        offer = f"{kin}({path_patterns.literal(os.path.realpath(path))})"
        if memory:
            return Ask("what later sessions obey is written only if you say so")
        if secret or not inside:
            where = "what looks like keys or passwords" if secret else "outside the workspace"
            return Ask(f"{verb} {where} asks", offer)
        if not writes or self._mode == "acceptEdits":
            return Allow(f"{verb} in the workspace{f', the mode {self._mode}' if writes else ''}")
        return Ask("no rule allows this edit", offer)

    # -- Commands

    def _command(self, text: str) -> Decision:
        found, unsure = units(parse(text))
        touched = list(self._touched(found))
        if denied := self._denied_command(found, touched):
            return denied
        free = self._mode == "bypassPermissions"
        if not (self._sandboxed or (free and self._dangerous)):
            return Ask("no sandbox holds this command: it can do whatever you can", red=True)
        asked = self._asked_command(found, touched, unsure)
        if asked or free:
            return asked or Allow("the mode bypassPermissions")
        exact = (r for r in self._rules.allow if r.tool == "Bash" and r.spec == text.strip())
        whole = next((r for r in self._rules.allow if r.tool == "Bash" and not r.spec), None)
        rule = whole or next((r for r in exact if not unsure and "*" not in r.spec), None)
        if rule and self._mode != "plan":
            return self._outside_write(touched) or Allow(f"the rule {rule}")
        if unsure:
            return Ask(f"not understood, so no rule is asked: {unsure}")
        return self._each(found, touched, text.strip())

    def _denied_command(
        self, found: Sequence[Unit], touched: Sequence[tuple[str, str]]
    ) -> Deny | None:
        for rule in self._rules.deny:
            if _hits(rule, found):
                return _denied_by(rule)
        decisions = (self._file(tool, path) for tool, path in touched)
        return next((each for each in decisions if isinstance(each, Deny)), None)

    def _asked_command(
        self, found: Sequence[Unit], touched: Sequence[tuple[str, str]], unsure: str
    ) -> Ask | None:
        """What asks in every mode: ask rules, what may be denied, protected files."""
        for rule in self._rules.ask:
            if _hits(rule, found):
                return Ask(f"the rule {rule} asks")
        for rule in (*self._rules.deny, *self._rules.ask):
            if rule.tool != "Bash":
                continue
            if unsure or any(forbids(rule, unit.command) == "maybe" for unit in found):
                return Ask(f"it may come to what the rule {rule} is about")
        for tool, path in touched:
            decision = self._file(tool, path)
            if tool == "Edit" and isinstance(decision, Ask) and decision.rule is None:
                return decision
            if tool == "Edit" and self._mode == "bypassPermissions" and isinstance(decision, Ask):
                return decision
            if rule := self._rule_for("ask", tool, path):
                return Ask(f"the rule {rule} asks")
        return None

    def _outside_write(self, touched: Sequence[tuple[str, str]]) -> Ask | None:
        for tool, path in touched:
            if tool == "Edit" and self._inside(os.path.realpath(path), self._roots) is None:
                decision = self._file(tool, path)
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
            decision = self._file(tool, path)
            if isinstance(decision, Ask | Deny):
                return Ask(decision.why, decision.rule) if isinstance(decision, Ask) else decision
        if any(self._unknown_target(unit.command, bases) for unit in found):
            return Ask("it writes to a file that is known only when it runs")
        if not missing:
            return Allow(next((r for r in reasons if r.startswith("the rule")), "it only looks"))
        first = missing[0]
        if self._mode == "plan":
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
        if self._mode == "plan":
            return ""
        rule = next((rule for rule in self._rules.allow if allows(rule, command)), None)
        if rule:
            return f"the rule {rule}"
        if self._mode == "acceptEdits" and self._moves_files(command, bases):
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
            for below in [self._inside(target, self._roots) or ".git"]
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
                below = self._inside(os.path.realpath(path), self._roots)
                if below in {None, "."} or not isinstance(self._file("Edit", path), Allow):
                    return False
        return True

    def _bases(self, found: Sequence[Unit]) -> list[str]:
        """The folders that relative paths may start from; none where that is not known."""
        bases = [self._place.cwd]
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
        text = self._place.home + word.text[1:] if word.tilde else word.text
        return [os.path.join(base, text) for base in (["/"] if text.startswith("/") else bases)]  # noqa: PTH118

    def _unknown_target(self, command: Command, bases: Sequence[str]) -> bool:
        return any(not self._paths(each.target, bases) for each in command.redirects)

    def _touched(self, found: Sequence[Unit]) -> Iterator[tuple[str, str]]:
        """The files that redirections write and read, and those that commands name."""
        bases = self._bases(found)
        for unit in found:
            for redirect in unit.command.redirects:
                for path in self._paths(redirect.target, bases or [self._place.cwd]):
                    if path not in _DEVICES and not path.startswith("/dev/fd/"):
                        yield ("Edit" if redirect.writes else "Read"), path
            words = unit.command.words
            if words and words[0].text not in _NO_FILES:
                yield from self._named(words[1:], bases)

    def _named(self, words: Sequence[Word], bases: Sequence[str]) -> Iterator[tuple[str, str]]:
        for word in words:
            text = word.text.partition("=")[2] if word.text.startswith("--") else word.text
            bare = text.translate(str.maketrans("", "", f"*?[]{HOLE}{PART}"))
            for path in self._paths(Word(bare, tilde=word.tilde), bases or [self._place.cwd]):
                normal = os.path.normpath(path)
                below = self._inside(normal, self._roots) or normal.lstrip("/")
                name = text.rpartition("/")[2]
                hidden = word.glob and name[:1] == "." and fnmatchcase(".env", name)
                if hidden or is_secret(below) or is_secret(f"{below}/any"):
                    yield "Read", f"{path.rpartition('/')[0]}/.env" if hidden else path
                elif self._rule_for("deny", "Read", path):
                    yield "Read", path

    # -- The rest

    def _fetch(self, url: str) -> Decision:
        if decision := self._by_rule(lambda rule: matches_url(rule, url)):
            return decision
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            host = ""
        plain = host and not set(host) - set("abcdefghijklmnopqrstuvwxyz0123456789.-")
        return Ask(f"no rule allows {host or url}", f"WebFetch(domain:{host})" if plain else None)

    def _other(self, action: Action) -> Decision:
        def hit(rule: Rule) -> bool:
            return names(rule, action.tool) and not rule.spec

        decision = self._by_rule(hit, harmless=not action.writes)
        if self._mode == "plan" and action.writes and not isinstance(decision, Deny):
            return Deny("the mode plan changes nothing; leave it with shift+tab")
        if decision:
            return decision
        return Ask(f"no rule allows {action.tool}", action.tool)

    def _by_rule(self, hit: Callable[[Rule], bool], *, harmless: bool = False) -> Decision | None:
        """What rules, or the mode bypassPermissions, say; None where they are silent."""
        if rule := next(filter(hit, self._rules.deny), None):
            return _denied_by(rule)
        if rule := next(filter(hit, self._rules.ask), None):
            return Ask(f"the rule {rule} asks")
        if rule := next(filter(hit, self._rules.allow), None):
            return Allow(f"the rule {rule}")
        if harmless:
            return Allow("it changes nothing")
        free = self._mode == "bypassPermissions"
        return Allow("the mode bypassPermissions") if free else None


def _hits(rule: Rule, found: Sequence[Unit]) -> bool:
    """Whether a rule that asks or denies speaks of any command; a bare one does of all texts."""
    bare = rule.tool == "Bash" and not rule.spec
    return bare or any(forbids(rule, unit.command) == "yes" for unit in found)


def _denied_by(rule: Rule) -> Deny:
    return Deny(f"the rule {rule} denies it; it counts until it is taken out there")


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
