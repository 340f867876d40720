import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headrace.catalog.card import read_card
from headrace.catalog.library import Library
from headrace.core.clock import ManualClock
from headrace.core.errors import CatalogError, Conflict, ModelNotFound
from support.gguf import build, entries

_SLOW_PULL = """
import sys, time
from pathlib import Path
from headrace.catalog.library import Library

def progress(done, total, what):
    print(what, flush=True)
    time.sleep(0.2)

Library(Path(sys.argv[1])).import_file(Path(sys.argv[2]), progress=progress)
"""

# Kills a pull before the first, second, third … call that touches a file, and looks at what is
# left each time. Every other round replaces an altered model.
_KILLED_PULLS = """
import os, shutil, signal, sys
from pathlib import Path
from headrace.catalog.library import Library

data, source = Path(sys.argv[1]), Path(sys.argv[2])
library = Library(data)
library.import_file(source)  # loads whatever is imported late
left = 0

def count_down(event, arguments):
    global left
    if event.startswith(("open", "os.", "shutil.", "fcntl.")) and event != "os.listdir":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def pull_and_die(moment):
    global left
    left = moment
    sys.addaudithook(count_down)
    library.import_file(source)

moment = 0
while True:
    moment += 1
    shutil.rmtree(data / "models")
    altered = moment % 2 == 0
    if altered:
        path = library.import_file(source).path
        path.unlink()
        path.write_bytes(b"rubbish")
    child = os.fork()
    if child == 0:
        pull_and_die(moment)
        os._exit(0)
    survived = os.waitpid(child, 0)[1] == 0
    assert library.damaged() == (), moment
    for installed in library.list():
        assert installed.path.read_bytes() in (b"rubbish", source.read_bytes()), moment
        if installed.path.stat().st_size > 7:
            library.verify(installed)
    installed = library.import_file(source)
    assert installed.path.read_bytes() == source.read_bytes(), moment
    if survived and altered:
        break
print(moment)
"""


def _left_over(tmp_path: Path) -> list[str]:
    folder = tmp_path / "data" / "models" / ".partial"
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_an_imported_file_has_a_card_and_leaves_nothing_behind(
    library: Library, tiny_file: Path, tiny_digest: str, tmp_path: Path
):
    installed = library.import_file(tiny_file)
    assert installed.path == tmp_path / "data/models/tiny/tiny.gguf"
    card = installed.card
    assert (card.model_id, card.digest, card.bytes) == (
        "tiny",
        tiny_digest,
        len(installed.path.read_bytes()),
    )
    assert card == read_card(installed.path.parent)
    assert library.list() == (installed,)
    assert library.get("tiny") == installed
    assert _left_over(tmp_path) == []


def test_the_card_becomes_a_model(tmp_path: Path, tiny_file: Path):
    clock = ManualClock(7)
    model = Library(tmp_path / "data", clock).import_file(tiny_file, name="mine").card.model()
    assert (model.id, model.display_name, model.context_tokens, model.created_ns) == (
        "mine",
        "Tiny",
        512,
        7,
    )


def test_folders_are_private(library: Library, tiny_file: Path, tmp_path: Path):
    library.import_file(tiny_file)
    for folder in ("data", "data/models", "data/models/tiny", "data/models/.partial"):
        assert (tmp_path / folder).stat().st_mode & 0o077 == 0


def test_pulling_again_keeps_what_is_there(library: Library, tiny_file: Path):
    first = library.import_file(tiny_file)
    inode = first.path.stat().st_ino
    assert library.import_file(tiny_file).path.stat().st_ino == inode
    assert library.pull("tiny").card == first.card


def test_another_model_of_the_same_name_is_refused(
    library: Library, tiny_file: Path, tmp_path: Path
):
    library.import_file(tiny_file)
    other = tmp_path / "other.gguf"
    other.write_bytes(tiny_file.read_bytes())
    with pytest.raises(Conflict, match="installed already") as caught:
        library.import_file(other, name="tiny")
    assert caught.value.hint is not None
    assert "--name" in caught.value.hint


def test_what_is_no_model_is_not_installed(library: Library, tmp_path: Path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(b"GGUF and nothing more")
    with pytest.raises(CatalogError, match=r"cut\.gguf"):
        library.import_file(path)
    assert library.list() == ()
    assert _left_over(tmp_path) == ["cut"]


@pytest.mark.parametrize("kind", ["absent", "folder", "fifo"])
def test_only_regular_files_are_imported(library: Library, tmp_path: Path, kind: str):
    path = tmp_path / "odd.gguf"
    if kind == "folder":
        path.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(CatalogError, match=r"odd\.gguf"):
        library.import_file(path)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "UP", "x" * 97, "a..b"])
def test_names_that_could_leave_the_folder_are_refused(
    library: Library, tiny_file: Path, name: str
):
    with pytest.raises(CatalogError, match="cannot be a model's name"):
        library.import_file(tiny_file, name=name)


def test_an_unknown_model_is_not_found(library: Library):
    with pytest.raises(ModelNotFound):
        library.get("nobody")
    with pytest.raises(ModelNotFound):
        library.remove("nobody")


