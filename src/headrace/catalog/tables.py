"""Plain text for people: sizes, tables, progress."""

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.catalog.fetching import Progress

_STEP_PERCENT = 10
_BAR_COLUMNS_MAX = 100


def size(count: int) -> str:
    """Bytes in decimal units: `98 MB`, `1.1 GB`."""
    if count < 10**9:
        return f"{max(1, round(count / 10**6))} MB"
    return f"{count / 10**9:.1f} GB"


def rate(tokens_per_s: float) -> str:
    """A speed, as exactly as it is known: `0.8`, `7.4`, `120`."""
    return f"{tokens_per_s:.1f}" if tokens_per_s < 10 else f"{tokens_per_s:.0f}"  # noqa: PLR2004 - two digits


def plain(text: str) -> str:
    """Text from a file or an index, with everything a terminal would act on made visible."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns set apart by two spaces; no lines, so that it can be cut and grepped."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def show_progress() -> "Progress":
    """Progress on standard error: a bar on a terminal, else a line for each tenth."""
    return _Bar() if sys.stderr.isatty() else _Lines()


class _Lines:
    """For logs: one line per step, and one per tenth of a download."""

    def __init__(self) -> None:
        self._what = ""
        self._percent = 0

    def __call__(self, done_bytes: int, total_bytes: int | None, what: str) -> None:
        if what != self._what:
            self._what, self._percent = what, 0
            _say(what if total_bytes is None else f"{what} {size(total_bytes)}")
        if total_bytes and what == "downloading":
            percent = 100 * done_bytes // total_bytes // _STEP_PERCENT * _STEP_PERCENT
            if percent > self._percent:
                self._percent = percent
                _say(f"{what} {percent:3d} %  {size(done_bytes)} of {size(total_bytes)}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the command's own output


class _Bar:
    """One tqdm bar per step."""

    def __init__(self) -> None:
        self._what = ""
        self._bar: Any = None

    def __call__(self, done_bytes: int, total_bytes: int | None, what: str) -> None:
        if what != self._what:
            self._begin(total_bytes, what)
        self._bar.total = total_bytes
        self._bar.update(done_bytes - self._bar.n)
        if total_bytes is not None and done_bytes >= total_bytes:
            self._bar.refresh()
            self._bar.close()

    def _begin(self, total_bytes: int | None, what: str) -> None:
        from tqdm import tqdm  # noqa: PLC0415 - only when something is fetched on a terminal

        if self._bar is not None:
            self._bar.close()
        self._what = what
        # Taken here, because tqdm shows nothing on terminals that say they have no lines.
        columns, lines = shutil.get_terminal_size()
        self._bar = tqdm(
            total=total_bytes,
            desc=what,
            unit="B",
            unit_scale=True,
            ncols=min(_BAR_COLUMNS_MAX, columns),
            nrows=lines,
        )
