"""Live: what goes on now. Takes progress, keeps the view, gives lines for the scrollback."""

from collections.abc import Callable

from headrace.agent import progress as told
from headrace.agent.entries import Answered, Body, Broke, Compacted, Entry, Said, Turned, Used
from headrace.agent.terminal import neutral
from headrace.agent.tools import Todos
from headrace.code.screen import blocks
from headrace.code.screen.layout import View
from headrace.code.screen.markdown import Markdown
from headrace.code.screen.text import (
    BOLD,
    CYAN,
    DIM,
    ITALIC,
    RED,
    YELLOW,
    Line,
    clip,
    exact_line,
    plain,
    wrap,
)
from headrace.core.messages import Text, Thinking, ToolCall
from headrace.core.money import NanoDollars, format_usd
from headrace.safety.actions import Action

_SIGNS = "·✢✳✶✻✽✻✶✳✢"
_OUTPUT_LINES = 4
_OUTPUT_CHARACTERS = 4_000
_THINKING_ROWS = 3
_FOLDED_MAX = 50
_CHARACTERS_PER_TOKEN = 4  # where no count comes with the answer
_SECONDS_SHOWN_MAX = 60
_ENDS = {
    "interrupted": ("interrupted; say what to do instead", YELLOW),
    "max_turns": ("stopped: the limit on model calls was reached", YELLOW),
    "budget": ("stopped: the next call could go over the budget", YELLOW),
    "repeated": ("stopped: the model repeats the same call", YELLOW),
    "truncated": ("stopped: the answer never came whole", RED),
    "context_full": ("stopped: the context is full; /compact makes room", RED),
    "failed": ("failed", RED),
}


