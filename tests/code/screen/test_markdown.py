"""Markdown as it streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.code.screen.inline import inline
from headrace.code.screen.markdown import Markdown
from headrace.code.screen.text import BOLD, CYAN, Line, line_width, plain

WHOLE = """\
# Title
Some **bold and `code`** words
on two lines.

- one item that is long enough to wrap
  - nested
- [x] done
1. first
> quoted

| a | long column |
|---|--:|
| 1 | two |

```python
def f(x):
    return x
```
end
"""


def rendered(text: str, columns: int = 30, step: int = 7) -> list[Line]:
    markdown = Markdown(columns)
    lines: list[Line] = []
    for at in range(0, len(text), step):
        lines += markdown.feed(text[at : at + step])
        assert all(line_width(line) <= columns for line in markdown.tail() if "│" in plain(line))
    return lines + markdown.finish()


@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_however_it_is_cut_it_looks_the_same(step: int):
    assert rendered(WHOLE, step=step) == rendered(WHOLE)


def test_blocks_look_as_they_should():
    shown = [plain(line) for line in rendered(WHOLE)]
    assert shown == [
        "Title",
        "Some bold and code words on",
        "two lines.",
        "",
        "• one item that is long enough",
        "  to wrap",
        "  • nested",
        "☒ done",
        "1. first",
        "│ quoted",
        "",
        "┌───┬─────────────┐",
        "│ a │ long column │",
        "├───┼─────────────┤",
        "│ 1 │         two │",
        "└───┴─────────────┘",
        "",
        "  def f(x):",
        "      return x",
        "end",
    ]


def test_code_is_highlighted_and_kept_to_the_letter():
    code = "\n".join(f"x{n} = 'text {n}'  # note" for n in range(40))
    lines = rendered(f"```python\n{code}\n```\n", columns=20)
    assert [plain(line)[2:] for line in lines] == code.split("\n")
    assert {style for line in lines for style, _ in line if style}


def test_an_unclosed_block_of_code_comes_out_at_the_end():
    assert [plain(line) for line in rendered("```\na\nb")] == ["  a", "  b"]


def test_marks_within_a_line():
    assert inline("a **b** `c`") == [("", "a "), (BOLD, "b"), ("", " "), (CYAN, "c")]
    assert inline("2*3*4 snake_case_name __init__") == [("", "2*3*4 snake_case_name __init__")]
    assert "".join(text for _, text in inline("[label](http://x.y)")) == "label (http://x.y)"


def test_a_narrow_table_becomes_a_list():
    lines = rendered("| name | value | more |\n|---|---|---|\n| first | second | third |\n", 14)
    shown = [plain(line) for line in lines]
    assert shown[0] == "name: first"
    assert all(len(line) <= 14 for line in shown)


@given(st.text(alphabet="ab *_`#|>-\n[]()1.~\\\x1b\u202e", max_size=200), st.integers(4, 40))
def test_anything_at_all_is_rendered_without_commands_to_the_terminal(text: str, columns: int):
    shown = "".join(plain(line) for line in rendered(text, columns, 5))
    assert "\x1b" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("text", ["*a" * 20_000, "`" * 20_000, "[" * 20_000, "**a " * 900])
def test_hostile_marks_come_to_an_end(text: str):
    shown = "".join(plain(line) for line in rendered(text + "\n", 80, 30_000))
    assert set(shown) <= set(text)
