"""Live rows: what fits, and what is drawn of them."""

import asyncio
import json
import os
import pty
import termios
import tty
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.code.screen import asking, blocks, picks
from headrace.code.screen.actions import Kept
from headrace.code.screen.completion import Completion, Offer, complete
from headrace.code.screen.editor import Editor
from headrace.code.screen.front import welcome
from headrace.code.screen.layout import View, lay_out
from headrace.code.screen.menu import Menu
from headrace.code.screen.paint import Painter, styled
from headrace.code.screen.slash import HINTS
from headrace.code.screen.terminal import Terminal
from headrace.code.screen.text import Line, line_width, plain
from headrace.core.messages import ToolCall
from headrace.safety.actions import Action
from support.virtual_screen import VirtualScreen

FILES = ("README.md", "src/a.py", "src/app/main.py")


def full_view() -> View:
    view = View()
    view.tail = [[("", f"tail {n}")] for n in range(30)]
    view.output = [[("", "output")]]
    view.spinner = [("", "Working…")]
    view.todos = [[("", f"task {n}")] for n in range(12)]
    view.queued = ["queued one", "queued two", "three", "four"]
    view.model, view.facts = "some-model", ("87% context left", "$0.0123")
    view.mode = "acceptEdits"
    return view


@pytest.mark.parametrize("size", [(20, 5), (8, 3), (40, 12), (80, 24), (300, 80)])
def test_live_rows_fit_any_screen_with_the_cursor_in_them(size: tuple[int, int]):
    columns, rows = size
    editor = Editor()
    editor.type("words " * 60)
    shown, cursor = lay_out(full_view(), editor, columns, rows)
    assert len(shown) <= rows
    assert all(line_width(row) <= columns for row in shown)
    assert cursor is not None
    assert cursor[0] < len(shown)
    assert cursor[1] <= columns


def test_what_matters_most_stays_on_a_small_screen():
    shown = [plain(row) for row in lay_out(full_view(), Editor(), 40, 6)[0]]
    assert any("Working" in row for row in shown)
    assert any("queued" not in row and row[1:] == " " for row in shown)


def test_the_status_line_drops_what_does_not_fit():
    wide = plain(lay_out(full_view(), Editor(), 100, 24)[0][-1])
    assert "accept edits on" in wide
    assert wide.endswith("some-model · 87% context left · $0.0123")
    narrow = plain(lay_out(full_view(), Editor(), 44, 24)[0][-1])
    assert "accept edits on" in narrow
    assert "87%" not in narrow


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("/co", ["/compact", "/cost"]),
        ("/why x", None),
        ("see @ma", ["@src/app/main.py"]),
        ("@a", ["@src/a.py", "@README.md", "@src/app/main.py"]),
        ("mail me@x", None),
        ("words", None),
    ],
)
def test_completion(typed: str, offered: list[str] | None):
    found = complete(typed, len(typed), HINTS, FILES)
    assert (found and [offer.text for offer in found.offers]) == offered


class Drawn:
    """A painter on a pseudo-terminal whose bytes a virtual screen reads."""

    def __init__(self, columns: int, rows: int) -> None:
        self.leader, follower = pty.openpty()
        tty.setraw(follower)
        termios.tcsetwinsize(follower, (rows, columns))
        self.terminal = Terminal(follower, follower)
        self.screen = VirtualScreen(columns, rows)
        self.painter = Painter(self.terminal, colour=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.leader)
        os.close(self.terminal.sink)

    def draw(
        self,
        rows: list[Line],
        cursor: tuple[int, int] | None = (0, 0),
        above: list[Line] | None = None,
    ) -> int:
        """Draw; returns how many bytes it took."""
        before = self.terminal.bytes_written
        self.painter.draw(rows, cursor, above)
        count = self.terminal.bytes_written - before
        data = b""
        while len(data) < count:
            data += os.read(self.leader, 65_536)
        self.screen.feed(data.decode())
        return count


def lines(*texts: str) -> list[Line]:
    return [[("", text)] for text in texts]


