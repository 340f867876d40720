"""Replace one passage of a text by another: exactly, else as surely meant, else not at all.

An exact match that is the only one is replaced literally, but for two slips that a literal
replacement would turn into damage: final line feeds of old and new text are made alike, and a
match that begins or ends within a line is refused where the new text repeats the rest of it.

Otherwise the passage is looked for by what its lines say (`lines.key_of`), then once more without
copied line numbers, with its first and last line being parts of lines, with `...` standing for
lines left out, and with a first or last line that is slightly wrong. Each way counts only if
exactly one place fits; the change is then merged into the file's own lines (`merge`).
"""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import islice, pairwise

from headrace.code.edits.lines import Block, Page, folded, indent_of, split, unnumbered
from headrace.code.edits.merge import Span, merge
from headrace.code.edits.nearest import ambiguous, nearest, shown
from headrace.code.edits.results import Applied, Refused, Result

_MATCHES_MAX = 1_000
_REST_MIN = 2
_WORD_CHARS_MIN = 2
_JOINT = 4
_ALIKE_MIN = 0.6
_ELISION = re.compile(r"\s*(?:#|//|--|/\*|<!--|;)?\s*(?:\.\.\.|…)\s*(?:\*/|-->)?\s*")

UNCHANGED = "The edit changes nothing: the file has this text already. Nothing was written."


def apply(text: str, old: str, new: str, *, every: bool = False) -> Result:
    """Replace `old` by `new` in `text`.

    Args:
        text: A file's text, its line ends as they are.
        old: The passage as the model wrote it.
        new: What shall stand there.
        every: Replace all matches instead of refusing when there are several.
    """
    old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    if not old.strip("\n"):
        return Refused("The old text is empty. Name the lines to change, or write the whole file.")
    if old == new:
        return Refused(f"Old and new text are the same. {UNCHANGED}")
    page = Page.of(text)
    flat = text.replace("\r\n", "\n")
    found = list(islice(_places(flat, old), _MATCHES_MAX))
    if found and every:
        return _exact_all(page, text, flat, old, new)
    if len(found) > 1:
        spans = [_lines_of(flat, place, old) for place in found]
        return Refused(ambiguous(page, spans))
    if found:
        result = _exact(page, flat, found[0], old, new)
        if result is not None:
            return _changed(text, result)
    return _changed(text, _tolerant(page, old, new, every=every))


def _changed(text: str, result: Result) -> Result:
    return Refused(UNCHANGED) if isinstance(result, Applied) and result.text == text else result


def _places(flat: str, old: str) -> Iterator[int]:
    at = flat.find(old)
    while at >= 0:
        yield at
        at = flat.find(old, at + 1)


def _lines_of(flat: str, place: int, old: str) -> tuple[int, int]:
    first = flat.count("\n", 0, place)
    return first, first + old.removesuffix("\n").count("\n")


# Exact matches


def _exact(page: Page, flat: str, place: int, old: str, new: str) -> Result | None:
    """The literal replacement; None where the lines have to be looked at more closely."""
    end = place + len(old)
    start_of_line = flat.rfind("\n", 0, place) + 1
    head = flat[start_of_line:place]
    tail = "" if old.endswith("\n") else flat[end:].partition("\n")[0]
    if head and not head.strip() and not _starts_within_indent(old, new):
        return None
    repeated = _repeats(head, tail, old, new)
    if repeated:
        first, last = _lines_of(flat, place, old)
        return Refused(
            f"The old text is only a part of its line, and the new text repeats {repeated} of "
            "that line. Nothing was changed. Give old and new text as whole lines:\n"
            + shown(page, range(first, last + 1))
        )
    if not old.endswith("\n") and new.endswith("\n") and _may_end_blank(old, new):
        return Refused(
            "The new text ends with a line feed, the old text does not: an empty line may be "
            "meant, or none. Nothing was changed. End both texts alike."
        )
    return _spliced(page, *_literal(flat, place, old, new))


def _may_end_blank(old: str, new: str) -> bool:
    """Whether the line that `new` ends with has an empty line behind it in `old`."""
    *_, last = new.rstrip("\n").split("\n")
    olds = old.split("\n")
    return any(a == last and not b.strip() for a, b in pairwise(olds))


