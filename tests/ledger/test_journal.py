import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from headrace.core.clock import ManualClock
from headrace.core.errors import StoreError
from headrace.ledger import journal as journal_module
from headrace.ledger.journal import Journal
from headrace.ledger.reader import read, verify
from headrace.ledger.segments import sync_file
from support.journals import Note, numbers, open_journal


def test_records_come_back_in_order_and_whole(tmp_path: Path):
    clock = ManualClock(5_000)
    journal = Journal.open(tmp_path / "journal", "control", clock)
    texts = ["plain", 'quote " and ,"hash":"', "NUL \x00 and \n", "🌊"]
    for number, text in enumerate(texts):
        journal.append("test.note", Note(number, text))
        clock.move(1)
    found = list(read(tmp_path / "journal", "control"))
    assert [msgspec.json.decode(one.data, type=Note).text for one in found] == texts
    assert [(one.v, one.seq, one.kind, one.time_ns) for one in found] == [
        (1, number + 1, "test.note", 5_000 + number) for number in range(4)
    ]
    assert found[-1].position == journal.last
    journal.close()
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "journal/control-000001.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_append_is_with_the_operating_system_when_it_returns(tmp_path: Path):
    with open_journal(tmp_path) as journal:
        for number in range(3):
            journal.append("test.note", Note(number))
            assert numbers(tmp_path) == list(range(number + 1))


def test_reading_goes_on_from_any_position(tmp_path: Path):
    with open_journal(tmp_path, segment_bytes=1_000) as journal:
        for number in range(20):
            journal.append("test.note", Note(number))
    found = list(read(tmp_path, "control"))
    for index, record in enumerate(found):
        rest = list(read(tmp_path, "control", record.position))
        assert rest == found[index + 1 :]


def test_the_chain_goes_on_across_segments_and_restarts(tmp_path: Path):
    for start in (0, 10, 20):
        with open_journal(tmp_path, segment_bytes=700) as journal:
            for number in range(start, start + 10):
                journal.append("test.note", Note(number))
    assert len(list(tmp_path.glob("control-*.jsonl"))) > 5
    assert all(path.stat().st_size <= 700 for path in tmp_path.glob("control-*.jsonl"))
    assert numbers(tmp_path) == list(range(30))
    assert verify(tmp_path) == []


def test_a_record_larger_than_a_segment_is_taken(tmp_path: Path):
    with open_journal(tmp_path, segment_bytes=500) as journal:
        for number in range(3):
            journal.append("test.note", Note(number, "x" * 2_000))
    assert numbers(tmp_path) == [0, 1, 2]


def test_workers_have_journals_of_their_own(tmp_path: Path):
    with open_journal(tmp_path, "control") as control, open_journal(tmp_path, "w1") as other:
        control.append("test.note", Note(1))
        other.append("test.note", Note(2))
    assert (numbers(tmp_path, "control"), numbers(tmp_path, "w1")) == ([1], [2])
    # Putting one in the other's place is a broken chain.
    (tmp_path / "w1-000001.jsonl").replace(tmp_path / "control-000001.jsonl")
    assert len(verify(tmp_path)) == 1


def test_a_second_writer_is_refused(tmp_path: Path):
    with open_journal(tmp_path) as journal:
        journal.append("test.note", Note(0))
        with pytest.raises(StoreError, match="another process"):
            Journal.open(tmp_path, "control", ManualClock())
    with open_journal(tmp_path) as journal:
        journal.append("test.note", Note(1))
    assert numbers(tmp_path) == [0, 1]


async def test_durable_returns_once_and_shares_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    syncs: list[int] = []
    gate = threading.Event()

    def counted(descriptor: int) -> None:
        gate.wait(10)
        sync_file(descriptor)
        syncs.append(descriptor)

    monkeypatch.setattr(journal_module, "sync_file", counted)
    with open_journal(tmp_path) as journal:
        positions = [journal.append("test.note", Note(number)) for number in range(100)]
        waiters = [asyncio.create_task(journal.durable(position)) for position in positions]
        await asyncio.sleep(0.01)
        assert not any(waiter.done() for waiter in waiters)
        gate.set()
        await asyncio.gather(*waiters)
        assert 1 <= len(syncs) <= 2
        before = len(syncs)
        await journal.durable(positions[0])  # is there already
        assert len(syncs) == before


