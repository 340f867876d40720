"""A change of lines carried over to the file's own lines, which differ from them in noise alone.

The model's old text is the base, its new text one descendant, the file the other: what the model
left alone stays byte for byte as the file has it, what it changed takes the file's indentation,
quotes and line ends. Wherever that has more than one reading, there is no result.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from headrace.code.edits.indents import Shift, Style, shift_of, style_of
from headrace.code.edits.lines import TYPOGRAPHIC, Block, Page, folded, indent_of, unit_of

_QUOTE_PAIRS = ({"\u201c", "\u201d"}, {"\u2018", "\u2019"})
_OPENERS = (":", "{", "(", "[", " then", " do", "=>")

Unsure = str
"""Why there is no single reading, in words for the model."""


class Span(NamedTuple):
    """The lines of the file that become `bodies`."""

    start: int
    stop: int
    bodies: list[str]


class _Line(NamedTuple):
    """A line of the result: as the file has it (`at` says which of `old`), or a new one."""

    body: str
    at: int | None
    kept: bool


def merge(
    page: Page, at: int, old: Block, new: Block, *, first_fixed: bool = False
) -> Span | Unsure:
    """What becomes of the lines of the file that `old` stands for.

    Args:
        page: The file.
        at: Index into `page.places` of the line that the first one of `old` stands for.
        old: The passage; each key is that of its line of the file.
        new: What shall stand there.
        first_fixed: The first lines have the file's indentation already.
    """
    places = page.places[at : at + len(old.lines)]
    file = [page.bodies[place] for place in places]
    columns = _columns(page, file, old, new, first_fixed=first_fixed)
    if isinstance(columns, str):
        return columns
    lines = _lines(file, old, new, columns)
    if isinstance(lines, str):
        return lines
    return _with_gaps(page, places, old, new, lines)


class _Columns(NamedTuple):
    """Columns of each line of the passage, of the new text, and where a new line goes."""

    style: Style
    old: list[int]
    new: list[int]
    file: list[int]
    shift: Shift


def _columns(
    page: Page, file: list[str], old: Block, new: Block, *, first_fixed: bool
) -> _Columns | Unsure:
    style = style_of(page.bodies, [*old.lines, *new.lines])
    olds, news, files = (
        [style.columns(indent_of(line)) for line in lines] for lines in (old.lines, new.lines, file)
    )
    step = unit_of([indent_of(line) for line in (*old.lines, *new.lines)])
    points = list(zip(olds, files, strict=True))
    if first_fixed and len(points) > 1:
        shift = shift_of(points[1:], style.unit, step)
    else:
        shift = shift_of(points, style.unit, step)
    if shift is None and len(points) > 1:
        # The first line is often copied without its indentation, the rest with it.
        rest = shift_of(points[1:], style.unit, step)
        if rest is not None and olds[0] < files[0] and all(o == f for o, f in points[1:]):
            if news and news[0] == olds[0]:
                news[0] = files[0]
            olds[0] = files[0]
            shift = rest
    if shift is None:
        return _Columns(style, olds, news, files, _unknown)
    if all(shift(column) == column for column in (*olds, *news)):
        return _Columns(style, olds, news, files, shift)
    return _reading(_Columns(style, olds, news, files, shift), old, new, fixed=int(first_fixed))


def _unknown(_column: int) -> None:
    """Nothing tells where such a column goes."""


def _same(column: int) -> int:
    return column


def _first_bare(columns: _Columns, new: Block) -> _Columns | Unsure | None:
    """For one line of old text without its indentation: is the new text's first one so, too?

    None where it cannot be: the lines after it stand further left than the file's line.
    """
    first, *rest = columns.new
    top = columns.file[0]
    if len(columns.old) > 1 or not rest or first != columns.old[0] or min(rest) < top:
        return None
    opens = new.lines[0].rstrip().endswith(_OPENERS)
    all_moved = (rest[0] > first) == opens
    first_moved = (rest[0] > top) == opens
    if first_moved and not all_moved:
        return columns._replace(new=[top, *rest], old=[top], shift=_same)
    if all_moved and not first_moved:
        return None
    return "the indentation of the new text can be read in two ways"


def _reading(columns: _Columns, old: Block, new: Block, *, fixed: int) -> _Columns | Unsure:
    """Whether the new text is indented like the old one, or like the file already."""
    bare = None if fixed else _first_bare(columns, new)
    if bare is not None:
        return bare
    shifted = [columns.shift(column) for column in columns.new]
    as_file = columns._replace(old=columns.file, shift=_same)
    news, olds, files = columns.new[fixed:], columns.old[fixed:], columns.file[fixed:]
    if not news or olds == files:
        return columns
    moved = [column for column in shifted[fixed:] if column is not None]
    top = min(files)
    shifted_fits = len(moved) == len(news) and min(moved) == top
    votes = [
        (new_column == old_column, new_column == file_column)
        for old_key, old_column, file_column in zip(
            old.keys, columns.old, columns.file, strict=True
        )
        for new_key, new_column in zip(new.keys, columns.new, strict=True)
        if old_key == new_key and old_column != file_column
    ]
    like_old = any(old_vote for old_vote, _ in votes)
    like_file = any(file_vote for _, file_vote in votes)
    if shifted_fits != (min(news) == top):
        # Lines that kept the old text's columns do not stand where the file has them already.
        if shifted_fits or like_file or not like_old:
            return columns if shifted_fits else as_file
    elif like_old != like_file:
        return columns if like_old else as_file
    return "the indentation of the new text fits neither the old text nor the file surely"


def _lines(file: list[str], old: Block, new: Block, columns: _Columns) -> list[_Line] | Unsure:
    """The lines of the result that say something."""
    base = list(zip(columns.old, old.keys, strict=True))
    wanted = list(zip(columns.new, new.keys, strict=True))
    mend = _Mend(old.lines, file)
    lines: list[_Line] = []
    for tag, i, i_end, j, j_end in SequenceMatcher(None, base, wanted, False).get_opcodes():  # noqa: FBT003 - its fixed signature
        if tag == "equal":
            lines += [_Line(file[at], at, kept=True) for at in range(i, i_end)]
            continue
        paired = i_end - i == j_end - j
        for index in range(j, j_end):
            pair = i + index - j if paired else None
            target = columns.shift(columns.new[index])
            if pair is not None and columns.old[pair] == columns.new[index]:
                target = columns.file[pair]
            if target is None or target < 0:
                return "the lines of old text are indented differently from those of the file"
            said = mend.line(new.lines[index], pair)
            if said is None:
                return "the quotes or dashes of old text are not those of the file"
            indent = columns.style.indent(target)
            if pair is not None and columns.style.columns(indent_of(file[pair])) == target:
                indent = indent_of(file[pair])
            lines.append(_Line(indent + said, pair, kept=False))
    return lines


class _Mend:
    """Gives changed lines the file's own quotes, dashes and trailing space."""

    def __init__(self, old: Sequence[str], file: Sequence[str]) -> None:
        self._old, self._file = old, file
        self._chars: dict[str, set[str]] = {}
        for ours, theirs in zip(old, file, strict=True):
            (_, at), (_, there) = folded(ours), folded(theirs)
            for i, j in zip(at[:-1], there[:-1], strict=True):
                if ours[i] in TYPOGRAPHIC:
                    self._chars.setdefault(ours[i], set()).add(theirs[j])
        self._trails = any(len(a) != len(a.rstrip()) for a in old)

    def line(self, new: str, pair: int | None) -> str | None:
        """What a new line says, in the file's characters; `pair` is the old line it replaces."""
        said = new.strip()
        if pair is None:
            return self._plain(said if self._trails else new.lstrip())
        old, file = self._old[pair], self._file[pair]
        trail = _trail(file) if _trail(new) == _trail(old) else "" if self._trails else _trail(new)
        if old.strip() == file.strip():
            return said + trail
        return self._spliced(old, file, new, trail)

    def _spliced(self, old: str, file: str, new: str, trail: str) -> str | None:
        """The file's line, but for what differs between the old line and the new one."""
        (key, _), (there, places), (wanted, ats) = folded(old), folded(file), folded(new)
        least = min(len(key), len(wanted))
        head = next((at for at in range(least) if key[at] != wanted[at]), least)
        tail = next(
            (at for at in range(least - head) if key[-1 - at] != wanted[-1 - at]), least - head
        )
        middle = self._plain(new[ats[head] : ats[len(wanted) - tail]])
        if middle is None:
            return None
        start = places[0]
        return (
            file[start : places[head]] + middle + file[places[len(there) - tail] :].rstrip() + trail
        )

    def _plain(self, said: str) -> str | None:
        out: list[str] = []
        for at, char in enumerate(said):
            meant = self._chars.get(char, {char})
            if len(meant) == 1:
                out.extend(meant)
            elif meant in _QUOTE_PAIRS:
                opens = at == 0 or said[at - 1] in " ([{\t"
                out.append(min(meant) if opens else max(meant))
            else:
                return None
        return "".join(out)


