"""Policy: whether an action may happen, by rules, mode and sandbox."""

from collections.abc import Callable, Sequence
from typing import Literal

from headrace.core.decisions import Decision
from headrace.safety.actions import Action
from headrace.safety.rules import Rules, Scope

Mode = Literal["default", "acceptEdits", "plan", "bypassPermissions", "dontAsk"]
MODES: tuple[Mode, ...] = ("default", "acceptEdits", "plan", "bypassPermissions", "dontAsk")


def mode_of(word: str) -> Mode:
    """The mode a word names; `manual` is `default`.

    Raises:
        InvalidRequest: There is no such mode.
    """
    raise NotImplementedError


class Policy:
    """Decides each action: deny, then ask, then allow, then what the mode says.

    Args:
        rules: Of all scopes, highest first.
        workspace: The folder worked in, absolute, links resolved.
        home: The user's home folder, for `~/` in rules.
        roots: Further folders that may be worked in (`--add-dir`), absolute.
        mode: How to decide where no rule does.
        sandboxed: Whether commands run in a sandbox that was tried and holds.
        dangerous: Commands may run without sandbox and question in bypassPermissions.
        bypass_barred_by: Who forbids bypassPermissions, for people; None where nobody does.
        save: Writes a kept rule into the settings of a scope and says into which file.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        workspace: str,
        home: str,
        roots: Sequence[str] = (),
        mode: str = "default",
        sandboxed: bool,
        dangerous: bool = False,
        bypass_barred_by: str | None = None,
        save: Callable[[str, Scope], str] | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def mode(self) -> Mode:
        """The mode now in force."""
        raise NotImplementedError

    @mode.setter
    def mode(self, word: str) -> None:
        """Change it.

        Raises:
            InvalidRequest: There is no such mode.
            Forbidden: bypassPermissions, where that is barred.
        """
        raise NotImplementedError

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes that shift+tab goes through, in order."""
        raise NotImplementedError

    @property
    def rules(self) -> Rules:
        """All rules now in force, for `/permissions`."""
        raise NotImplementedError

    def decide(self, action: Action) -> Decision:
        """Whether it may happen, with a `why` of one line."""
        raise NotImplementedError

    def why(self, count: int = 1) -> tuple[str, ...]:
        """The last decisions, newest first, each in one line: what, decision, reason."""
        raise NotImplementedError

    def keep(self, rule: str, scope: Scope = "session") -> str:
        """Allow from now on what a rule says; `local` and `user` also write it down.

        Returns:
            Where it is kept, for people.

        Raises:
            ConfigError: It is no rule, or the settings file is broken.
        """
        raise NotImplementedError

    def add_root(self, folder: str) -> None:
        """Let one more folder be worked in (`/add-dir`)."""
        raise NotImplementedError