async def test_a_waiter_that_gives_up_disturbs_nobody(tmp_path: Path):
    with open_journal(tmp_path) as journal:
        position = journal.append("test.note", Note(0))
        leaving = asyncio.create_task(journal.durable(position))
        staying = asyncio.create_task(journal.durable(position))
        await asyncio.sleep(0)
        leaving.cancel()
        await staying
        await journal.durable(journal.append("test.note", Note(1)))


def test_threads_append_without_mixing_lines(tmp_path: Path):
    with open_journal(tmp_path, segment_bytes=5_000) as journal:

        def work() -> None:
            for number in range(100):
                journal.append("test.note", Note(number))
                journal.sync_soon()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(numbers(tmp_path)) == sorted(list(range(100)) * 4)
    assert verify(tmp_path) == []


def test_watchers_hear_of_every_append(tmp_path: Path):
    heard: list[int] = []
    with open_journal(tmp_path) as journal:
        journal.watch(lambda: heard.append(journal.last.seq))
        journal.append("test.note", Note(0))
        journal.append("test.note", Note(1))
    assert heard == [1, 2]


def test_a_closed_journal_takes_nothing(tmp_path: Path):
    with open_journal(tmp_path) as journal:
        journal.append("test.note", Note(0))
    with pytest.raises(StoreError, match="closed"):
        journal.append("test.note", Note(1))
    journal.close()
    assert numbers(tmp_path) == [0]


# -- torn ends and broken chains


def _three(directory: Path) -> Path:
    with open_journal(directory) as journal:
        for number in range(3):
            journal.append("test.note", Note(number))
    return directory / "control-000001.jsonl"


def test_every_torn_end_is_cut_and_kept_aside(tmp_path: Path):
    whole = _three(tmp_path / "a").read_bytes()
    third = whole.rindex(b"\n", 0, -1) + 1
    for size in range(third, len(whole), 7):
        directory = tmp_path / str(size)
        path = _three(directory)
        os.truncate(path, size)
        assert numbers(directory) == [0, 1]
        assert verify(directory) == []
        with open_journal(directory) as journal:
            assert journal.last.seq == 2
            journal.append("test.note", Note(7))
        assert numbers(directory) == [0, 1, 7]
        kept = b"".join(torn.read_bytes() for torn in directory.glob("torn-*"))
        assert kept == whole[third:size]


@pytest.mark.parametrize(
    "torn", [b"\x00" * 4096, b"\x00" * 100 + b'{"v":1}\n', b'{"v":1,\x00\n{}\n']
)
def test_blocks_of_zeros_that_a_power_cut_leaves_are_cut(tmp_path: Path, torn: bytes):
    path = _three(tmp_path)
    with path.open("ab") as file:
        file.write(torn)
    assert numbers(tmp_path) == [0, 1, 2]
    with open_journal(tmp_path) as journal:
        journal.append("test.note", Note(3))
    assert numbers(tmp_path) == [0, 1, 2, 3]
    (aside,) = tmp_path.glob("torn-*")
    assert aside.read_bytes() == torn


