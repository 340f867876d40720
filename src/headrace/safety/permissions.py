"""Policy: whether an action may happen, by rules, mode and sandbox.

Deny comes before ask, ask before allow, allow before what the mode says. Nothing here is a
boundary against a hostile program, which is the sandbox's part; it decides what people are asked.
"""

import os.path
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal
from urllib.parse import urlsplit

from headrace.core.decisions import Allow, Ask, Decision, Deny
from headrace.core.errors import Forbidden, InvalidRequest
from headrace.safety.actions import Action
from headrace.safety.command_rules import Commands
from headrace.safety.denied_paths import DeniedPaths, denied_paths, denier
from headrace.safety.file_rules import Files, Standing, denied_by
from headrace.safety.rules import (
    PATH_TOOLS,
    Place,
    Rule,
    Rules,
    Scope,
    matches_url,
    names,
    parse_rule,
)

Mode = Literal["default", "acceptEdits", "plan", "bypassPermissions", "dontAsk"]
MODES: tuple[Mode, ...] = ("default", "acceptEdits", "plan", "bypassPermissions", "dontAsk")
_KEPT_DECISIONS = 50


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
        cwd = os.path.realpath(workspace)
        self._now = Standing(
            rules=rules,
            place=Place(cwd, home),
            roots=[cwd, *map(os.path.realpath, roots)],
            read_roots=[os.path.realpath(root) for root in read_roots],
            mode="default",
            sandboxed=sandboxed,
            dangerous=dangerous,
        )
        self._denies = denier(rules.deny, self._now.place)
        self._files = Files(self._now)
        self._commands = Commands(self._now, self._files)
        self._barred_by = bypass_barred_by
        self._save = save
        self._decided: deque[str] = deque(maxlen=_KEPT_DECISIONS)
        self.mode = mode
        self._first_mode = self.mode

    @property
    def mode(self) -> Mode:
        """The mode now in force."""
        return mode_of(self._now.mode)

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
        self._now.mode = mode

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that shift+tab goes through; the last two only where it began in them."""
        return tuple(mode for mode in MODES if mode in (*MODES[:3], self._first_mode))

    @property
    def rules(self) -> Rules:
        """All rules now in force, for `/permissions`."""
        return self._now.rules

    @property
    def roots(self) -> tuple[str, ...]:
        """The workspace and the further folders that may be worked in, links resolved."""
        return tuple(self._now.roots)

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
        root = self._now.place.home if scope == "user" else self._now.place.cwd
        read = parse_rule(rule, kind="allow", scope=scope, root=root)
        file = self._save(rule, scope) if self._save and scope in {"local", "user"} else ""
        read = Rule(
            text=read.text, tool=read.tool, spec=read.spec, scope=scope, file=file, root=root
        )
        self._now.rules = Rules((read,)) + self._now.rules
        return file or "this session"

    def add_root(self, folder: str) -> None:
        """Let one more folder be worked in (`/add-dir`)."""
        self._now.roots.append(os.path.realpath(folder))

    def may_read(self, path: str) -> bool:
        """Whether reading an absolute path would not ask, for what a search or import comes by."""
        return self._files.may_show(path)

    def denied_paths(self) -> DeniedPaths:
        """The files and folders there are now that deny rules name, for the sandbox.

        Looks through the roots where a rule has wildcards or counts at any depth.
        """
        return denied_paths(self._now.rules.deny, self._now.roots, self._now.place)

    def denies(self, path: str) -> bool | None:
        """Whether deny rules hide an absolute path, or only keep it (False); None: neither."""
        return self._denies(path)

    def decide(self, action: Action) -> Decision:
        """Whether it may happen, with a `why` of one line."""
        if action.command is not None:
            decision = self._commands.decide(action.command)
        elif action.path is not None and action.tool in PATH_TOOLS:
            decision = self._files.decide(action.tool, action.path)
        elif action.tool == "WebFetch":
            decision = self._fetch(action.url or "")
        else:
            decision = self._other(action)
        if isinstance(decision, Ask) and self._now.mode == "dontAsk":
            decision = Deny(f"{decision.why}; the mode dontAsk asks nobody")
        what = action.command or action.path or action.url or ""
        word = {Allow: "allowed", Ask: "asked", Deny: "denied"}[type(decision)]
        line = " ".join(f"{action.tool} {what}: {word}: {decision.why}".split())
        if line in self._decided:  # a call is judged again when its turn comes
            self._decided.remove(line)
        self._decided.append(line)
        return decision

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
        if self._now.mode == "plan" and action.writes and not isinstance(decision, Deny):
            return Deny("the mode plan changes nothing; leave it with shift+tab")
        if decision:
            return decision
        return Ask(f"no rule allows {action.tool}", action.tool)

    def _by_rule(self, hit: Callable[[Rule], bool], *, harmless: bool = False) -> Decision | None:
        """What rules, or the mode bypassPermissions, say; None where they are silent."""
        if rule := next(filter(hit, self._now.rules.deny), None):
            return denied_by(rule)
        if rule := next(filter(hit, self._now.rules.ask), None):
            return Ask(f"the rule {rule} asks")
        if rule := next(filter(hit, self._now.rules.allow), None):
            return Allow(f"the rule {rule}")
        if harmless:
            return Allow("it changes nothing")
        free = self._now.mode == "bypassPermissions"
        return Allow("the mode bypassPermissions") if free else None
