"""Edits are applied as surely meant, or refused with what is there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.code.edits.match import apply
from headrace.code.edits.results import Applied, Refused

PAGE = (
    "def f(a):\n    if a:\n        return 1\n    return 2\n\n\n"
    'def g(b):\n    x = "q"\n\n    return b + x\n'
)


def applied(text: str, old: str, new: str, *, every: bool = False) -> str:
    result = apply(text, old, new, every=every)
    assert isinstance(result, Applied), result
    return result.text


def refused(text: str, old: str, new: str) -> str:
    result = apply(text, old, new)
    assert isinstance(result, Refused), result
    return result.why


RETURN_3 = PAGE.replace("return 1", "return 3")


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        pytest.param("return 1", "return 3", RETURN_3, id="exact"),
        pytest.param("if a:\n    return 1\n", "if a:\n    return 3\n", RETURN_3, id="shifted"),
        pytest.param("if a:\n  return 1\n", "if a:\n  return 3\n", RETURN_3, id="other unit"),
        pytest.param("\tif a:\n\t\treturn 1\n", "\tif a:\n\t\treturn 3\n", RETURN_3, id="tabs"),
        pytest.param(
            "if a:  \n        return 1 ", "if a:  \n        return 3 ", RETURN_3, id="trailing"
        ),
        pytest.param("return 1", "        return 3", RETURN_3, id="only old without indentation"),
        pytest.param(
            "  2\t    if a:\n  3\t        return 1",
            "  2\t    if a:\n  3\t        return 3",
            RETURN_3,
            id="numbers",
        ),
        pytest.param(
            "def f(a, b):\n    if a:\n        return 1\n    return 2",
            "def f(a, b):\n    if a:\n        return 3\n    return 2",
            RETURN_3,
            id="wrong first line",
        ),
        pytest.param(
            "def f(a):\n...\n        return 1\n",
            "def f(a):\n...\n        return 3\n",
            RETURN_3,
            id="elided",
        ),
        pytest.param(
            "return 1",
            "x = 1\nreturn x",
            PAGE.replace("return 1", "x = 1\n        return x"),
            id="more lines",
        ),
        pytest.param(
            "return 1",
            "x = 1\n        return x",
            PAGE.replace("return 1", "x = 1\n        return x"),
            id="more lines, only the first bare",
        ),
        pytest.param(
            "x = \u201cq\u201d\n    return b + x",
            "x = \u201cz\u201d\n    return b + x",
            PAGE.replace('"q"', '"z"'),
            id="quotes and a blank line",
        ),
        pytest.param(
            "    return 2\n",
            "    return 3",
            PAGE.replace("return 2", "return 3"),
            id="new without line feed",
        ),
        pytest.param(
            "    return 2",
            "    return 3\n",
            PAGE.replace("return 2", "return 3"),
            id="old without line feed",
        ),
        pytest.param(
            "if a:\n    return 1",
            "if c:\n    if a:\n        return 1",
            PAGE.replace(
                "    if a:\n        return 1", "    if c:\n        if a:\n            return 1"
            ),
            id="wrapped",
        ),
    ],
)
def test_what_is_surely_meant_is_applied(old: str, new: str, result: str):
    assert applied(PAGE, old, new) == result
    assert applied(PAGE.replace("\n", "\r\n"), old, new) == result.replace("\n", "\r\n")


def test_new_lines_are_indented_as_the_file_is():
    tabs = PAGE.replace("    ", "\t")
    old, new = "    if a:\n        return 1\n", "    if a:\n        y = 1\n        return y\n"
    assert applied(tabs, old, new) == tabs.replace("return 1", "y = 1\n\t\treturn y")


def test_the_final_newline_stays_as_it_was():
    assert applied("a\nb", "b\n", "c\n") == "a\nc"
    assert applied("a\nb", "b", "") == "a"
    assert applied("a\nb\n", "b", "c") == "a\nc\n"


def test_several_matches_are_refused_with_their_lines():
    why = refused(PAGE, "return", "yield")
    assert "matches 3 places, lines 3, 4, 10" in why
    assert "3\t        return 1" in why
    assert applied(PAGE, "return", "yield", every=True) == PAGE.replace("return", "yield")


def test_several_places_alike_but_for_noise_are_refused():
    page = "if a:\n    x = 1\nelse:\n        x = 1\n"
    assert "matches 2 places" in refused(page, "x  = 1", "x = 2")


def test_what_is_not_there_is_refused_with_the_nearest_lines():
    why = refused(PAGE, "    if a:\n        return 9\n", "pass\n")
    assert "3\t        return 1" in why
    assert "Line 3 differs: you wrote `return 9`, the file has `return 1`." in why


@pytest.mark.parametrize(("old", "new"), [("return 1", "return 1"), ("return 1 ", "return 1")])
def test_an_edit_that_changes_nothing_is_refused(old: str, new: str):
    assert "changes nothing" in refused(PAGE, old, new)


def test_a_part_of_a_line_that_the_new_text_completes_is_refused():
    assert "whole lines" in refused("total = count\n", "count", "total = count + 1")


def test_flattened_lines_are_not_guessed():
    old = "def f(a):\nif a:\nreturn 1\n"
    why = refused(PAGE, old, "def f(a):\nif a:\nwhile a:\nreturn 1\n")
    assert "indented differently" in why


words = st.text("ab \n", min_size=1, max_size=8)


@given(st.text("abc \n", max_size=60), words, words)
def test_an_exact_match_that_is_the_only_one_is_replaced_exactly(text: str, old: str, new: str):
    middle = f"<{old}>"
    result = apply(f"{text}z{middle}{text[::-1]}", middle, f"[{new}]")
    assert isinstance(result, Applied)
    assert result.text == f"{text}z[{new}]{text[::-1]}"


lines = st.lists(
    st.sampled_from(["a = 1", "b(2)", "", "if c:", "    d()", "  e", "\tf"]), max_size=8
)


@given(lines, lines, lines)
def test_lines_around_a_change_stay_as_they_are(before: list[str], old: list[str], new: list[str]):
    head = "".join(f"{line}\r\n" for line in before)
    wanted = "".join(f"{line}\n" for line in old)
    result = apply(head + "only here\n" + wanted, f"only here\n{wanted}", "\n".join(new))
    if isinstance(result, Applied):
        assert result.text.startswith(head)


@given(lines, st.integers(1, 6))
def test_a_shifted_block_is_shifted_back(block: list[str], shift: int):
    page = "top\n" + "".join(f"{' ' * 8}{line}\n" for line in ["first(1)", *block, "last(2)"])
    old = "".join(f"{' ' * shift}{line}\n" for line in ["first(1)", *block, "last(2)"])
    result = apply(page, old, old.replace("last(2)", "last(3)"))
    if isinstance(result, Applied):
        assert result.text == page.replace("last(2)", "last(3)")
