"""Widths, wrapping, and text shown exactly."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.code.screen.text import (
    Line,
    clip,
    clip_line,
    exact,
    fold,
    line_width,
    plain,
    width,
    wrap,
)

TEXTS = st.text(alphabet=string.ascii_letters + "  日本é👩│", max_size=80)


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("日本", 4), ("é", 1), ("● │", 3), ("👩‍👩‍👧", 2)]
)
def test_width_is_what_a_terminal_takes(text: str, columns: int):
    assert width(text) == columns


@given(TEXTS, st.integers(1, 30))
def test_clipped_text_fits(text: str, columns: int):
    assert width(clip(text, columns)) <= columns
    line: Line = [("1", text), ("", text)]
    assert line_width(clip_line(line, columns)) <= columns


@given(TEXTS, st.integers(2, 30))
def test_wrapped_rows_fit_and_lose_no_word(text: str, columns: int):
    rows = wrap([("", text)], columns)
    assert all(line_width(row) <= columns for row in rows)
    assert "".join(map(plain, rows)).replace(" ", "") == text.replace(" ", "")


@given(TEXTS, TEXTS, st.integers(2, 30))
def test_folding_loses_nothing_at_all(one: str, two: str, columns: int):
    rows = fold([("", one), ("1", two)], columns)
    assert all(line_width(row) <= columns for row in rows)
    assert "".join(map(plain, rows)) == one + two


def test_rows_after_the_first_hang():
    rows = wrap([("", "- "), ("", "aa bb cc")], 5, indent=[("", "  ")])
    assert [plain(row) for row in rows] == ["- aa", "  bb", "  cc"]


@pytest.mark.parametrize(
    "hidden",
    [
        "\x1b",
        "\x07",
        "\x7f",
        "\x9b",
        "\u200b",
        "\u202e",
        "\u2066",
        "\ufeff",
        "\U000e0041",
        "\xad",
        "\u2028",
        "\ud800",
        "\ue000",
        "\u3164",
        "\xa0",
        "\r",
        "\u200d",
        "\u061c",
    ],
)
def test_nothing_hides_in_what_is_shown_exactly(hidden: str):
    shown = exact(f"a{hidden}b")
    assert hidden not in shown
    assert shown.isprintable()
    assert shown != "ab"


def test_plain_text_is_shown_as_it_is():
    assert exact("echo 'hé日本'\n\tend") == "echo 'hé日本'\n\tend"
