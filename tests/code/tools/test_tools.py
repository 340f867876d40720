"""The tools on real files, with the real sandbox."""

import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.agent.tools import Diff, Outcome, Tool, Use
from headrace.code.profile import Profile
from headrace.code.toolbox import toolbox
from headrace.code.tools.fetch import place_of
from headrace.code.tools.page_text import readable
from headrace.code.tools.search import Grep
from headrace.core.decisions import Allow, Ask
from headrace.core.errors import InvalidRequest
from headrace.core.messages import Image, Text
from headrace.safety.files import Workspace
from headrace.safety.permissions import Policy
from headrace.safety.rules import Rules
from headrace.safety.sandbox.policy import SandboxPolicy
from headrace.safety.sandbox.probe import probe
from headrace.safety.sandbox.sandbox import Sandbox

PAGE = "def f(a):\n    return a\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "f.py").write_text(PAGE)
    return folder


@pytest.fixture
def workspace(root: Path) -> Iterator[Workspace]:
    workspace = Workspace(root)
    yield workspace
    workspace.close()


@pytest.fixture
async def sandbox(root: Path, tmp_path: Path) -> AsyncIterator[Sandbox]:
    if not probe().ok:
        if os.environ.get("CI"):
            pytest.fail(f"no sandbox: {probe()}")
        pytest.skip(f"no sandbox: {probe()}")
    sandbox = Sandbox(SandboxPolicy(workspace=root, state_folder=tmp_path / "state"))
    yield sandbox
    await sandbox.close()


def tools_of(
    workspace: Workspace, sandbox: Sandbox, profile: Profile | None = None, *, images: bool = False
) -> dict[str, Tool]:
    tools = toolbox(
        profile or Profile(),
        workspace,
        sandbox,
        human=None,
        decide=lambda _: Allow(),
        may_read=lambda path: not path.endswith(".env"),
        context_tokens=32_768,
        images=images,
    )
    return {tool.spec.name: tool for tool in tools}


@pytest.fixture
def tools(workspace: Workspace, sandbox: Sandbox) -> dict[str, Tool]:
    return tools_of(workspace, sandbox)


async def use(tool: Tool, **arguments: Any) -> Outcome:
    tool.action(arguments)
    return await tool.run(Use("1", arguments, lambda _: None))


async def said(tool: Tool, **arguments: Any) -> str:
    outcome = await use(tool, **arguments)
    assert not outcome.is_error, outcome
    return text_of(outcome)


async def refusal(tool: Tool, **arguments: Any) -> str:
    outcome = await use(tool, **arguments)
    assert outcome.is_error, outcome
    return text_of(outcome)


def text_of(outcome: Outcome) -> str:
    return "".join(part.text for part in outcome.parts if isinstance(part, Text))


# Sets


def test_the_full_set_is_short(tools: dict[str, Tool]):
    told = json.dumps(
        [[t.spec.name, t.spec.description, t.spec.parameters] for t in tools.values()],
        separators=(",", ":"),
    )
    assert len(told) < 2_400


def test_small_models_get_four_tools(workspace: Workspace, sandbox: Sandbox):
    whole = tools_of(workspace, sandbox, Profile(tools=4, edit_format="whole"))
    assert [*whole] == ["Read", "Write", "Bash", "Grep"]
    assert [*tools_of(workspace, sandbox, Profile(tools=4))] == ["Read", "Edit", "Bash", "Grep"]
    told = json.dumps(
        [[t.spec.name, t.spec.description, t.spec.parameters] for t in whole.values()]
    )
    assert len(told) < 1_000


# Reading


async def test_read_gives_the_text_alone(tools: dict[str, Tool]):
    assert await said(tools["Read"], file_path="f.py") == PAGE.rstrip("\n")


async def test_read_gives_pages(tools: dict[str, Tool], root: Path):
    (root / "long.txt").write_text("".join(f"{n}\n" for n in range(1, 1_001)))
    page = await said(tools["Read"], file_path="long.txt", offset=10, limit=2)
    assert page == "[lines 10-11 of 1000; offset=12 for more]\n10\n11"
    assert "beyond" in await refusal(tools["Read"], file_path="long.txt", offset=2_000)


async def test_read_keeps_within_its_share(tools: dict[str, Tool], root: Path):
    (root / "huge.txt").write_text("x" * 100_000 + "\n" + "word " * 50_000 + "\n" * 20_000)
    page = await said(tools["Read"], file_path="huge.txt")
    assert len(page) < 17_000
    assert "[98,000 more characters]" in page


async def test_read_lists_folders_and_cells(tools: dict[str, Tool], root: Path):
    (root / "sub").mkdir()
    cell = {"cell_type": "code", "source": ["a = 1\n", "a"], "outputs": [{"text": ["1"]}]}
    (root / "n.ipynb").write_text(json.dumps({"cells": [cell]}))
    assert await said(tools["Read"], file_path=".") == "f.py\nn.ipynb\nsub/"
    assert await said(tools["Read"], file_path="n.ipynb") == "[0: code]\na = 1\na\n[output]\n1"


