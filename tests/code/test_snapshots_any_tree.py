"""Whatever happens to a tree, each of its snapshots brings it back byte for byte."""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from headrace.code.snapshots import Limits, Snapshots
from headrace.core.clock import ManualClock
from headrace.core.errors import Conflict
from support.trees import tree_of

NAMES = st.sampled_from(["a", "b", "sub", "été", "-rf", "a b", ".x", os.fsdecode(b"\xff")])
PATHS = st.lists(NAMES, min_size=1, max_size=3)
LONG = st.binary(min_size=1, max_size=3).map(lambda part: part * 900)
CONTENTS = st.one_of(st.binary(max_size=40), LONG)
MODES = st.sampled_from([0o644, 0o755, 0o600, 0o444, 0o711])


class AnyTree(RuleBasedStateMachine):
    """Changes a real folder, takes snapshots, restores them, opens them anew, forgets."""

    def __init__(self) -> None:
        super().__init__()
        self.made = Path(tempfile.mkdtemp())
        self.root = self.made / "work"
        self.root.mkdir()
        self.taken: dict[str, dict[str, tuple[int, bytes]]] = {}

    @initialize()
    def open(self) -> None:
        self.snapshots = Snapshots(self.root, self.made / "kept", ManualClock(), Limits())

    def at(self, parts: list[str]) -> Path | None:
        """The path, its folders made; None where something else is in the way."""
        path = self.root.joinpath(*parts)
        for folder in reversed(path.relative_to(self.root).parents):
            here = self.root / folder
            if here.is_symlink() or here.is_file():
                return None
            here.mkdir(exist_ok=True)
        return path

    @rule(parts=PATHS, content=CONTENTS)
    def write(self, parts: list[str], content: bytes) -> None:
        path = self.at(parts)
        if path is not None and not path.is_dir() and not path.is_symlink():
            path.unlink(missing_ok=True)
            path.write_bytes(content)

    @rule(parts=PATHS, content=CONTENTS)
    def append(self, parts: list[str], content: bytes) -> None:
        path = self.root.joinpath(*parts)
        if path.is_file() and not path.is_symlink():
            path.chmod(0o644)
            with path.open("ab") as file:
                file.write(content)

    @rule(parts=PATHS)
    def remove(self, parts: list[str]) -> None:
        path = self.root.joinpath(*parts)
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)

    @rule(parts=PATHS)
    def make_folder(self, parts: list[str]) -> None:
        path = self.at(parts)
        if path is not None and not os.path.lexists(path):
            path.mkdir()

    @rule(parts=PATHS, aim=st.sampled_from(["a", "sub/a", "..", "/etc/passwd", "none"]))
    def link(self, parts: list[str], aim: str) -> None:
        path = self.at(parts)
        if path is not None and not os.path.lexists(path):
            path.symlink_to(aim)

    @rule(source=PATHS, aim=PATHS)
    def rename(self, source: list[str], aim: list[str]) -> None:
        old, new = self.root.joinpath(*source), self.at(aim)
        if new is None or not os.path.lexists(old) or os.path.lexists(new):
            return
        if not new.is_relative_to(old):
            old.rename(new)

    @rule(parts=PATHS, mode=MODES)
    def change_mode(self, parts: list[str], mode: int) -> None:
        path = self.root.joinpath(*parts)
        if path.is_symlink() or not path.exists():
            return
        path.chmod(mode | 0o700 if path.is_dir() else mode)

    @rule()
    def take(self) -> None:
        self.taken[self.snapshots.take_now("take")] = tree_of(self.root)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        snapshot_id = data.draw(st.sampled_from(sorted(self.taken)))
        now = tree_of(self.root)
        try:
            done = self.snapshots.restore_now(snapshot_id)
        except Conflict:
            assert tree_of(self.root) == now
            done = self.snapshots.restore_now(snapshot_id)
        assert tree_of(self.root) == self.taken[snapshot_id]
        assert done.left == ()
        assert done.after == snapshot_id
        self.taken[done.before] = now

    @rule(saved=st.booleans())
    def open_anew(self, saved: bool) -> None:  # noqa: FBT001 - drawn
        if saved:
            self.snapshots.close()
        self.open()

    def teardown(self) -> None:
        self.snapshots.close()
        shutil.rmtree(self.made)


AnyTree.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAnyTree = AnyTree.TestCase
