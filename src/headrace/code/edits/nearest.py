"""What stands in a file nearest to a text that does not: so that a refusal helps."""

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

from headrace.code.edits.lines import Block, Page

_LINES_SHOWN = 8
_COLUMNS_SHOWN = 160
_LINES_COMPARED = 4_000
_PLACES_SHOWN = 5
_LIKE_MIN = 0.5


def nearest(page: Page, old: Block) -> str:
    """The file's lines nearest to `old`, numbered, and the first that differs; "" if none is."""
    at = _best(page, old)
    if at is None:
        return ""
    keys = page.keys[at : at + len(old.keys)]
    pairs = zip(old.keys, keys, strict=False)
    off = next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), None)
    start = max(0, min(off or 0, len(keys) - _LINES_SHOWN)) if off and off >= _LINES_SHOWN else 0
    places = page.places[at + start : at + min(len(keys), start + _LINES_SHOWN)]
    said = f"The nearest text is:\n{shown(page, range(places[0], places[-1] + 1))}"
    if off is None:
        return said
    place = page.places[at + off]
    theirs = page.bodies[place].strip()[:_COLUMNS_SHOWN]
    ours = old.lines[off].strip()[:_COLUMNS_SHOWN]
    return f"{said}\nLine {place + 1} differs: you wrote `{ours}`, the file has `{theirs}`."


def shown(page: Page, places: Sequence[int]) -> str:
    """Lines of the file with their numbers, some at most."""
    some = [place for place in places if 0 <= place < len(page.bodies)][: _LINES_SHOWN * 2]
    return "\n".join(f"{place + 1}\t{page.bodies[place][:_COLUMNS_SHOWN]}" for place in some)


def ambiguous(page: Page, spans: Sequence[tuple[int, int]]) -> str:
    """Says where the matches are (first and last line each, from 0), and what tells them apart."""
    shown_spans = spans[:_PLACES_SHOWN]
    ranges = ", ".join(f"{a + 1}" if a == b else f"{a + 1}-{b + 1}" for a, b in shown_spans)
    more = f" and {len(spans) - _PLACES_SHOWN} more" if len(spans) > _PLACES_SHOWN else ""
    around = [
        shown(
            page,
            [*_before(page, a), a, *range(b, b + 2)] if a != b else [*_before(page, a), a, a + 1],
        )
        for a, b in shown_spans
    ]
    return (
        f"The old text matches {len(spans)} places, lines {ranges}{more}. Nothing was changed. "
        "Add lines before or after it until it matches only the one you mean:\n"
        + "\n--\n".join(around)
    )


def _before(page: Page, place: int) -> list[int]:
    return [max((at for at in page.places if at < place), default=-1)]


def _best(page: Page, old: Block) -> int | None:
    """Where most lines of `old` would match, else where its longest line is most alike."""
    votes: Counter[int] = Counter()
    ours: dict[str, list[int]] = {}
    for index, key in enumerate(old.keys):
        ours.setdefault(key, []).append(index)
    for at, key in enumerate(page.keys):
        for index in ours.get(key, ()):
            if at >= index and len(key) > 1:
                votes[at - index] += 1
    if votes:
        return max(votes, key=lambda at: (votes[at], -at))
    if not old.keys:
        return None
    index, longest = max(enumerate(old.keys), key=lambda each: len(each[1]))
    best, best_like = None, _LIKE_MIN
    matcher = SequenceMatcher(None, "", longest, autojunk=False)
    for at, key in enumerate(page.keys[:_LINES_COMPARED]):
        matcher.set_seq1(key)
        if matcher.real_quick_ratio() > best_like and matcher.quick_ratio() > best_like:
            like = matcher.ratio()
            if like > best_like:
                best, best_like = max(0, at - index), like
    return best