async def test_read_refuses_what_it_cannot_show(tools: dict[str, Tool], root: Path):
    (root / "b.bin").write_bytes(b"\0\1\2")
    (root / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "binary" in await refusal(tools["Read"], file_path="b.bin")
    assert "cannot see" in await refusal(tools["Read"], file_path="p.png")
    await refusal(tools["Read"], file_path="none.py")
    await refusal(tools["Read"], file_path="/etc/passwd")


async def test_read_shows_pictures_to_who_sees(workspace: Workspace, sandbox: Sandbox, root: Path):
    (root / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = await use(tools_of(workspace, sandbox, images=True)["Read"], file_path="p.png")
    assert isinstance(outcome.parts[0], Image)


# Changing


async def test_edit_changes_and_shows_what(tools: dict[str, Tool], root: Path):
    outcome = await use(
        tools["Edit"], file_path="f.py", old_string="return a", new_string="return 2"
    )
    assert text_of(outcome) == "Edited f.py, line 2."
    assert outcome.detail == Diff("f.py", PAGE, PAGE.replace("return a", "return 2"))
    assert (root / "f.py").read_text() == PAGE.replace("return a", "return 2")


async def test_edit_keeps_line_ends_and_byte_order_mark(tools: dict[str, Tool], root: Path):
    (root / "w.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\n")
    await said(tools["Edit"], file_path="w.txt", old_string="a\nb", new_string="a\nc")
    assert (root / "w.txt").read_bytes() == b"\xef\xbb\xbfa\r\nc\r\n"


async def test_edit_refuses_what_breaks_the_file(tools: dict[str, Tool], root: Path):
    why = await refusal(
        tools["Edit"], file_path="f.py", old_string="return a", new_string="return ("
    )
    assert "would no longer parse" in why
    assert (root / "f.py").read_text() == PAGE


async def test_edit_creates_a_file(tools: dict[str, Tool], root: Path):
    await said(tools["Edit"], file_path="new.py", old_string="", new_string="a = 1\n")
    assert (root / "new.py").read_text() == "a = 1\n"
    assert "not there" in await refusal(
        tools["Edit"], file_path="other.py", old_string="a", new_string="b"
    )


async def test_a_stale_edit_is_refused_with_the_changed_lines(tools: dict[str, Tool], root: Path):
    await said(tools["Read"], file_path="f.py")
    (root / "f.py").write_text(PAGE.replace("return a", "return a * 2"))
    why = await refusal(tools["Edit"], file_path="f.py", old_string="return a\n", new_string="x\n")
    assert "has changed since you read it" in why
    assert "2\t    return a * 2" in why


async def test_write_wants_a_file_to_be_read_first(tools: dict[str, Tool], root: Path):
    assert "Read it first" in await refusal(tools["Write"], file_path="f.py", content="a = 1\n")
    await said(tools["Read"], file_path="f.py")
    (root / "f.py").write_text("b = 1\n")
    assert "changed since" in await refusal(tools["Write"], file_path="f.py", content="a = 1\n")
    await said(tools["Write"], file_path="f.py", content="a = 1\n")
    assert (root / "f.py").read_text() == "a = 1\n"
    assert "changes nothing" in await refusal(tools["Write"], file_path="f.py", content="a = 1\n")


async def test_write_keeps_protected_names(tools: dict[str, Tool]):
    await refusal(tools["Write"], file_path=".git/hooks/pre-commit", content="x")


async def test_a_patch_edits_one_file(workspace: Workspace, sandbox: Sandbox, root: Path):
    edit = tools_of(workspace, sandbox, Profile(edit_format="patch"))["Edit"]
    body = "*** Update File: f.py\n@@\n-    return a\n+    return 2\n*** End Patch\n"
    await said(edit, patch=f"*** Begin Patch\n{body}")
    assert (root / "f.py").read_text() == PAGE.replace("return a", "return 2")
    with pytest.raises(InvalidRequest):
        edit.action({"patch": "no patch"})


# Commands


async def test_bash_tells_output_and_status(tools: dict[str, Tool]):
    assert await said(tools["Bash"], command="echo hi") == "hi"
    assert await said(tools["Bash"], command="true") == "(no output)"
    assert await refusal(tools["Bash"], command="echo no; exit 3") == "no\nexit status 3"


async def test_a_megabyte_costs_little(tools: dict[str, Tool]):
    shown = await said(tools["Bash"], command="seq 200000")
    assert len(shown) <= 2_300
    assert shown.startswith("1\n2\n")
    assert shown.endswith("200000")


async def test_bash_tells_the_time_out(tools: dict[str, Tool]):
    assert "stopped after 1 s" in await refusal(tools["Bash"], command="sleep 30", timeout=1)


async def test_a_command_beside_others(tools: dict[str, Tool]):
    started = await said(tools["Bash"], command="read x; echo got $x; sleep 60", background=True)
    assert started.startswith("Started with id 1.")
    assert "got seven" in await said(tools["BashOutput"], id="1", input="seven\n", wait=1)
    assert "ended" in await said(tools["BashOutput"], id="1", stop=True)
    assert "There are: 1" in await refusal(tools["BashOutput"], id="9")


# Searching


@pytest.fixture
def tree(root: Path) -> None:
    (root / "src" / "gen").mkdir(parents=True)
    (root / "src" / "a.py").write_text("needle = 1\n")
    (root / "src" / "gen" / "b.py").write_text("needle = 2\n")
    (root / "skip.log").write_text("needle\n")
    (root / "keep.log").write_text("needle\n")
    (root / ".env").write_text("needle=secret\n")
    (root / ".gitignore").write_text("*.log\n!keep.log\n/src/gen/\n")
    (root / "away").symlink_to("/etc")


@pytest.mark.usefixtures("tree")
async def test_grep_finds_what_git_would_not_ignore(tools: dict[str, Tool]):
    found = await said(tools["Grep"], pattern=r"needle\b")
    assert found == "keep.log:1:needle\nsrc/a.py:1:needle = 1"
    assert await said(tools["Grep"], pattern="needle", glob="*.py") == "src/a.py:1:needle = 1"
    assert await said(tools["Grep"], pattern="needle", path="src", files_only=True) == "src/a.py"
    assert await said(tools["Grep"], pattern="nowhere") == "Nothing matches."
    assert "no regular expression" in await refusal(tools["Grep"], pattern="(")


@pytest.mark.usefixtures("tree")
async def test_a_search_shows_no_secrets_unasked(workspace: Workspace, root: Path):
    (root / "server.pem").write_text("needle\n")
    policy = Policy(Rules(), workspace=str(root), home="/h", sandboxed=True)
    grep = Grep(workspace, policy.may_read)
    assert await said(grep, pattern="needle") == "keep.log:1:needle\nsrc/a.py:1:needle = 1"
    asked = policy.decide(grep.action({"pattern": "needle", "path": "server.pem"}))
    assert isinstance(asked, Ask)
    assert await said(grep, pattern="needle", path="server.pem") == "server.pem:1:needle"


@pytest.mark.usefixtures("tree")
@pytest.mark.skipif(shutil.which("rg") is None, reason="compares with ripgrep where it is")
async def test_grep_answers_as_ripgrep_does(tools: dict[str, Tool], sandbox: Sandbox):
    command = "rg --no-require-git -n --no-heading --sort path needle . | sed 's#^./##'"
    ran = await sandbox.run(command)
    assert await said(tools["Grep"], pattern="needle") == ran.head.decode().rstrip("\n")


@pytest.mark.usefixtures("tree")
async def test_glob_finds_names(tools: dict[str, Tool]):
    assert await said(tools["Glob"], pattern="*.py") == "f.py\nsrc/a.py"
    assert await said(tools["Glob"], pattern="src/**/*.{py,txt}") == "src/a.py"


# The rest


async def test_todos_are_kept_for_people(tools: dict[str, Tool]):
    todos = [{"content": "one", "status": "completed"}, {"content": "two", "status": "pending"}]
    assert await said(tools["TodoWrite"], todos=todos) == "Kept, 1 left to do."


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://localhost:1/", "http://[::1]/", "http://169.254.169.254/",
     "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b:1::a00:1]/",
     "http://[2002:7f00:1::]/", "http://[::ffff:10.0.0.1]/", "http://127.1/", "http://2130706433/",
     "http://0x7f.1/", "http://0/"],
)  # fmt: skip
async def test_fetch_stays_out_of_the_own_network(tools: dict[str, Tool], url: str):
    assert "inside this network" in await refusal(tools["WebFetch"], url=url)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "https://", "https://u:p@example.org", "example.org", "http://a:b"],
)
def test_fetch_wants_an_address_of_the_web(url: str):
    with pytest.raises(InvalidRequest):
        place_of(url)


def test_pages_become_text():
    page = "<head><title>t</title></head><h1>A</h1><p>b <b>c</b><script>x</script><li>d&amp;e"
    assert readable(page) == "# A\nb c\n- d&e"


def test_pages_of_an_odd_form_become_text():
    assert readable("a<!-- b --!> c -->d<!DOCTYPE x>e<?pi?>f<![CDATA[g]]>") == "adef"
    assert readable("<SCRIPT>x</SCRIPT >a<head><p>b") == "a\nb"
    assert readable("1 < 2 <3> &lt;b&gt; &#1; &#x41;" + "&#" + "9" * 5_000) == (
        "1 < 2 <3> &lt;b&gt; &#1; &#x41;&#" + "9" * 5_000
    )
    assert readable("<a title='>'>x</a><p\nclass=b>y</P>z") == "x\ny\nz"


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<![", "<!", "<?", "<a b='", "<a ", "</", "<", "&", "&#", "<svg>", "<script>",
     '<a b="c', "\u0130<script>"],
)  # fmt: skip
def test_no_page_stalls_its_reader(piece: str):
    # What grows with the square takes many seconds here, and minutes at the size that is fetched.
    assert len(readable(piece * ((1 << 16) // len(piece)))) <= 1 << 17
