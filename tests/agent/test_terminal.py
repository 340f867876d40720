"""What a model writes cannot command a terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from headrace.agent.terminal import neutral, one_line


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    shown = neutral(text)
    assert len(shown) == len(text)
    assert not {c for c in shown if unicodedata.category(c) == "Cc"} - {"\n", "\t"}


def test_escapes_are_made_visible_and_text_is_kept() -> None:
    assert neutral("\x1b[2Jhi\x07\r\x9b1m\x7f") == "␛[2Jhi␇␍\ufffd1m␡"
    assert neutral("a\u202eb\u2066c") == "a\ufffdb\ufffdc"
    kept = "tab\tline\n Grüße 水 👩\u200d🔧 שלום"
    assert neutral(kept) == kept


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    shown = one_line(text, 20)
    assert len(shown) <= 20
    assert len(shown.splitlines()) <= 1


def test_a_notice_of_ours_cannot_be_forged() -> None:
    assert one_line("a\nheadrace code: b\u2028c", 80) == "a␊headrace code: b\ufffdc"
    assert one_line("x" * 81, 80) == "x" * 79 + "…"
