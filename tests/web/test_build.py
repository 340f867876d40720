"""The built client keeps its budget, and the build knows when it is due."""

import gzip
import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.chat.pages import STATIC

ROOT = Path(__file__).parents[2]
JAVASCRIPT_BYTES_MAX = 120_000
FILES_MAX = 12

# A script of the repository, not of the package.
builder: Any = SimpleNamespace(**runpy.run_path(str(ROOT / "web" / "build.py")))


def first_page() -> list[Path]:
    """The files that index.html names."""
    html = (STATIC / "index.html").read_text()
    return [STATIC / name for name in re.findall(r'(?:src|href)="/([^"]+)"', html)]


def test_the_first_page_keeps_its_budget():
    files = first_page()
    assert len(files) + 1 <= FILES_MAX
    scripts = [path.with_name(f"{path.name}.gz") for path in files if path.suffix == ".js"]
    assert scripts
    assert sum(path.stat().st_size for path in scripts) <= JAVASCRIPT_BYTES_MAX


def test_the_page_needs_no_inline_script_style_or_other_host():
    html = (STATIC / "index.html").read_text()
    assert "<style" not in html
    assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|https?://|\sdata:", html)


def test_packed_files_hold_what_they_stand_for():
    packed = list(STATIC.rglob("*.gz"))
    assert packed
    for path in packed:
        assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()


def test_the_lock_file_names_no_registry():
    lock = json.loads((ROOT / "web" / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]


@pytest.mark.parametrize(
    ("version", "enough"),
    [
        ("v20.18.3", False),
        ("v20.19.0", True),
        ("v21.7.3", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v24.1.0", True),
        ("v18.20.4", False),
        ("", False),
    ],
)
def test_node_must_be_new_enough(version: str, *, enough: bool):
    assert builder.new_enough(version) is enough


def project(root: Path, build: str) -> Path:
    """A small client with the script `build` and no packages to install."""
    web = root / "web"
    (web / "src").mkdir(parents=True)
    (web / "src" / "main.ts").write_text("export {};\n")
    (web / "package.json").write_text(json.dumps({"scripts": {"build": build}}))
    (web / "package-lock.json").write_text(json.dumps({"packages": {"": {}}}))
    return web


def test_it_is_built_once_and_again_when_a_source_changes(tmp_path: Path):
    web = project(tmp_path, "mkdir -p ../src/headrace/chat/static")
    assert builder.needs_build(tmp_path)
    builder.build(tmp_path)
    assert not builder.needs_build(tmp_path)

    (web / "src" / "main.test.ts").write_text("a test changes nothing")
    (web / "node_modules").mkdir()
    (web / "node_modules" / "x.js").write_text("nor do packages")
    assert not builder.needs_build(tmp_path)

    (web / "src" / "main.ts").write_text("export const changed = true;\n")
    assert builder.needs_build(tmp_path)


def test_without_sources_there_is_nothing_to_build(tmp_path: Path):
    assert not builder.needs_build(tmp_path)


def test_a_failed_build_says_what_failed_and_sets_no_stamp(tmp_path: Path):
    project(tmp_path, "echo the reason && exit 3")
    with pytest.raises(
        builder.WebClientError, match=r"(?s)npm run build failed.*the reason"
    ) as failed:
        builder.build(tmp_path)
    assert str(tmp_path) in str(failed.value)
    assert builder.needs_build(tmp_path)
