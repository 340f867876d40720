"""Random walks: append, close, crash with any torn end, reopen, read from anywhere."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.core.clock import ManualClock
from headrace.ledger.chain import Position
from headrace.ledger.journal import Journal
from headrace.ledger.reader import read, verify
from support.journals import Note, numbers


class JournalWalk(RuleBasedStateMachine):
    """The model is the list of notes appended."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.notes: list[int] = []
        self.positions: list[tuple[int, Position]] = []
        self.journal = self.open(1_000)

    def open(self, segment_bytes: int) -> Journal:
        return Journal.open(self.directory, "control", self.clock, segment_bytes=segment_bytes)

    @rule(text=st.text(max_size=80), count=st.integers(1, 5))
    def append(self, text: str, count: int) -> None:
        for _ in range(count):
            number = len(self.notes)
            position = self.journal.append("test.note", Note(number, text))
            self.notes.append(number)
            self.positions.append((number, position))

    @rule(moment=st.integers(0, 2**40))
    def set_the_clock(self, moment: int) -> None:
        self.clock.jump(moment)

    @rule(segment_bytes=st.sampled_from([200, 1_000, 10_000]))
    def restart(self, segment_bytes: int) -> None:
        self.journal.close()
        self.journal = self.open(segment_bytes)

    @rule(
        torn=st.one_of(
            st.binary(min_size=1, max_size=50).map(lambda end: end.replace(b"\n", b" ")),
            st.binary(max_size=50).map(lambda end: b"\x00" + end),
        )
    )
    def crash_in_a_write(self, torn: bytes) -> None:
        self.journal.close()
        with max(self.directory.glob("control-*.jsonl")).open("ab") as file:
            file.write(torn)
        self.all_is_there()
        self.journal = self.open(1_000)

    @rule(data=st.data())
    def read_on(self, data: st.DataObject) -> None:
        if self.positions:
            number, position = data.draw(st.sampled_from(self.positions))
            rest = list(read(self.directory, "control", position))
            assert len(rest) == len(self.notes) - number - 1

    @invariant()
    def all_is_there(self) -> None:
        assert numbers(self.directory) == self.notes
        assert verify(self.directory) == []

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.directory)


TestJournalWalk = JournalWalk.TestCase
TestJournalWalk.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
