"""Unsandboxed: runs commands where no sandbox can be had, each with a yes of its own."""

from collections.abc import Callable
from pathlib import Path

from headrace.core.errors import Forbidden
from headrace.safety.sandbox.arguments import limited
from headrace.safety.sandbox.commands import Commands, Finish, check_command
from headrace.safety.sandbox.ground import ground
from headrace.safety.sandbox.output import Keeper, Ran
from headrace.safety.sandbox.policy import SandboxPolicy
from headrace.safety.sandbox.process import Child, Launch, OnOutput, begin
from headrace.safety.sandbox.state import State


class Unsandboxed(Commands):
    """As `Sandbox`, but holds nothing back.

    Args:
        policy: Its roots are not enforced; its limits on time, output and memory are.
        approved: Whether a person allowed just this command; asked before each.
    """

    sandboxed = False

    def __init__(self, policy: SandboxPolicy, approved: Callable[[str], bool]) -> None:
        super().__init__()
        self._policy = policy
        self._approved = approved
        self._ground = ground()
        self._state = State(policy.state_folder, (policy.workspace,))

    async def close(self) -> None:
        """Stop what runs in the background and remove what commands left in `TMPDIR`."""
        await super().close()
        self._state.clear()

    async def _begin(
        self, command: str, cwd: Path | None, *, has_input: bool, on_output: OnOutput | None
    ) -> tuple[Child, Finish]:
        check_command(command)
        if not self._approved(command):
            raise Forbidden("there is no sandbox, and nobody allowed this command without one")
        temporary = str(self._state.temporary)
        launch = Launch(
            words=limited(command, self._policy.limits, has_namespace=False),
            variables={**self._ground.variables, "TMPDIR": temporary},
            cwd=str(self._policy.workspace / (cwd or ".")),
            has_input=has_input,
        )
        keeper = Keeper(self._state.outputs, self._policy.limits)
        child = await begin(launch, keeper, self._policy.limits, on_output)

        async def finish(timeout_s: float | None) -> Ran:
            return child.ran(await child.finish(timeout_s))

        return child, finish