def test_what_does_not_change_is_not_drawn():
    with Drawn(40, 10) as drawn:
        drawn.draw(lines("one", "two", "three"), (1, 3))
        assert drawn.draw(lines("one", "two", "three"), (1, 3)) == 0
        few = drawn.draw(lines("one", "two!", "three"), (1, 4))
        assert few <= 2
        assert drawn.screen.shown() == ["one", "two!", "three"]
        assert (drawn.screen.row, drawn.screen.column) == (1, 4)


def test_a_change_in_the_midst_of_a_long_row_draws_that_alone():
    with Drawn(80, 10) as drawn:
        drawn.draw(lines("Working (1s · and a long text behind that stays)"), (0, 0))
        assert drawn.draw(lines("Working (2s · and a long text behind that stays)"), (0, 0)) < 12


def test_what_is_finished_goes_above_the_live_rows_in_order():
    with Drawn(20, 6) as drawn:
        drawn.draw(lines("live 1", "live 2"), (1, 6))
        for number in range(10):
            drawn.draw(lines("live 1", "live 2"), (1, 6), lines(f"done {number}"))
        drawn.draw(lines("live"), (0, 4), lines(*(f"more {n}" for n in range(9))))
        done = [f"done {n}" for n in range(10)] + [f"more {n}" for n in range(9)]
        assert drawn.screen.shown() == [*done, "live"]


def test_a_line_wider_than_the_screen_takes_as_many_rows_as_it_needs():
    with Drawn(10, 8) as drawn:
        drawn.draw(lines("live"), (0, 4))
        drawn.draw(lines("live"), (0, 4), lines("a" * 25, "b" * 10))
        assert drawn.screen.shown() == ["a" * 10, "a" * 10, "a" * 5, "b" * 10, "live"]


ROWS = st.lists(st.text(alphabet="ab ", max_size=14).map(str.rstrip), min_size=1, max_size=7)


@given(st.lists(st.tuples(ROWS, st.lists(st.text(alphabet="xyz", max_size=25), max_size=9))))
def test_any_sequence_of_draws_shows_the_last_rows_below_all_that_was_finished(
    draws: list[tuple[list[str], list[str]]],
):
    with Drawn(12, 6) as drawn:
        done: list[str] = []
        for rows, above in draws:
            drawn.draw(lines(*rows), (len(rows) - 1, 0), lines(*above))
            for line in above:
                done += [line[at : at + 12] for at in range(0, len(line), 12)] or [""]
            live = [row if len(row) <= 12 else row[:11] + "…" for row in rows][-6:]
            expected = [*done, *(row.rstrip() for row in live)]
            while expected and not expected[-1]:
                expected.pop()
            assert drawn.screen.shown() == expected


def test_without_colour_bold_and_dim_stay():
    line: Line = [("1;31", "red "), ("32", "green"), ("2", " dim")]
    assert styled(line, colour=False) == "\x1b[0;1mred \x1b[0mgreen\x1b[0;2m dim\x1b[0m"


HOSTILE = "evil\x1b[31mred\nx\u202e\u200by\x07"


def test_a_hostile_name_is_one_line_of_what_can_be_seen():
    """Wherever names of files, folders, models and tools are drawn."""
    action = Action(tool="Read", path=f"/w/{HOSTILE}")
    call = ToolCall("c", HOSTILE, json.dumps({"file_path": HOSTILE, HOSTILE: "x"}))
    rows = [
        *welcome(f"/home/{HOSTILE}", 200),
        *Completion([Offer(f"@{HOSTILE}")], 0).rows(200),
        blocks.headline(HOSTILE, blocks.subject(call, action, "/w"), 200, ""),
        asking.title(Action(tool=HOSTILE)),
        *asking.body(call, action, 200),
    ]
    for menu in (asyncio.run(sessions_menu()), asyncio.run(named_menu())):
        rows += menu.rows(200, 20)[0]
    # The value of an argument keeps its lines, so that a long one can be read.
    assert len(rows) == 2 + 1 + 1 + 1 + 4 + 2 + 2
    for row in rows:
        assert plain(row).isprintable(), plain(row)
        assert not set(plain(row)) & set("\u200b\u202e\n\x1b")


async def sessions_menu() -> Menu:
    return picks.kept_menu((Kept(id="1", title=HOSTILE, time_ns=0),), 0)


async def named_menu() -> Menu:
    return picks.models_menu((HOSTILE,), "")
