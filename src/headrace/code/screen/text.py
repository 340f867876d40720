"""Text on a grid: how wide it is, where it wraps, and lines of styled spans.

A `Line` is a list of spans, each a style (SGR parameters such as `1;31`, empty for none) and
text. Plain Latin text and our own signs are measured here; the tables of `wcwidth` are loaded by
the first text that needs them.
"""

import re
from functools import lru_cache
from itertools import pairwise

Span = tuple[str, str]
Line = list[Span]

_TAB_COLUMNS = 4
# ASCII, Latin letters below the combining marks, and our own signs: box drawing, arrows, dots.
_SIMPLE = re.compile(
    "[ -~\xa1-\xac\xae-\u02ff\u2010-\u2026\u2190-\u2193\u23bf\u23ce"
    "\u23f4-\u23fa\u2400-\u2426\u2500-\u257f\u258c\u25cb\u25cf\u25d0\u2610-\u2612\u2713-\u2717\u2722-\u273d\u276f]*"
)

BOLD, DIM, ITALIC, UNDERLINE, REVERSE = "1", "2", "3", "4", "7"
RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = "31", "32", "33", "34", "35", "36"


def is_simple(text: str) -> bool:
    """Whether each character takes one column for certain."""
    return _SIMPLE.fullmatch(text) is not None


def clusters(text: str) -> list[str]:
    """What a person takes for one character each: letters with their marks, whole emoji."""
    if is_simple(text):
        return list(text)
    from wcwidth import iter_graphemes  # noqa: PLC0415 - 5 MB that Latin text never needs

    return list(iter_graphemes(text))


@lru_cache(maxsize=4096)
def _cluster_width(cluster: str) -> int:
    if is_simple(cluster):
        return 1
    from wcwidth import wcswidth  # noqa: PLC0415 - 5 MB that Latin text never needs

    return max(0, wcswidth(cluster))


def width(text: str) -> int:
    """Columns that `text` takes; it holds neither tabs nor line feeds."""
    if is_simple(text):
        return len(text)
    return sum(map(_cluster_width, clusters(text)))


def expand(text: str) -> str:
    """The text with tabs replaced by spaces."""
    return text.expandtabs(_TAB_COLUMNS)


def clip(text: str, columns: int) -> str:
    """As much of `text` as fits, ending in an ellipsis where something is left out."""
    if width(text) <= columns:
        return text
    if columns <= 1:
        return "…"[:columns]
    taken, used = "", 0
    for cluster in clusters(text):
        used += width(cluster)
        if used > columns - 1:
            break
        taken += cluster
    return taken + "…"


def line_width(line: Line) -> int:
    """Columns that a line takes."""
    return sum(width(text) for _, text in line)


def clip_line(line: Line, columns: int) -> Line:
    """As much of a line as fits."""
    if line_width(line) <= columns:
        return line
    taken: Line = []
    left = columns
    for style, text in line:
        wide = width(text)
        # The last span that fits whole leaves no room for the ellipsis of the next.
        if wide >= left:
            taken.append((style, clip(text, left) if wide > left else clip(text + " ", left)))
            break
        taken.append((style, text))
        left -= wide
    return taken


def plain(line: Line) -> str:
    """A line without its styles."""
    return "".join(text for _, text in line)


def pad(line: Line, columns: int) -> Line:
    """The line with blanks up to `columns`."""
    return [*line, ("", " " * max(0, columns - line_width(line)))]


def wrap(line: Line, columns: int, *, indent: Line | None = None) -> list[Line]:
    """Break a line at blanks so that each row fits; rows after the first begin with `indent`.

    A word longer than a row is broken wherever it must.
    """
    columns = max(1, columns)
    if line_width(line) <= columns:
        return [line]
    hang = indent or []
    hang_columns = line_width(hang)
    if hang_columns >= columns - 1:
        hang, hang_columns = [], 0
    rows: list[Line] = []
    row: Line = []
    used = 0
    for style, word in _words(line):
        wide = width(word)
        if used + wide > columns and word.strip():
            if used > (hang_columns if rows else 0):
                rows.append(_trimmed(row))
                row, used = list(hang), hang_columns
            *whole, last = _pieces(word, columns - used)
            for piece in whole:
                rows.append([*row, (style, piece)])
                row, used = list(hang), hang_columns
            row.append((style, last))
            used += width(last)
        elif used + wide <= columns:
            row.append((style, word))
            used += wide
    rows.append(_trimmed(row))
    return rows


def fold(line: Line, columns: int) -> list[Line]:
    """Break a line wherever a row is full; not a character is left out."""
    rows: list[Line] = [[]]
    used = 0
    for style, text in line:
        first, *rest = _pieces(text, columns, used)
        if first:
            rows[-1].append((style, first))
        rows.extend([(style, piece)] for piece in rest)
        used = line_width(rows[-1])
    return rows


def _words(line: Line) -> list[Span]:
    """The spans cut before and after each run of blanks, and after each wide character."""
    words: list[Span] = []
    for style, text in line:
        marks = [0]
        for index in range(1, len(text)):
            before, after = text[index - 1], text[index]
            if (before == " ") != (after == " ") or (before >= "\u2e80" and after >= "\u2e80"):
                marks.append(index)
        marks.append(len(text))
        words.extend((style, text[start:end]) for start, end in pairwise(marks) if start < end)
    return words


def _pieces(text: str, columns: int, used: int = 0) -> list[str]:
    """A text in pieces that each fit into a row, `used` columns of the first being taken."""
    columns = max(1, columns)
    if used + width(text) <= columns:
        return [text]
    pieces, piece = list[str](), ""
    for cluster in clusters(text):
        wide = width(cluster)
        if used and used + wide > columns:
            pieces.append(piece)
            piece, used = "", 0
        piece += cluster
        used += wide
    return [*pieces, piece]


def _trimmed(row: Line) -> Line:
    """A row without the blanks at its end."""
    trimmed = list(row)
    while trimmed and not trimmed[-1][1].strip() and len(trimmed) > 1:
        trimmed.pop()
    return trimmed


_HIDDEN = {
    **dict.fromkeys(range(0x200B, 0x2010)),
    **dict.fromkeys(range(0x202A, 0x202F)),
    **dict.fromkeys(range(0x2060, 0x2070)),
    **dict.fromkeys(range(0xFE00, 0xFE10)),
    **dict.fromkeys(range(0xE0000, 0xE0080)),
    **dict.fromkeys((0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164)),
    **dict.fromkeys((0xFEFF, 0xFFA0, 0x2028, 0x2029, 0xA0, 0x3000)),
}
_CONTROLS = frozenset((*range(0x20), 0x7F))


def exact(text: str) -> str:
    r"""The text with each character written out that cannot be seen or that misleads.

    Stricter than `agent.terminal.neutral`: nobody must approve what is not shown. Line feeds
    and tabs stay, since what shows them shows them; control characters become `\x1b`, hidden,
    zero-width and direction marks `<U+200B>`, lone surrogates and private ones likewise.
    """
    return "".join(map(_exact, text)) if not (text.isascii() and text.isprintable()) else text


def exact_line(text: str) -> str:
    r"""The same in one line: line feeds become `\n`. For names of files, models and tools."""
    return exact(text).replace("\n", "\\n").replace("\t", "\\t")


def _exact(character: str) -> str:
    code = ord(character)
    if character in "\n\t":
        return character
    if code in _CONTROLS:
        return f"\\x{code:02x}"
    hidden = code in _HIDDEN or not (character.isprintable() or character == " ")
    return f"<U+{code:04X}>" if hidden else character
