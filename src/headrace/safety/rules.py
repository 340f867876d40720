"""Permission rules in Claude Code's syntax: reading them, and what they match."""

from typing import Any, Literal

import msgspec

Scope = Literal["managed", "flags", "session", "local", "project", "user"]


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


class Rules(msgspec.Struct, frozen=True):
    """Rules by what they do."""

    allow: tuple[Rule, ...] = ()
    ask: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()

    def __add__(self, other: "Rules") -> "Rules":
        """Both, in order of precedence."""
        return Rules(self.allow + other.allow, self.ask + other.ask, self.deny + other.deny)


def parse_rule(value: Any, *, scope: Scope, root: str, file: str = "") -> Rule:  # noqa: ANN401 - JSON
    """Read a rule: a text, or `{"rule": …, "match": […], "not_match": […]}` with own examples.

    Raises:
        ConfigError: It is no rule, or an example of its own fails; names the file and the rule.
    """
    raise NotImplementedError
