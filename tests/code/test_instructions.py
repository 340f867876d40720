"""Instructions: found in order, imported within bounds, cut with a word, shown as they are."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.code.instructions import INIT_PROMPT, Instructions, load
from headrace.code.visible import visible
from headrace.safety.permissions import Policy
from headrace.safety.rules import Rules, parse_rule


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "repository" / "packages" / "one"
    path.mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir()
    return path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_from_the_user_down_to_the_folder(home: Path, work: Path, tmp_path: Path):
    put(tmp_path / "AGENTS.md", "above the repository: not ours")
    put(home / ".claude" / "CLAUDE.md", "of the user")
    put(home / ".headrace" / "AGENTS.md", "of the user, here")
    put(tmp_path / "repository" / "CLAUDE.md", "of the repository")
    put(tmp_path / "repository" / "packages" / "AGENTS.md", "of the packages")
    put(work / "AGENTS.md", "of the package")
    found = load(work, home=home)
    assert found.text == (
        "# ~/.headrace/AGENTS.md\n\nof the user, here\n\n"
        "# ~/.claude/CLAUDE.md\n\nof the user\n\n"
        "# ../../CLAUDE.md\n\nof the repository\n\n"
        "# ../AGENTS.md\n\nof the packages\n\n"
        "# AGENTS.md\n\nof the package"
    )
    assert found.sources[-1] == "AGENTS.md"
    assert found.notices == ()


def test_without_a_repository_only_the_folder_counts(home: Path, tmp_path: Path):
    put(tmp_path / "AGENTS.md", "above")
    put(tmp_path / "plain" / "AGENTS.md", "here")
    assert load(tmp_path / "plain", home=home).text == "# AGENTS.md\n\nhere"


def test_nothing_found_is_nothing(home: Path, work: Path):
    assert load(work, home=home) == Instructions()


def test_two_names_of_one_file_are_read_once(home: Path, work: Path):
    put(work / "AGENTS.md", "one")
    (work / "CLAUDE.md").symlink_to("AGENTS.md")
    assert load(work, home=home).sources == ("AGENTS.md",)
    (work / "CLAUDE.md").unlink()
    put(work / "CLAUDE.md", "@AGENTS.md\ntwo")
    assert load(work, home=home).sources == ("AGENTS.md", "CLAUDE.md")


def test_imports_follow_the_file_that_names_them(home: Path, work: Path):
    put(work / "AGENTS.md", "See @docs/style.md, and @missing.md. Not `@docs/code.md`, a@b.md.\n")
    put(work / "docs" / "style.md", "style; @more.txt")
    put(work / "docs" / "more.txt", "more")
    put(work / "docs" / "code.md", "code")
    put(work / "b.md", "no import")
    found = load(work, home=home)
    assert found.sources == ("AGENTS.md", "docs/style.md", "docs/more.txt")
    assert found.notices == ("missing.md (imported by AGENTS.md) is not there.",)


def test_names_of_people_and_packages_are_no_imports(home: Path, work: Path):
    put(work / "AGENTS.md", "Ask @alice about @types/node.\n```\n@docs/x.md\n```\n")
    put(work / "docs" / "x.md", "x")
    found = load(work, home=home)
    assert (found.sources, found.notices) == (("AGENTS.md",), ())


def test_circles_are_named_and_depth_is_limited(home: Path, work: Path):
    put(work / "AGENTS.md", "@a.md @1.md")
    put(work / "a.md", "@b.md")
    put(work / "b.md", "@a.md @AGENTS.md")
    for number in range(1, 9):
        put(work / f"{number}.md", f"@{number + 1}.md")
    found = load(work, home=home)
    assert found.sources == ("AGENTS.md", "a.md", "b.md", *(f"{n}.md" for n in range(1, 6)))
    assert found.notices == (
        "a.md (imported by b.md) is a circle; it was read once.",
        "AGENTS.md (imported by b.md) is a circle; it was read once.",
        "@6.md in 5.md is over 5 imports deep.",
    )


@pytest.mark.parametrize(
    "name",
    ["../outside.md", "/etc/passwd", "link.md", "folder/secret.md", "~/.ssh/id.md", ".git/config"],
)
def test_imports_stay_inside(home: Path, work: Path, name: str):
    put(home / ".ssh" / "id.md", "secret")
    put(work.parent / "outside.md", "secret")
    put(work / ".git" / "config", "secret")
    (work / "link.md").symlink_to(work.parent / "outside.md")
    put(work.parent / "other" / "secret.md", "secret")
    (work / "folder").symlink_to(work.parent / "other")
    put(work / "AGENTS.md", f"@{name}")
    found = load(work, home=home)
    assert "secret" not in found.text.replace(name, "")
    assert "root:" not in found.text
    assert "lies outside" in found.notices[0]


def test_the_users_own_texts_may_be_imported_but_no_credentials(home: Path, work: Path):
    put(home / ".claude" / "mine.md", "mine")
    put(home / ".claude" / ".credentials.json", "secret")
    put(work / "AGENTS.md", "@~/.claude/mine.md @~/.claude/.credentials.json")
    found = load(work, home=home)
    assert found.sources == ("AGENTS.md", "~/.claude/mine.md")
    assert len(found.notices) == 1


def test_the_users_own_file_may_be_a_link(home: Path, work: Path):
    put(home / "dotfiles" / "agents.md", "mine, @more.md")
    put(home / "dotfiles" / "more.md", "more")
    (home / ".headrace").mkdir()
    (home / ".headrace" / "AGENTS.md").symlink_to(home / "dotfiles" / "agents.md")
    assert load(work, home=home).sources == ("~/.headrace/AGENTS.md", "~/.headrace/more.md")


def test_what_reading_would_ask_about_is_not_imported(home: Path, work: Path):
    put(work / ".env", "KEY=1")
    put(work / "denied.md", "KEY=2")
    (work / "plain.md").symlink_to(".env")
    put(work / "AGENTS.md", "@.env @plain.md @denied.md @.ENV")
    put(home / ".claude" / "CLAUDE.md", "of the user")
    deny = parse_rule("Read(denied.md)", kind="deny", scope="user", root=str(work))
    policy = Policy(Rules(deny=(deny,)), workspace=str(work), home=str(home), sandboxed=True)
    found = load(work, home=home, denied=lambda path: not policy.may_read(str(path)))
    assert "KEY" not in found.text
    assert found.sources == ("~/.claude/CLAUDE.md", "AGENTS.md")
    assert [notice.partition(" ")[0] for notice in found.notices] == [
        ".env", "plain.md", "denied.md",
    ]  # fmt: skip
    assert "unasked" in found.notices[0]


def test_notices_carry_no_escapes_of_folders_names(home: Path, tmp_path: Path):
    work = tmp_path / "re\x1b[2Jpo\u202e"
    put(work / "AGENTS.md", "@/etc/passwd.md @../x.md")
    put(tmp_path / "x.md", "x")
    (notice,) = load(work, home=home).notices[-1:]
    assert "lies outside" in notice
    assert notice.isprintable()


def test_too_much_is_cut_from_the_farthest_and_told(home: Path, work: Path):
    put(home / ".claude" / "CLAUDE.md", "far\n" * 500)
    put(work / "AGENTS.md", "near\n" * 300)
    found = load(work, home=home, bytes_max=2_000)
    assert len(found.text.encode()) <= 2_000
    assert found.text.count("near") == 300
    assert 0 < found.text.count("far") < 500
    assert "[~/.claude/CLAUDE.md is cut here]" in found.text
    assert "bytes were cut" in found.notices[0]


def test_hidden_characters_are_shown_and_told(home: Path, work: Path):
    put(work / "AGENTS.md", "Be\u200b nice.\u202e Tags: \U000e0041\n")
    found = load(work, home=home)
    assert "Be<U+200B> nice.<U+202E> Tags: <U+E0041>" in found.text
    assert found.notices == ("AGENTS.md holds 3 invisible characters; they are shown as <U+…>.",)


def test_what_is_no_text_or_no_file_breaks_nothing(home: Path, work: Path):
    put(work / "AGENTS.md", "@pipe @binary @docs @" + "x" * 300 + " @\x00 @a\x00b.md")
    os.mkfifo(work / "pipe")
    (work / "docs").mkdir()
    (work / "binary").write_bytes(b"\xff\xfe\x00")
    found = load(work, home=home)
    assert found.sources == ("AGENTS.md", "binary")
    put(work / "AGENTS.md", "x" * (2 << 20))
    assert "over 1 MiB" in load(work, home=home).notices[0]


def test_emoji_stay_as_they_are():
    for text in ("👩‍💻 ❤️ 1️⃣ ©️", "naïve 日本語 العربية", "tab\tline\n"):
        assert visible(text) == (text, 0)
    assert visible("a\ufe0f")[1] == 1
    assert visible("❤\ufe0f\ufe0f")[1] == 1


@given(st.text())
def test_no_invisible_character_is_left(text: str):
    shown, count = visible(text)
    assert (shown == text) == (count == 0)
    assert not any(0x202A <= ord(c) <= 0x202E or c == "\u200b" for c in shown)


def test_the_prompt_for_init_names_the_file():
    assert "AGENTS.md" in INIT_PROMPT
