"""A killed session: nothing of it is lost, and it can be gone on with, wherever it was killed.

`bench/code_faults.py` kills it more often.
"""

from pathlib import Path

import pytest

from headrace.agent.entries import Entry, Said
from headrace.agent.log import Log
from headrace.agent.prompt import UNANSWERED, extends, invariants, request_of
from headrace.core.clock import SystemClock
from headrace.core.messages import user
from support.code_crashes import FLAGS, LINES, Point, Working, begin, crash, sample

EVERY_BYTE_OF = 3
"""So many of the last lines are cut at each of their bytes, the others at three."""


@pytest.mark.parametrize("point", sample(), ids=lambda one: f"{one.lines}+{one.wait_ms}ms")
def test_a_kill_loses_nothing(tmp_path: Path, point: Point):
    crash(tmp_path, point)


def test_a_log_cut_at_any_byte_loses_the_torn_line_alone(tmp_path: Path):
    server = Working()
    desk = begin(tmp_path, server)
    try:
        assert desk.code("-p", "Fix add.", *FLAGS).returncode == 0
    finally:
        server.close()
    [path] = desk.logs()
    content = path.read_bytes()
    whole = opened(path, content)
    assert len(whole) == content.count(b"\n") == LINES
    lines = content.splitlines(keepends=True)
    said = next(n for n, entry in enumerate(whole) if isinstance(entry.body, Said))
    before = None
    for place in range(LINES):
        at = len(b"".join(lines[:place]))
        end = at + len(lines[place]) - 1
        for cut in range(at, end) if place >= LINES - EVERY_BYTE_OF else (at, at + 1, end - 1):
            assert opened(path, content[:cut], torn=cut > at) == whole[:place]
        assert opened(path, content[:end]) == whole[: place + 1]  # its line feed alone is gone
        if place >= said:
            request = request_of(gone_on_with(path, content[:end]))
            assert invariants(request) == []
            request = request_of(whole[: place + 1])
            assert before is None or extends(before, request) or UNANSWERED in str(before)
            before = request


def opened(path: Path, content: bytes, *, torn: bool = False) -> tuple[Entry, ...]:
    path.write_bytes(content)
    log = Log.open(path, SystemClock())
    log.close()
    assert len(log.notices) == torn
    return log.branch()


def gone_on_with(path: Path, content: bytes) -> tuple[Entry, ...]:
    path.write_bytes(content)
    log = Log.open(path, SystemClock())
    log.append(Said(user("Go on.")))
    log.close()
    again = Log.open(path, SystemClock())
    again.close()
    assert again.notices == []
    assert again.branch() == log.branch()
    return log.branch()
