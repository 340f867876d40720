"""The log on the disk: torn lines, unknown kinds, branches, copies, lists."""

import stat
from pathlib import Path

import msgspec
import pytest

from headrace.agent.entries import Begun, Said, Set, Turned
from headrace.agent.log import Log, folder_of, new_path, sessions
from headrace.core.clock import ManualClock, SystemClock
from headrace.core.errors import Conflict, NotFound, StoreError
from headrace.core.messages import user

CLOCK = SystemClock()


def filled(path: Path, *words: str) -> Log:
    log = Log.open(path, CLOCK)
    log.append(Begun(workspace="/w", model="m", system="s"))
    for one in words:
        log.append(Said(user(one)))
    return log


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    log = filled(tmp_path / "a" / "one.jsonl", "Hi.", "Ho.")
    entries = log.branch()
    log.close()
    again = Log.open(log.path, CLOCK)
    assert again.branch() == entries
    assert (again.head, again.notices, again.id) == (entries[-1].id, [], "one")
    assert [one.parent_id for one in entries] == [None, *[one.id for one in entries[:-1]]]
    again.close()


def test_the_log_is_its_owners_alone(tmp_path: Path) -> None:
    log = filled(tmp_path / "a" / "one.jsonl")
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.path.parent.stat().st_mode) == 0o700
    log.close()


def test_a_torn_last_line_costs_that_line_only(tmp_path: Path) -> None:
    """Cut at each byte of the last line: everything before is there, and writing goes on."""
    log = filled(tmp_path / "one.jsonl", "First.", "Second: \u00e4\u20ac.")
    before = log.branch()
    log.close()
    whole = log.path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole) + 1):
        path = tmp_path / f"cut{cut}.jsonl"
        path.write_bytes(whole[:cut])
        torn = Log.open(path, CLOCK)
        kept = 3 if cut >= len(whole) - 1 else 2
        assert torn.branch() == before[:kept]
        assert len(torn.notices) == (1 if last < cut < len(whole) - 1 else 0)
        added = torn.append(Said(user("Third.")))
        torn.close()
        again = Log.open(path, CLOCK)
        assert again.branch() == (*before[:kept], added)
        assert again.notices == []
        again.close()


def test_damage_in_the_midst_costs_that_line_only(tmp_path: Path) -> None:
    log = filled(tmp_path / "one.jsonl", "First.", "Second.", "Third.")
    log.close()
    lines = log.path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * len(lines[2][:-1]) + b"\n"
    log.path.write_bytes(b"".join(lines))
    again = Log.open(log.path, CLOCK)
    assert len(again.branch()) == 3
    assert "line 3" in again.notices[0]
    again.close()


def test_kinds_of_later_releases_are_kept_and_passed_over(tmp_path: Path) -> None:
    log = filled(tmp_path / "one.jsonl", "First.")
    log.close()
    for number, (body, version) in enumerate(
        [({"type": "dreamt", "of": 1}, 1), ({"type": "turned", "why": "done"}, 99)]
    ):
        line = {"id": f"x{number}", "parent_id": log.head, "time_ns": 1, "body": body, "v": version}
        with log.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        again = Log.open(log.path, CLOCK)
        assert len(again.branch()) == 2
        assert again.head == f"x{number}"
        again.close()
    again = Log.open(log.path, CLOCK)
    added = again.append(Turned("done"))
    assert added.parent_id == "x1"
    again.fork(tmp_path / "copy.jsonl")
    assert b"dreamt" not in (tmp_path / "copy.jsonl").read_bytes()
    assert b"x1" in (tmp_path / "copy.jsonl").read_bytes()
    again.close()


def test_moving_makes_another_branch(tmp_path: Path) -> None:
    log = filled(tmp_path / "one.jsonl", "First.", "Second.")
    begun, first, second = log.branch()
    moved = log.move(first.id, "snap")
    other = log.append(Said(user("Other.")))
    assert log.branch() == (begun, first, moved, other)
    assert log.branch(second.id) == (begun, first, second)
    assert len(log.all()) == 5
    with pytest.raises(NotFound):
        log.move("nowhere")
    with pytest.raises(NotFound):
        log.branch("nowhere")
    log.close()


def test_a_fork_holds_one_branch_byte_for_byte(tmp_path: Path) -> None:
    log = filled(tmp_path / "one.jsonl", "First.", "Second.")
    first = log.branch()[1]
    log.fork(tmp_path / "two.jsonl", first.id)
    copied = (tmp_path / "two.jsonl").read_bytes()
    assert log.path.read_bytes().startswith(copied)
    fork = Log.open(tmp_path / "two.jsonl", CLOCK)
    assert fork.branch() == log.branch()[:2]
    with pytest.raises(StoreError):
        log.fork(tmp_path / "two.jsonl")
    with pytest.raises(NotFound):
        log.fork(tmp_path / "three.jsonl", "nowhere")
    fork.close()
    log.close()


def test_two_processes_do_not_write_into_one_session(tmp_path: Path) -> None:
    log = filled(tmp_path / "one.jsonl")
    with pytest.raises(Conflict, match="open elsewhere"):
        Log.open(log.path, CLOCK)
    log.close()
    Log.open(log.path, CLOCK).close()


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "other")
    with pytest.raises(StoreError):
        Log.open(tmp_path / "link.jsonl", CLOCK)


def test_the_sessions_of_a_workspace(tmp_path: Path) -> None:
    clock = ManualClock()
    folder = folder_of(tmp_path, Path("/home/me/My Project"))
    assert folder.parent == tmp_path / "sessions"
    assert folder.name.startswith("home-me-My-Project-")
    assert folder != folder_of(tmp_path, Path("/home/me/My-Project"))
    assert sessions(folder) == ()
    paths: list[Path] = []
    for words in ("Fix  it\nnow.", "Second."):
        clock.move(10_000_000)
        path = new_path(folder, clock)
        filled(path, words).close()
        paths.append(path)
    empty = Log.open(folder / "empty.jsonl", CLOCK)
    empty.append(Set("mode", "plan"))
    empty.close()
    (folder / "other.txt").write_text("x")
    found = {one.path: one for one in sessions(folder)}
    assert set(found) == set(paths)
    assert found[paths[0]].words == "Fix it now."
    assert found[paths[1]].id == paths[1].stem
    assert found[paths[1]].changed_ns >= found[paths[0]].changed_ns