def _literal(flat: str, place: int, old: str, new: str) -> tuple[Span, tuple[str, ...]]:
    """The lines that a literal replacement makes, final line feeds made alike."""
    start, end = flat.rfind("\n", 0, place) + 1, place + len(old)
    notes: tuple[str, ...] = ()
    if old.endswith("\n"):
        if new and not new.endswith("\n") and end < len(flat):
            new, notes = new + "\n", ("final line feed kept",)
    elif not flat[start:place].strip() and flat[end : end + 1] in {"", "\n"}:
        if not new:
            place, end = start, min(end + 1, len(flat))
        elif new.endswith("\n"):
            new, notes = new[:-1], ("final line feed kept",)
    made = flat[start:place] + new
    if (made and not made.endswith("\n")) or not flat[:end].endswith("\n"):
        stop = len(flat) if (at := flat.find("\n", end)) < 0 else at + 1
        made, end = made + flat[end:stop], stop
    first = flat.count("\n", 0, start)
    replaced = flat[start:end]
    count = replaced.count("\n") + (not replaced.endswith("\n"))
    bodies = made.removesuffix("\n").split("\n") if made else []
    return Span(first, first + count, bodies), notes


def _starts_within_indent(old: str, new: str) -> bool:
    """Whether a match that begins behind its line's indentation can be taken literally."""
    if not new.strip():
        return True
    if old[0] in " \t" or new[0] in " \t":
        return False
    return "\n" in old.strip("\n") or not any(line.strip() for line in new.split("\n")[1:])


def _repeats(head: str, tail: str, old: str, new: str) -> str:
    """Which end of a line the new text repeats although the old text leaves it out."""
    bare = bool(head) and not head.strip()
    later = [line.strip() for line in old.split("\n")[1:]]
    if bare and new.strip() and new.partition("\n")[0].strip() in later:
        return "another line, without the beginning"
    indent, joint, head = indent_of(head), head.lstrip(), head.strip()
    ending, tail = tail.rstrip(), tail.strip()
    start, end = old.lstrip(), old.rstrip()
    if head and not start.startswith(head):
        joined = new.lstrip().startswith((joint + start[:_JOINT], joint + old[:_JOINT]))
        indented = indent and new.startswith(indent) and not old.startswith(indent)
        if joined or indented or (_words(head) and new.lstrip().startswith(head)):
            return "the beginning"
    if tail and not end.endswith(tail):
        joined = new.rstrip().endswith((end[-_JOINT:] + ending, old[-_JOINT:] + ending))
        if joined or (_words(tail) and new.rstrip().endswith(tail)):
            return "the end"
    return ""


def _words(said: str) -> bool:
    return sum(char.isalnum() for char in said) >= _WORD_CHARS_MIN


def _exact_all(page: Page, text: str, flat: str, old: str, new: str) -> Result:
    changes = flat.count(old)
    ends = set(page.ends) - {""}
    if len(ends) > 1:
        return Refused("The file mixes line ends. Change its places one by one.")
    replaced = flat.replace(old, new)
    if ends == {"\r\n"}:
        replaced = replaced.replace("\n", "\r\n")
    first, last = changed_lines(text, replaced)
    return _changed(text, Applied(text=replaced, first_line=first, last_line=last, changes=changes))


def changed_lines(before: str, after: str) -> tuple[int, int]:
    """First and last line of `after` that differ from `before`, from 1."""
    ours, theirs = split(before)[0], split(after)[0]
    least = min(len(ours), len(theirs))
    head = next((at for at in range(least) if ours[at] != theirs[at]), least)
    tail = next(
        (at for at in range(least - head) if ours[-1 - at] != theirs[-1 - at]), least - head
    )
    return head + 1, len(theirs) - tail


def _spliced(page: Page, span: Span, notes: tuple[str, ...]) -> Applied:
    return Applied(
        text=page.spliced(*span),
        first_line=span.start + 1,
        last_line=span.start + len(span.bodies),
        notes=notes,
    )


# Matches by what the lines say


