"""Sandbox: runs commands where they can do no harm outside the workspace."""

from collections.abc import Callable
from pathlib import Path

from headrace.safety.sandbox.background import Background
from headrace.safety.sandbox.output import Ran
from headrace.safety.sandbox.policy import SandboxPolicy

OnOutput = Callable[[bytes], None]


class Sandbox:
    """Runs shell commands under a policy.

    Raises:
        ConfigError: The policy cannot hold, as when the workspace holds the home folder.
    """

    sandboxed = True

    def __init__(self, policy: SandboxPolicy) -> None:
        raise NotImplementedError

    async def run(
        self,
        command: str,
        *,
        cwd: Path | None = None,
        stdin: bytes = b"",
        timeout_s: float = 120,
        on_output: OnOutput | None = None,
    ) -> Ran:
        """Run it with bash to its end. Being cancelled kills it with all that it started.

        Args:
            command: For `bash -c`.
            cwd: In a writable root; None: the workspace.
            stdin: What it can read; then its input ends.
            timeout_s: After this it is killed.
            on_output: Takes output as it comes.

        Raises:
            InvalidRequest: The command or folder makes no sense.
            Conflict: There is no sandbox.
        """
        raise NotImplementedError

    async def start(
        self, command: str, *, cwd: Path | None = None, timeout_s: float | None = None
    ) -> Background:
        """Run it beside others, its input open."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop what runs in the background and remove what commands left in `/tmp`."""
        raise NotImplementedError


class Unsandboxed:
    """The same without a sandbox: each command needs a yes of its own.

    Args:
        policy: Its roots are not enforced, its limits are.
        approved: Whether a person allowed just this command; asked before each.
    """

    sandboxed = False

    def __init__(self, policy: SandboxPolicy, approved: Callable[[str], bool]) -> None:
        raise NotImplementedError