class Live:
    """The running turn.

    Args:
        view: Whose parts it keeps: tail, output, spinner, tasks, queue.
        columns: The width to draw for, asked anew for each line.
        now_s: A monotonic clock.
    """

    def __init__(self, view: View, columns: Callable[[], int], now_s: Callable[[], float]) -> None:
        self.workspace = ""
        self.working = False
        self.folded: list[list[Line]] = []
        self._view = view
        self._columns = columns
        self._now_s = now_s
        self._begun_s = 0.0
        self._verb = ""
        self._sign = 0
        self._tokens_in = 0
        self._tokens_out = 0
        self._answer_tokens = 0
        self._cost_nano = 0
        self._markdown: Markdown | None = None
        self._spoke = False
        self._thinking: list[str] = []
        self._thought_s: float | None = None
        self._streamed = False
        self._calls: dict[str, tuple[ToolCall, Action | None]] = {}
        self._output = ""
        self._headline: list[Line] = []
        self._items: Todos | None = None

    def begin(self) -> None:
        """A turn begins."""
        self.working = True
        self._begun_s = self._now_s()
        self._verb = "Working"
        self._tokens_in = self._tokens_out = self._answer_tokens = self._cost_nano = 0
        self.tick()

    def end(self) -> list[Line]:
        """The turn has ended, however; what was left of it goes up."""
        lines = self._finish_answer()
        self.working = False
        view = self._view
        view.spinner, view.output, view.tail = [], [], []
        self._output, self._headline = "", []
        if self._items and all(item.state == "completed" for item in self._items.items):
            view.todos, self._items = [], None
        return lines

    def tick(self) -> None:
        """Let the spinner tell the time."""
        if not self.working:
            return
        self._sign = (self._sign + 1) % len(_SIGNS)
        facts = [_seconds(self._now_s() - self._begun_s)]
        out = self._tokens_out + self._answer_tokens
        if self._tokens_in:
            facts.append(f"↑ {self._tokens_in:,} tokens")
        if out:
            facts.append(f"↓ {out:,}" + ("" if self._tokens_in else " tokens"))
        facts.append("esc to interrupt")
        room = self._columns() - len(self._verb) - 8
        self._view.spinner = [
            (CYAN, f"{_SIGNS[self._sign]} "),
            (BOLD, f"{self._verb}… "),
            (DIM, f"({clip(' · '.join(facts), room)})"),
        ]

    def hear(self, progress: told.Progress) -> list[Line]:
        """Take one progress in; returns what is finished with it."""
        if isinstance(progress, told.Partial):
            return self._partial(progress)
        if isinstance(progress, told.Logged):
            return self._logged(progress.entry.body)
        if isinstance(progress, told.Noticed):
            return blocks.notice(progress.text, progress.level, self._columns())
        if isinstance(progress, told.Retrying):
            return self._retrying(progress)
        self._activity(progress)
        return []

    # What passes by

    def _activity(self, progress: told.Asking | told.Running | told.Printed) -> None:
        if isinstance(progress, told.Asking):
            self._tokens_in += progress.new_tokens
            self._streamed = False
            expected = progress.prefill_s
            self._verb = "Reading" + (f", about {expected:.0f} s" if expected else "")
        elif isinstance(progress, told.Running):
            self._calls[progress.call.id] = (progress.call, progress.action)
            self._output = ""
            self._verb = f"Running {exact_line(progress.call.name)}"
            about = blocks.subject(progress.call, progress.action, self.workspace)
            name = progress.call.name
            self._headline = [blocks.headline(name, about, self._columns(), DIM)]
            self._view.output = list(self._headline)
        else:
            self.printed(progress.text)
        self.tick()

    def printed(self, text: str) -> None:
        """New output of what runs: its last lines are shown."""
        self._output = (self._output + text)[-_OUTPUT_CHARACTERS:]
        lines = blocks.output_lines(self._output)[-_OUTPUT_LINES:]
        shown: list[Line] = [[(DIM, clip(plain(line), self._columns()))] for line in lines]
        self._view.output = [*self._headline, *shown]

    def resized(self) -> None:
        """What is still being written takes the new width."""
        if self._markdown is not None:
            self._markdown.columns = self._columns() - 2
            self._view.tail = self._marked(self._markdown.tail(), keep=False)
        self.tick()

    def _partial(self, progress: told.Partial) -> list[Line]:
        part = progress.delta.part
        self._streamed = True
        self._count(progress)
        if isinstance(part, Thinking):
            return self._think(part.text)
        lines = self._thought()
        if isinstance(part, Text):
            self._verb = "Writing"
            return lines + self._write(part.text)
        if part.name:
            self._verb = f"Calling {exact_line(part.name)}"
            self.tick()
        return lines

    def _count(self, progress: told.Partial) -> None:
        part = progress.delta.part
        size = len(part.arguments if isinstance(part, ToolCall) else part.text)
        guess = self._answer_tokens + max(1, size // _CHARACTERS_PER_TOKEN)
        self._answer_tokens = progress.delta.output_tokens or guess

    def _think(self, text: str) -> list[Line]:
        if self._thought_s is None:
            self._thought_s = self._now_s()
            self._verb = "Thinking"
        self._thinking.append(neutral(text))
        recent = "".join(self._thinking[-200:]).rsplit("\n\n", 1)[-1]
        words = " ".join(recent.split())
        rows = wrap([("", "  "), (f"{DIM};{ITALIC}", words)], self._columns() - 1)
        self._view.tail = rows[-_THINKING_ROWS:]
        return []

    def _thought(self) -> list[Line]:
        """The line that stands for reasoning once it is over."""
        if self._thought_s is None:
            return []
        took = _seconds(self._now_s() - self._thought_s)
        text = "".join(self._thinking).strip()
        whole: list[Line] = [
            row
            for line in text.split("\n")
            for row in wrap([("", "  "), (DIM, line)], self._columns() - 1)
        ]
        self.fold([[(DIM, "∴ thoughts")], *whole])
        self._thinking, self._thought_s = [], None
        self._view.tail = []
        return [[], [(DIM, f"∴ thought for {took} (ctrl+o)")]]

    def _write(self, text: str) -> list[Line]:
        if self._markdown is None:
            self._markdown = Markdown(self._columns() - 2)
            self._spoke = False
        done = self._marked(self._markdown.feed(text))
        self._view.tail = self._marked(self._markdown.tail(), keep=False)
        return done

    def _marked(self, lines: list[Line], *, keep: bool = True) -> list[Line]:
        """An answer's lines: a dot before the first, the others below it."""
        marked: list[Line] = []
        spoke = self._spoke
        for line in lines:
            if not spoke:
                marked += [[], [("", "● "), *line]]
                spoke = True
            else:
                marked.append([("", "  "), *line] if line else [])
        if keep:
            self._spoke = spoke
        return marked

    def _finish_answer(self) -> list[Line]:
        lines = self._thought()
        if self._markdown is not None:
            lines += self._marked(self._markdown.finish())
            self._markdown = None
        self._view.tail = []
        return lines

    def _retrying(self, progress: told.Retrying) -> list[Line]:
        self._answer_tokens = 0
        wait = f"{progress.after_s:.0f} s"
        self._verb = f"Waiting {wait} to try again"
        self.tick()
        lost = "; what had come of the answer does not count" if self._streamed else ""
        text = f"{progress.why}{lost}; trying again in {wait}"
        return self._finish_answer() + blocks.notice(text, "warning", self._columns())

    # What stands in the log

    def _logged(self, body: Body) -> list[Line]:
        if isinstance(body, Said):
            return self._said(body)
        if isinstance(body, Answered):
            return self._answered(body)
        if isinstance(body, Used):
            return self._used(body)
        if isinstance(body, Turned):
            return self._turned(body)
        if isinstance(body, Broke):
            self._answer_tokens = 0
            # Why it broke is told with the next try, or with the end of the turn.
            return self._finish_answer()
        compacted = isinstance(body, Compacted)
        return self._told("compacted; /compact show tells to what", "info") if compacted else []

    def _told(self, text: str, level: str) -> list[Line]:
        return blocks.notice(text, level, self._columns())

    def _said(self, body: Said) -> list[Line]:
        words = body.message.text()
        if body.origin != "user":
            return blocks.notice(words[:400], "info", self._columns())
        if words in self._view.queued:
            self._view.queued.remove(words)
        shown = blocks.said(words, self._columns())
        if shown.folded:
            self.fold(shown.folded)
        return self._finish_answer() + shown.lines

    def _answered(self, body: Answered) -> list[Line]:
        lines: list[Line] = []
        if not self._streamed:
            lines = self._write(body.message.text())
        lines += self._finish_answer()
        self._streamed = False
        for part in body.message.parts:
            if isinstance(part, ToolCall):
                self._calls.setdefault(part.id, (part, None))
        self._tokens_out += body.usage.output or self._answer_tokens
        self._answer_tokens = 0
        self._cost_nano += body.cost_nano or 0
        return lines

    def _used(self, body: Used) -> list[Line]:
        call, action = self._calls.pop(body.result.call_id, (None, None))
        about = blocks.subject(call, action, self.workspace) if call else ""
        self._view.output, self._output, self._headline = [], "", []
        self._verb = "Working"
        if isinstance(body.detail, Todos):
            self._items = body.detail
            self._view.todos = blocks.todos(body.detail, self._columns())
        shown = blocks.used(body, call, about, self._columns())
        if shown.folded:
            self.fold(shown.folded)
        return shown.lines

    def _turned(self, body: Turned) -> list[Line]:
        if body.why == "done":
            spent = f" · {format_usd(NanoDollars(self._cost_nano))}" if self._cost_nano else ""
            took = self._now_s() - self._begun_s
            if not self.working or took < _SECONDS_SHOWN_MAX:
                return []
            return [[], [(DIM, f"✻ {_seconds(took)} · {self._tokens_out:,} tokens{spent}")]]
        text, style = _ENDS.get(body.why, (body.why, RED))
        why = f": {neutral(body.text)}" if body.text and body.why != "interrupted" else ""
        lead: Line = [(DIM, "  ⎿  "), (style, text + why)]
        return self._finish_answer() + wrap(lead, self._columns(), indent=[("", "     ")])

    def fold(self, lines: list[Line]) -> None:
        """Keep what ctrl+o shows."""
        self.folded.append(lines)
        del self.folded[:-_FOLDED_MAX]


def is_cut_off(branch: tuple[Entry, ...]) -> bool:
    """Whether the last turn never came to its end: a crash, a kill, a power cut."""
    for entry in reversed(branch):
        body = entry.body
        if isinstance(body, Turned):
            return False
        if isinstance(body, Answered | Used | Broke) or _is_spoken(body):
            return True
    return False


def _is_spoken(body: Body) -> bool:
    return isinstance(body, Said) and body.origin == "user"


def _seconds(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m {whole % 60:02}s"  # noqa: PLR2004 - a minute
