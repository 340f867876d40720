"""Headless: a session with nobody before it; text, one JSON object, or a stream of them.

Nobody is asked: what would be asked is refused, and the result names the rule that would allow
it. With `--permission-prompt-tool stdio` the program at the other end is asked instead. Signals
end the turn, and the result tells what came of it.
"""

import asyncio
import sys

from headrace.agent.progress import End
from headrace.code.face import SIGNALLED, Caught, Face, session_of, signals
from headrace.code.flags import Flags
from headrace.code.trace import keep_traces
from headrace.core.errors import InvalidRequest

_DONE, _FAILED = 0, 1
_INPUT_BYTES_MAX = 16 * 1024 * 1024


def main(flags: Flags) -> int:
    """Run it; returns the exit code."""
    keep_traces(flags)
    face = Face(flags)
    try:
        if flags.input_format == "stream-json":
            from headrace.code.converse import converse  # noqa: PLC0415 - one way in of two

            return asyncio.run(converse(flags, face))
        return asyncio.run(_once(flags, prompt_of(flags.prompt), face))
    except Exception as error:  # noqa: BLE001 - whoever reads the output must hear of it there
        face.broke(error)
        return _FAILED


def prompt_of(given: str | None) -> str:
    """The argument, and behind it what is piped in.

    Raises:
        InvalidRequest: Neither holds any text, or it is too long.
    """
    piped = b""
    if sys.stdin is not None and not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison] - it is None where it was closed
        piped = sys.stdin.buffer.read(_INPUT_BYTES_MAX + 1)
    if len(piped) > _INPUT_BYTES_MAX:
        raise InvalidRequest(f"the input is longer than {_INPUT_BYTES_MAX} bytes")
    parts = (given or "", piped.decode(errors="replace"))
    text = "\n".join(part for part in parts if part.strip())
    if not text:
        raise InvalidRequest("there is nothing to do", hint='headrace code -p "Fix the test."')
    return text


async def _once(flags: Flags, prompt: str, face: Face) -> int:
    async with signals() as caught:
        task = asyncio.ensure_future(_work(flags, prompt, face))
        caught.stop = task.cancel
        try:
            end = await _with_session(task, face, caught)
        except asyncio.CancelledError:
            end = face.never("interrupted", "it was interrupted before it began")
        except Exception as error:  # noqa: BLE001 - as above; a signal still sets the exit code
            end = face.broke(error)
    if caught.number:
        return SIGNALLED + caught.number
    return _DONE if end == "done" else _FAILED


async def _with_session(task: "asyncio.Future[End]", face: Face, caught: Caught) -> End:
    """Wait for the end; once there is a session, a signal ends its turn and nothing else."""
    ready = asyncio.ensure_future(face.ready.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if face.session is not None and not caught.number:
        caught.stop = face.session.interrupt
    return await task


async def _work(flags: Flags, prompt: str, face: Face) -> End:
    async with session_of(flags, face, human=None) as session:
        return await face.turn(session, prompt)
