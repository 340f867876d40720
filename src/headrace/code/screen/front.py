"""Front: the first paint, and typing before anything else is loaded.

It owns terminal, keys, words and painter, and hands them to the `Screen`. Standard library only.
"""

import select

from headrace.code.screen.editor import Editor
from headrace.code.screen.history import History
from headrace.code.screen.keys import Decoder, Key
from headrace.code.screen.layout import View, lay_out
from headrace.code.screen.paint import Painter
from headrace.code.screen.terminal import Terminal, wants_colour
from headrace.code.screen.text import BOLD, CYAN, DIM, Line, clip, exact_line


class Front:
    """What stands on the terminal from the first moment."""

    def __init__(self, terminal: Terminal | None = None) -> None:
        self.terminal = terminal or Terminal()
        self.painter = Painter(self.terminal, colour=wants_colour())
        self.decoder = Decoder()
        self.editor = Editor()
        self.history = History()
        self.view = View()
        # Keys that mean more than editing wait for the screen.
        self.kept: list[Key] = []

    def open(self, workspace: str) -> None:
        """Take the terminal over and paint for the first time.

        Raises:
            InvalidRequest: There is no terminal.
        """
        self.terminal.open()
        self.paint(welcome(workspace, self.terminal.size()[0]))

    def paint(self, above: list[Line] | None = None) -> None:
        """Draw what has changed."""
        rows, cursor = lay_out(self.view, self.editor, *self.terminal.size())
        self.painter.draw(rows, cursor, above)

    def pump(self) -> None:
        """Show what was typed meanwhile; to be called between long imports."""
        while select.select([self.terminal.source], [], [], 0)[0]:
            data = self.terminal.read()
            if not data:
                break
            for key in self.decoder.feed(data):
                self._press(key)
        self.paint()

    def close(self) -> None:
        """Leave the terminal as it was, the cursor below all that was said."""
        if self.terminal.is_open:
            self.painter.erase()
        self.terminal.close()

    def _press(self, key: Key) -> None:
        if self.kept:
            self.kept.append(key)
        elif key.name == "text":
            self.editor.type(key.text)
        elif key.name == "paste":
            self.editor.paste(key.text)
        elif not self.editor.text or not self.editor.press(key.name):
            self.kept.append(key)


def welcome(workspace: str, columns: int) -> list[Line]:
    """What stands first: who speaks, and the folder."""
    return [
        [(CYAN, "▌ "), (BOLD, "headrace code")],
        [(CYAN, "▌ "), (DIM, clip(exact_line(workspace), columns - 2))],
    ]