def _trail(body: str) -> str:
    return body[len(body.rstrip()) :]


def _with_gaps(
    page: Page, places: list[int], old: Block, new: Block, lines: list[_Line]
) -> Span | Unsure:
    """The span with its blank lines: the file's where the model left them alone."""
    start, stop = places[0], places[-1] + 1
    bodies: list[str] = []
    kept_gaps: set[int] = set()
    for index, line in enumerate(lines):
        before = lines[index - 1].at if index else None
        if index and line.at is not None and before == line.at - 1:
            kept_gaps.add(line.at)
            if new.gaps[index] == old.gaps[line.at]:
                bodies += page.bodies[places[line.at - 1] + 1 : places[line.at]]
            else:
                bodies += [""] * new.gaps[index]
        elif index:
            bodies += [""] * new.gaps[index]
        bodies.append(line.body)
    for gap in set(range(1, len(places))) - kept_gaps:
        there = places[gap] - places[gap - 1] - 1
        if there != old.gaps[gap] and there > old.gaps[gap]:
            return f"an empty line before line {places[gap] + 1} of the file is missing in old text"
    if lines:
        lead, trail = new.gaps[0] - old.gaps[0], new.gaps[-1] - old.gaps[-1]
    else:
        lead, trail = -old.gaps[0], new.gaps[0] - old.gaps[-1]
    while lead < 0 and start and not page.bodies[start - 1].strip():
        start, lead = start - 1, lead + 1
    while trail < 0 and stop < len(page.bodies) and not page.bodies[stop].strip():
        stop, trail = stop + 1, trail + 1
    return Span(start, stop, [""] * max(lead, 0) + bodies + [""] * max(trail, 0))