def _tolerant(page: Page, old: str, new: str, *, every: bool) -> Result:
    plain = (Block.of(old), Block.of(new), "")
    bare = unnumbered(old, new)
    ways: list[tuple[Block, Block, str]] = [plain]
    if bare is not None:
        ways.append((Block.of(bare[0]), Block.of(bare[1]), "copied line numbers"))
    for passage, wanted, note in ways:
        if not passage.lines:
            continue
        found = page.find(passage.keys)
        if every and found:
            return _merged_all(page, found, passage, wanted)
        found = _indented_alike(page, found, passage)
        if found:
            return _merged(page, found, passage, wanted, note)
    passage, wanted, note = ways[-1]
    if passage.lines:
        for way in (_partial, _elided, _nearly):
            result = way(page, passage, wanted, note)
            if result is not None:
                return result
    near = nearest(page, passage)
    return Refused(
        "The old text is not in the file. Nothing was changed. "
        + (near or "No line of the file is like it; read the file again.")
    )


def _indented_alike(page: Page, found: list[int], old: Block) -> list[int]:
    """Of several places the one that is indented as `old` is, where `old` is indented at all."""
    if len(found) < 2 or not all(map(indent_of, old.lines)):  # noqa: PLR2004 - several
        return found
    indents = [indent_of(line) for line in old.lines]
    alike = [
        at
        for at in found
        if [indent_of(page.bodies[p]) for p in page.places[at : at + len(indents)]] == indents
    ]
    return alike if len(alike) == 1 else found


def _merged(
    page: Page, found: list[int], old: Block, new: Block, note: str, *, first_fixed: bool = False
) -> Result:
    """The change at the one place found."""
    if len(found) > 1:
        length = len(old.lines) - 1
        return Refused(ambiguous(page, [(page.places[a], page.places[a + length]) for a in found]))
    at = found[0]
    places = page.places[at : at + len(old.lines)]
    span = merge(page, at, old, new, first_fixed=first_fixed)
    if isinstance(span, str):
        return Refused(
            f"Lines {places[0] + 1}-{places[-1] + 1} are nearly the old text, but {span}. Nothing "
            f"was changed. Copy them exactly:\n{shown(page, range(places[0], places[-1] + 1))}"
        )
    return _spliced(page, span, (note or "spaces, indentation or quotes",))


def _merged_all(page: Page, found: list[int], old: Block, new: Block) -> Result:
    if any(b - a < len(old.lines) for a, b in pairwise(found)):
        return Refused("The matches of the old text overlap. Change them one by one.")
    text, first = "", 0
    last = 0
    for at in reversed(found):
        result = _merged(page, [at], old, new, "")
        if isinstance(result, Refused):
            return result
        text, first, last = result.text, result.first_line, max(last, result.last_line)
        page = Page.of(text)
    return Applied(text=text, first_line=first, last_line=last, changes=len(found))


def _partial(page: Page, old: Block, new: Block, note: str) -> Result | None:
    """First and last line of old text are the end and the beginning of lines of the file."""
    keys, length = old.keys, len(old.keys)
    if length == 1:
        found = [at for at, key in enumerate(page.keys) if keys[0] in key]
    else:
        found = [
            at
            for at in range(len(page.keys) - length + 1)
            if page.keys[at].endswith(keys[0])
            and page.keys[at + length - 1].startswith(keys[-1])
            and page.keys[at + 1 : at + length - 1] == keys[1:-1]
        ]
    if len(found) != 1:
        return None if not found else _merged(page, found, old, new, note)
    first, last = (page.bodies[page.places[found[0] + i]] for i in (0, length - 1))
    head, tail = _rests(first, last, keys, single=length == 1)
    if head is None or tail is None or not new.lines:
        return None
    whole = _completed(old, new, head, tail)
    if whole is None:
        return None
    return _merged(page, found, *whole, note or "parts of lines", first_fixed=bool(head.strip()))


def _rests(
    first: str, last: str, keys: list[str], *, single: bool
) -> tuple[str | None, str | None]:
    """What the file has before the first key and behind the last one; None where it is unsure."""
    key, places = folded(first)
    at = key.find(keys[0]) if single else len(key) - len(keys[0])
    if single and key.find(keys[0], at + 1) >= 0:
        return None, None
    head = first[: places[at]]
    key, places = folded(last)
    end = at + len(keys[0]) if single else len(keys[-1])
    return head, last[places[end] :].rstrip() if end < len(key) else ""


