"""Child: a command's process, its output, its limits, and its certain end."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from headrace.core.errors import Conflict
from headrace.safety.sandbox.output import Keeper, KilledBy, Ran
from headrace.safety.sandbox.policy import Limits

_READ_BYTES = 1 << 16
_LAST_OUTPUT_S = 2  # after the end of the process; what it started is being killed then
_TICK_S, _CALM_TICK_S, _CALM_AFTER_TICKS = 0.1, 0.5, 50
_MEMORY_SHARE = 0.75
_SIGNALLED = 128

OnOutput = Callable[[bytes], None]


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What to start.

    Attributes:
        words: Program and arguments.
        variables: Its whole environment.
        cwd: Where it starts.
        fds: Descriptors that it inherits; closed here once it runs.
        has_input: Whether its standard input is a pipe; else it is `/dev/null`.
        user: User and group to become, where root must not be.
    """

    words: Sequence[str]
    variables: dict[str, str]
    cwd: str
    fds: tuple[int, ...] = ()
    has_input: bool = False
    user: tuple[int, int] | None = None


class Child:
    """A running command; `begin` makes one."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        keeper: Keeper,
        limits: Limits,
        on_output: OnOutput | None,
    ) -> None:
        self._process = process
        self._limits = limits
        self._on_output = on_output
        self.keeper = keeper
        self.killed_by: KilledBy | None = None

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    async def finish(self, timeout_s: float | None) -> int:
        """Follow it to its end; returns its exit status. Being cancelled kills it."""
        reading = asyncio.create_task(self._read())
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            self.kill("timeout")
        finally:
            watching.cancel()
            self._end_all()
            await self._process.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(reading, _LAST_OUTPUT_S)
            self.keeper.close()
        status = self._process.returncode or 0
        return status if status >= 0 else _SIGNALLED - status

    def ran(self, status: int) -> Ran:
        """How it ended and what it printed, once it has."""
        head, tail = self.keeper.ends()
        return Ran(
            status=status,
            head=head,
            tail=tail,
            bytes_total=self.keeper.bytes_total,
            path_of_rest=self.keeper.path,
            killed_by=self.killed_by,
        )

    def kill(self, why: KilledBy) -> None:
        """Kill it with all that it started."""
        if self.is_running and self.killed_by is None:
            self.killed_by = why
        self._end_all()

    async def give(self, data: bytes, *, last: bool = False) -> None:
        """Give it input; `last` closes its input.

        Raises:
            Conflict: It has ended, or closed its input.
        """
        pipe = self._process.stdin
        if pipe is None or pipe.is_closing() or not self.is_running:
            raise Conflict("the command has ended, or reads no input")
        try:
            pipe.write(data)
            await pipe.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise Conflict("the command has closed its input") from None
        finally:
            if last:
                pipe.close()

    def _end_all(self) -> None:
        """The whole tree: bubblewrap's processes die with it, others are found one by one."""
        if self.is_running:
            below = tree(self._process.pid, self._limits.processes_max)
            with suppress(ProcessLookupError):
                self._process.kill()
            for pid in below[1:]:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    async def _read(self) -> None:
        pipe = self._process.stdout
        while pipe is not None and (data := await pipe.read(_READ_BYTES)):
            self.keeper.take(data)
            if self._on_output is not None:
                self._on_output(data)

    async def _watch(self) -> None:
        """Look now and then whether all processes together are too many or too large."""
        if sys.platform != "linux":
            return
        bytes_max = min(
            self._limits.memory_total_bytes_max,
            int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * _MEMORY_SHARE),
        )
        ticks = 0
        while self.is_running:
            await asyncio.sleep(_TICK_S if ticks < _CALM_AFTER_TICKS else _CALM_TICK_S)
            ticks += 1
            pids = tree(self._process.pid, self._limits.processes_max)
            if len(pids) > self._limits.processes_max:
                self.kill("processes")
            elif _resident_bytes(pids) > bytes_max:
                self.kill("memory")


async def begin(
    launch: Launch, keeper: Keeper, limits: Limits, on_output: OnOutput | None = None
) -> Child:
    """Start a command. Its descriptors are closed here, whatever happens.

    Raises:
        Conflict: The program cannot be started.
    """
    become: dict[str, object] = {}
    if launch.user is not None:
        become = {"user": launch.user[0], "group": launch.user[1], "extra_groups": []}
    try:
        process = await asyncio.create_subprocess_exec(
            *launch.words,
            stdin=asyncio.subprocess.PIPE if launch.has_input else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=launch.variables,
            cwd=launch.cwd,
            pass_fds=launch.fds,
            start_new_session=True,
            **become,  # pyright: ignore[reportArgumentType] - passed on to Popen
        )
    except OSError as error:
        raise Conflict(f"{launch.words[0]} cannot be started: {error.strerror}") from None
    finally:
        for fd in launch.fds:
            os.close(fd)
    return Child(process, keeper, limits, on_output)


def tree(pid: int, count_max: int) -> list[int]:
    """A process and all below it; stops soon after there are more than `count_max`."""
    found, at = [pid], 0
    while at < len(found) and len(found) <= count_max:
        with suppress(OSError):
            base = f"/proc/{found[at]}/task"
            for task in os.listdir(base):  # noqa: PTH208 - many small reads
                with open(f"{base}/{task}/children", "rb") as file:  # noqa: PTH123 - likewise
                    found += [int(child) for child in file.read().split()]
        at += 1
    return found


def _resident_bytes(pids: list[int]) -> int:
    pages = 0
    for pid in pids:
        with suppress(OSError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - likewise
            pages += int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