class TestVerify:
    def test_a_verified_file_is_not_read_again(self, library: Library, tiny_file: Path):
        installed = library.import_file(tiny_file)
        read: list[int] = []
        library.verify(installed, lambda done, _total, _what: read.append(done))
        assert read == []

    def test_a_touched_file_is_read_again_once(self, library: Library, tiny_file: Path):
        installed = library.import_file(tiny_file)
        os.utime(installed.path, (1, 1))
        read: list[int] = []
        for _ in range(2):
            library.verify(installed, lambda done, _total, _what: read.append(done))
        assert read == [installed.card.bytes]

    @pytest.mark.parametrize("keep_times", [False, True])
    def test_an_altered_file_is_refused(
        self, library: Library, tiny_file: Path, *, keep_times: bool
    ):
        installed = library.import_file(tiny_file)
        before = installed.path.stat()
        data = bytearray(installed.path.read_bytes())
        data[-1] ^= 1
        installed.path.write_bytes(data)
        if keep_times:
            os.utime(installed.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(CatalogError, match="was altered"):
            library.verify(installed)
        with pytest.raises(CatalogError, match="was altered") as caught:
            library.verify(installed)
        assert caught.value.hint == "fetch it again: headrace models pull tiny"

    def test_a_file_cut_short_is_refused(self, library: Library, tiny_file: Path):
        installed = library.import_file(tiny_file)
        os.truncate(installed.path, 1_000)
        with pytest.raises(CatalogError, match="was altered"):
            library.verify(installed)

    def test_an_altered_model_is_fetched_again(
        self, library: Library, tiny_file: Path, tiny: bytes
    ):
        installed = library.import_file(tiny_file)
        installed.path.unlink()
        installed.path.write_bytes(b"rubbish")
        assert library.pull("tiny").path.read_bytes() == tiny
        library.verify(library.get("tiny"))

    def test_an_altered_model_is_not_replaced_by_another_file(
        self, library: Library, tiny_file: Path
    ):
        installed = library.import_file(tiny_file)
        for path in (installed.path, tiny_file):
            path.unlink()
            path.write_bytes(build(entries(general__name="Other")))
        with pytest.raises(CatalogError, match="is not the expected file"):
            library.pull("tiny")


class TestDamage:
    @pytest.mark.parametrize(
        ("pattern", "replacement"),
        [
            (b'"file": "tiny.gguf"', b'"file": "../../../secret.gguf"'),
            (b'"file": "tiny.gguf"', b'"file": "/etc/passwd"'),
            (b'"model_id": "tiny"', b'"model_id": "other"'),
            (b"sha256:", b"md5:"),
            (b'"bytes"', b'"bites"'),
            (rb"\{", b"["),
        ],
    )
    def test_a_card_that_lies_is_not_believed(
        self, library: Library, tiny_file: Path, pattern: bytes, replacement: bytes
    ):
        card = library.import_file(tiny_file).path.parent / "card.json"
        card.write_bytes(re.sub(pattern, replacement, card.read_bytes()))
        with pytest.raises(CatalogError, match=r"card\.json"):
            library.get("tiny")
        assert library.list() == ()
        assert [error.message for error in library.damaged()]

    def test_a_card_without_its_file_says_so(self, library: Library, tiny_file: Path):
        library.import_file(tiny_file).path.unlink()
        with pytest.raises(CatalogError, match="is gone"):
            library.get("tiny")
        assert library.pull("tiny") == library.get("tiny")

    def test_a_damaged_model_can_be_removed(self, library: Library, tiny_file: Path):
        (library.import_file(tiny_file).path.parent / "card.json").write_bytes(b"{}")
        library.remove("tiny")
        assert library.damaged() == ()


def test_an_installed_model_keeps_its_name_when_the_known_list_moves_on(
    library: Library, tiny_file: Path
):
    installed = library.import_file(tiny_file, name="qwen3-4b")
    assert library.pull("qwen3-4b") == installed


class TestUse:
    def test_a_model_in_use_is_not_removed(self, library: Library, tiny_file: Path):
        library.import_file(tiny_file)
        with library.hold("tiny"), library.hold("tiny"):
            assert library.in_use("tiny")
            with pytest.raises(Conflict, match="in use"):
                library.remove("tiny")
        assert not library.in_use("tiny")
        library.remove("tiny")

    def test_force_removes_it_all_the_same(self, library: Library, tiny_file: Path):
        library.import_file(tiny_file)
        with library.hold("tiny"):
            library.remove("tiny", force=True)
        assert library.list() == ()


def test_two_pulls_at_once_give_one_sound_model(library: Library, tiny_file: Path, tiny: bytes):
    results: list[bytes] = []

    def pull() -> None:
        results.append(library.import_file(tiny_file).path.read_bytes())

    threads = [threading.Thread(target=pull) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [tiny] * 4
    library.verify(library.get("tiny"))


def test_a_pull_killed_at_any_moment_leaves_a_sound_library(tiny_file: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_PULLS, str(tmp_path / "data"), str(tiny_file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_a_second_pull_waits_for_the_first(library: Library, tiny_file: Path, tmp_path: Path):
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW_PULL, str(tmp_path / "data"), str(tiny_file)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "copying\n"
        library.import_file(tiny_file, progress=lambda _done, _total, what: said.append(what))
    assert child.returncode == 0
    assert said == ["waiting for another pull of this model"]
