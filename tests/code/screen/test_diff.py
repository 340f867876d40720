"""Diffs that people read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.code.screen.diff import counts, diff, hunks
from headrace.code.screen.text import REVERSE, line_width, plain

BEFORE = "".join(f"line {n}\n" for n in range(1, 41))
LINES = st.lists(st.sampled_from(["a", "b", "c", "long line", ""]), max_size=15)


def test_changes_stand_among_the_lines_around_them():
    after = BEFORE.replace("line 10\n", "line ten\n").replace("line 30\n", "")
    assert [plain(row) for row in diff(BEFORE, after, 80)] == [
        " 7   line 7",
        " 8   line 8",
        " 9   line 9",
        "10 - line 10",
        "10 + line ten",
        "11   line 11",
        "12   line 12",
        "13   line 13",
        " …",
        "27   line 27",
        "28   line 28",
        "29   line 29",
        "30 - line 30",
        "30   line 31",
        "31   line 32",
        "32   line 33",
    ]


def test_changed_words_are_set_off():
    rows = diff("value = old + 1\n", "value = new + 1\n", 80)
    marked = [text for row in rows for style, text in row if REVERSE in style.split(";")]
    assert marked == ["old", "new"]


def test_new_and_removed_files():
    assert counts(None, "a\nb\n") == (2, 0)
    assert counts("a\nb\n", None) == (0, 2)
    assert [plain(row) for row in diff("same\n", "same\n", 80)] == ["nothing changes"]


def test_nothing_hides_in_a_diff():
    shown = "".join(plain(row) for row in diff("a\n", "a\u200b\x1b[2J\u202e\n", 80))
    assert "<U+200B>\\x1b[2J<U+202E>" in shown


def test_a_change_of_line_ends_alone_is_seen():
    assert "\\x0d" in "".join(plain(row) for row in diff("a\nb\n", "a\r\nb\n", 80))
    assert "line feed at the end" in plain(diff("a\n", "a", 80)[-1])


@pytest.mark.parametrize("columns", [12, 39, 40, 200])
def test_rows_fit_any_width(columns: int):
    after = BEFORE.replace("line 5", "a much longer line than the others " * 3)
    assert all(line_width(row) <= columns for row in diff(BEFORE, after, columns))


@given(LINES, LINES)
def test_a_diff_tells_the_whole_change(old: list[str], new: list[str]):
    before = "".join(f"{line}\n" for line in old)
    after = "".join(f"{line}\n" for line in new)
    rebuilt = list(old)
    shift = 0
    for hunk in hunks(before, after):
        for change in hunk:
            text = "".join(piece for _, piece in change.pieces)
            if change.sign == "-":
                assert rebuilt.pop(change.number - 1 + shift) == text
                shift -= 1
            elif change.sign == "+":
                rebuilt.insert(change.number - 1, text)
                shift += 1
            else:
                assert rebuilt[change.number - 1] == text
    assert rebuilt == new


def test_large_files_are_no_burden():
    before = "".join(f"a {n}\n" for n in range(20_000))
    after = "".join(f"b {n}\n" for n in range(20_000))
    assert counts(before, after) == (20_000, 20_000)
