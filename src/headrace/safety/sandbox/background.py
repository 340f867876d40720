"""Background: a command that runs beside others."""

from headrace.safety.sandbox.output import Ran


class Background:
    """A command that runs beside others, its input open."""

    def read_new(self) -> bytes:
        """What it printed since the last look, at most the last 16 kB of that."""
        raise NotImplementedError

    async def write(self, data: bytes) -> None:
        """Give it input.

        Raises:
            Conflict: It has ended, or closed its input.
        """
        raise NotImplementedError

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        raise NotImplementedError

    async def wait(self) -> Ran:
        """Wait for its end."""
        raise NotImplementedError

    async def stop(self) -> Ran:
        """Kill it with all that it started."""
        raise NotImplementedError