def _completed(old: Block, new: Block, head: str, tail: str) -> tuple[Block, Block] | None:
    """Both blocks with the rest of the file's lines put to their first and last ones."""
    for rest in (head.strip(), tail.strip()):
        if rest and not _words(rest) and _touches(new, rest):
            return None
    if head.strip():
        old = old.with_line(0, head + old.lines[0].lstrip())
        has = new.lines[0].lstrip().startswith(head.strip())
        line = new.lines[0].lstrip()
        new = new.with_line(0, indent_of(head) + line if has else head + line)
    if tail.strip():
        old = old.with_line(-1, old.lines[-1].rstrip() + tail)
        if not new.lines[-1].rstrip().endswith(tail.strip()):
            new = new.with_line(-1, new.lines[-1].rstrip() + tail)
    return old, new


def _touches(new: Block, rest: str) -> bool:
    return new.lines[0].lstrip().startswith(rest) or new.lines[-1].rstrip().endswith(rest)


def _elided(page: Page, old: Block, new: Block, note: str) -> Result | None:
    """`...` stands for lines left out, in old and new text alike; each part fits one place."""
    olds, news = _parts(old), _parts(new)
    if len(olds) < 2 or len(olds) != len(news) or not all(part.lines for part in olds):  # noqa: PLR2004 - several
        return None
    found = [page.find(part.keys) for part in olds]
    if any(len(places) != 1 for places in found):
        return None
    starts = [places[0] for places in found]
    stops = [at + len(part.lines) for at, part in zip(starts, olds, strict=True)]
    if any(stop > start for stop, start in zip(stops, starts[1:], strict=False)):
        return None
    result: Result | None = None
    for at, ours, theirs in reversed(list(zip(starts, olds, news, strict=True))):
        if ours.lines == theirs.lines:
            continue
        result = _merged(page, [at], ours, theirs, note or "lines left out")
        if isinstance(result, Refused):
            return result
        page = Page.of(result.text)
    return result or Refused(UNCHANGED)


def _parts(block: Block) -> list[Block]:
    parts = [Block([], [], [0])]
    for index, (line, key) in enumerate(zip(block.lines, block.keys, strict=True)):
        if _ELISION.fullmatch(line):
            parts.append(Block([], [], [0]))
        else:
            part = parts[-1]
            if part.lines:
                part.gaps[-1] = block.gaps[index]
            part.lines.append(line)
            part.keys.append(key)
            part.gaps.append(0)
    return parts


def _nearly(page: Page, old: Block, new: Block, note: str) -> Result | None:
    """All but the first or the last line fit one place, and that line is close to the file's."""
    if len(old.lines) <= _REST_MIN:
        return None
    for index in (0, len(old.lines) - 1):
        rest = old.keys[1:] if index == 0 else old.keys[:-1]
        found = page.find(rest)
        if len(found) != 1:
            continue
        at = found[0] - 1 if index == 0 else found[0]
        wrong = at if index == 0 else at + index
        if not 0 <= wrong < len(page.keys):
            continue
        key, said = page.keys[wrong], old.keys[index]
        if SequenceMatcher(None, key, said, autojunk=False).ratio() < _ALIKE_MIN:
            continue
        right = page.bodies[page.places[wrong]].strip()
        passage = old.with_line(index, indent_of(old.lines[index]) + right)
        wanted = _righted(old, new, index, right, key)
        if wanted is not None:
            return _merged(page, [at], passage, wanted, note or "first or last line")
    return None


def _righted(old: Block, new: Block, index: int, right: str, key: str) -> Block | None:
    """The new text with the file's line where it repeats the wrong one.

    None where it says a third thing there, of which nobody knows what is meant.
    """
    if not new.lines:
        return None
    at = 0 if index == 0 else len(new.lines) - 1
    if new.keys[at] == key:
        return new
    if new.keys[at] != old.keys[index]:
        return None
    return new.with_line(at, indent_of(new.lines[at]) + right)