def test_every_changed_byte_is_noticed(tmp_path: Path):
    path = _three(tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        seen = _numbers_or_none(tmp_path)
        # A change may make the last line look torn; it never passes for a record.
        if seen is not None:
            assert seen == [0, 1]
            assert place >= whole.rindex(b"\n", 0, -1)


def _numbers_or_none(directory: Path) -> list[int] | None:
    try:
        return numbers(directory)
    except StoreError:
        return None


def test_lines_lost_doubled_or_swapped_break_the_chain(tmp_path: Path):
    path = _three(tmp_path)
    one, two, three = path.read_bytes().splitlines(keepends=True)
    for lines in ([two, three], [one, three], [one, one, two], [two, one, three]):
        path.write_bytes(b"".join(lines))
        assert len(verify(tmp_path)) == 1
        with pytest.raises(StoreError, match="chain is broken"):
            Journal.open(tmp_path, "control", ManualClock())


def test_a_lost_segment_is_noticed(tmp_path: Path):
    with open_journal(tmp_path, segment_bytes=300) as journal:
        for number in range(6):
            journal.append("test.note", Note(number))
    (tmp_path / "control-000002.jsonl").unlink()
    assert verify(tmp_path) == ["the journal has lost control-000002.jsonl"]
    with pytest.raises(StoreError, match="lost"):
        Journal.open(tmp_path, "control", ManualClock())


def test_a_damaged_end_of_an_earlier_segment_is_noticed(tmp_path: Path):
    with open_journal(tmp_path, segment_bytes=300) as journal:
        for number in range(6):
            journal.append("test.note", Note(number))
    first = tmp_path / "control-000001.jsonl"
    os.truncate(first, first.stat().st_size - 5)
    assert len(verify(tmp_path)) == 1


def test_a_journal_older_than_what_is_known_is_noticed(tmp_path: Path):
    path = _three(tmp_path)
    end = list(read(tmp_path, "control"))[-1].position
    os.truncate(path, 0)
    with pytest.raises(StoreError, match="ends before record 3"):
        list(read(tmp_path, "control", end))
    path.unlink()
    with pytest.raises(StoreError, match="ends before record 3"):
        list(read(tmp_path, "control", end))


def test_a_crash_between_segments_leaves_an_empty_one_that_serves(tmp_path: Path):
    _three(tmp_path)
    (tmp_path / "control-000002.jsonl").touch()
    with open_journal(tmp_path) as journal:
        assert journal.last.segment == 2
        journal.append("test.note", Note(3))
    assert numbers(tmp_path) == [0, 1, 2, 3]


# -- disks that fail


async def test_a_full_disk_makes_it_read_only(tmp_path: Path):
    with open_journal(tmp_path) as journal:
        position = journal.append("test.note", Note(0))
        await journal.durable(position)
        _put_in_place(journal, Path("/dev/full"))
        with pytest.raises(StoreError, match="No space left"):
            journal.append("test.note", Note(1))
        assert journal.failure is not None
        with pytest.raises(StoreError, match="No space left"):
            journal.append("test.note", Note(2))
        await journal.durable(position)  # what was acknowledged stays so
    with open_journal(tmp_path) as journal:
        journal.append("test.note", Note(3))
    assert numbers(tmp_path) == [0, 3]


async def test_a_failing_sync_is_never_acknowledged(tmp_path: Path):
    reading, writing = os.pipe()
    with open_journal(tmp_path) as journal:
        # A pipe takes writes and refuses to sync: the shape of a disk that loses its cache.
        os.dup2(writing, journal._descriptor)  # pyright: ignore[reportPrivateUsage]
        position = journal.append("test.note", Note(0))
        with pytest.raises(StoreError, match="cannot be brought to the disk"):
            await journal.durable(position)
        with pytest.raises(StoreError, match="cannot be brought to the disk"):
            await journal.durable(position)
        with pytest.raises(StoreError, match="cannot be brought to the disk"):
            journal.append("test.note", Note(1))
    os.close(reading)
    os.close(writing)


def _put_in_place(journal: Journal, path: Path) -> None:
    """From now on the journal's descriptor is that of `path`."""
    descriptor = os.open(path, os.O_WRONLY)
    os.dup2(descriptor, journal._descriptor)  # pyright: ignore[reportPrivateUsage]
    os.close(descriptor)


_SHORT_WRITE = """
import resource, sys
from pathlib import Path
from support.journals import Note
from headrace.core.clock import SystemClock
from headrace.core.errors import StoreError
from headrace.ledger.journal import Journal

journal = Journal.open(Path(sys.argv[1]), "control", SystemClock())
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
for number in range(100):
    try:
        journal.append("test.note", Note(number))
    except StoreError as error:
        print(error.message)
        break
    print(number)
"""


def test_a_half_written_record_is_refused_and_cut_off_later(tmp_path: Path):
    shown = subprocess.run(
        [sys.executable, "-c", _SHORT_WRITE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    ).stdout.splitlines()
    assert "half a record" in shown[-1]
    acknowledged = [int(line) for line in shown[:-1]]
    assert len(acknowledged) > 2
    with open_journal(tmp_path) as journal:
        journal.append("test.note", Note(77))
    assert numbers(tmp_path) == [*acknowledged, 77]
    assert verify(tmp_path) == []
