"""Files: whether one may be read or changed, by rules, names and mode."""

import os.path
from collections.abc import Sequence

import msgspec

from headrace.core.decisions import Allow, Ask, Decision, Deny
from headrace.safety import path_patterns
from headrace.safety.protected import folded, is_secret, protected_part
from headrace.safety.rules import Kind, Place, Rule, Rules, matches_path

_WRITERS = frozenset({"Edit", "Write", "NotebookEdit", "MultiEdit"})
# What later sessions obey: a change of these asks, whoever wanted it.
_MEMORY = frozenset({"agents.md", "claude.md", "claude.local.md", "gemini.md"})


class Standing(msgspec.Struct, kw_only=True):
    """What decisions stand on; it changes as the session goes on.

    Attributes:
        rules: Of all scopes, highest first.
        place: What paths in rules are relative to.
        roots: The workspace and further folders that may be worked in, links resolved.
        read_roots: Further folders that may be read without question.
        mode: How to decide where no rule does.
        sandboxed: Whether commands run in a sandbox that was tried and holds.
        dangerous: In bypassPermissions commands may run without a sandbox, and write anywhere.
    """

    rules: Rules
    place: Place
    roots: list[str]
    read_roots: list[str]
    mode: str
    sandboxed: bool
    dangerous: bool


class Files:
    """Decides about single files."""

    def __init__(self, standing: Standing) -> None:
        self._now = standing

    def decide(self, tool: str, path: str) -> Decision:
        """Whether `tool` may read or change an absolute path."""
        writes = tool in _WRITERS
        if rule := self.rule_for("deny", tool, path):
            return denied_by(rule)
        if writes and self._now.mode == "plan":
            return Deny("the mode plan changes no file; leave it with shift+tab")
        if rule := self.rule_for("ask", tool, path):
            return Ask(f"the rule {rule} asks")
        roots = self._now.roots if writes else [*self._now.roots, *self._now.read_roots]
        below = [inside(spot, roots) for spot in _spots(path)]
        shown = [name or spot.lstrip("/") for name, spot in zip(below, _spots(path), strict=True)]
        if writes and (part := next(filter(None, map(protected_part, shown)), None)):
            return Ask(f"{part} holds settings that programs outside act on: writing there asks")
        return self._plain(tool, path, shown, is_inside=None not in below)

    def may_show(self, path: str) -> bool:
        """Whether reading a file would not ask but for its place, which was asked about before."""
        if self.rule_for("deny", "Read", path) or self.rule_for("ask", "Read", path):
            return False
        shown = [inside(spot, self._now.roots) or spot.lstrip("/") for spot in _spots(path)]
        return isinstance(self._plain("Read", path, shown, is_inside=True), Allow)

    def rule_for(self, kind: Kind, tool: str, path: str) -> Rule | None:
        """The first rule that decides this use; all spellings must be allowed, any be denied."""
        loose = kind != "allow"
        tools = [tool, "Read"] if kind == "deny" else [tool]
        rules: Sequence[Rule] = getattr(self._now.rules, kind)
        found = None
        for spot in _spots(path) if rules else ():
            hits = (
                rule
                for rule in rules
                if any(matches_path(rule, t, spot, self._now.place, loose=loose) for t in tools)
            )
            hit = next(hits, None)
            if hit is None and not loose:
                return None
            found = hit or found
        return found

    def _plain(self, tool: str, path: str, shown: Sequence[str], *, is_inside: bool) -> Decision:
        """What allow rules and the mode say of a file that nothing else speaks of."""
        writes, mode = tool in _WRITERS, self._now.mode
        secret = any(map(is_secret, shown))
        memory = writes and any(folded(name.rpartition("/")[2]) in _MEMORY for name in shown)
        rule = self.rule_for("allow", tool, path)
        if rule and (rule.spec or not (secret or memory)):
            return Allow(f"the rule {rule}")
        if mode == "bypassPermissions" and (is_inside or self._now.dangerous or not writes):
            return Allow("the mode bypassPermissions")
        verb, kin = ("writing", "Edit") if writes else ("reading", "Read")
        offer = f"{kin}({path_patterns.literal(os.path.realpath(path))})"
        if memory:
            return Ask("what later sessions obey is written only if you say so")
        if secret or not is_inside:
            where = "what looks like keys or passwords" if secret else "outside the workspace"
            return Ask(f"{verb} {where} asks", offer)
        if not writes or mode == "acceptEdits":
            return Allow(f"{verb} in the workspace{f', the mode {mode}' if writes else ''}")
        return Ask("no rule allows this edit", offer)


def inside(path: str, roots: Sequence[str]) -> str | None:
    """The path relative to the root that holds it; None where none does."""
    for root in roots:
        if path == root or path.startswith(root.rstrip("/") + "/"):
            return os.path.relpath(path, root)
    return None


def denied_by(rule: Rule) -> Deny:
    """A rule's no."""
    return Deny(f"the rule {rule} denies it; it counts until it is taken out there")


def _spots(path: str) -> list[str]:
    """A path as it is written and as it really is."""
    return sorted({os.path.normpath(path), os.path.realpath(path)})
