"""Faulty edits as small models make them, on real source files: `python bench/edits.py`.

Each edit is made right first, so that its result is known; then one fault is put into it. An edit
counts as right if the file becomes that result byte for byte, as wrong if it becomes anything
else, and as refused if nothing is written. No wrong one is allowed.
"""

import argparse
import random
import sys
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from headrace.code.edits.match import apply
from headrace.code.edits.parses import checked, error_line
from headrace.code.edits.results import Applied

ROOT = Path(__file__).parents[1]
PLACES = (
    (Path(sysconfig.get_paths()["stdlib"]), ("*.py",)),
    (ROOT, ("src/headrace/**/*.py", "web/src/**/*.ts", "web/src/**/*.svelte", "docs/**/*.md")),
    (ROOT / "bench" / "edits_corpus", ("*",)),
)
BYTES_MAX = 60_000
CORPUS_WEIGHT = 100
SEED = 20261123
SMART = str.maketrans({'"': "\u201d", "'": "\u2019"})


class Case(NamedTuple):
    """A file, an edit as the model wrote it, and what should come of it; None: a refusal."""

    name: str
    text: str
    old: str
    new: str
    right: str | None


Fault = Callable[[random.Random, Case], Case | None]


def files() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for root, globs in PLACES:
        for glob in globs:
            for path in sorted(root.glob(glob)):
                if path.is_file() and 400 < path.stat().st_size < BYTES_MAX:
                    try:
                        file = (path.name, path.read_bytes().decode())
                    except UnicodeDecodeError:
                        continue
                    # Few files of other languages are to count as much as many of Python.
                    found += [file] * (CORPUS_WEIGHT if "edits_corpus" in path.parts else 1)
    return found


def changed(rng: random.Random, lines: list[str]) -> list[str]:
    """A small change as people make them: a word, a line more, a line less, a block wrapped."""
    at = rng.randrange(len(lines))
    while not lines[at].strip():
        at = rng.randrange(len(lines))
    line = lines[at]
    indent = line[: len(line) - len(line.lstrip())]
    way = rng.random()
    if way < 0.6:
        words = line.split()
        word = rng.choice(words)
        return [*lines[:at], line.replace(word, f"{word}_new", 1), *lines[at + 1 :]]
    if way < 0.85:
        return [*lines[: at + 1], f"{indent}added_line(1)", *lines[at + 1 :]]
    return [*lines[:at], *lines[at + 1 :]]


def right_edit(rng: random.Random, name: str, text: str) -> Case | None:
    """An edit of two to nine whole lines that stand in the file once, and its result."""
    bodies = text.split("\n")
    count = rng.randint(2, 9)
    if len(bodies) < count + 3:
        return None
    start = rng.randrange(len(bodies) - count - 1)
    lines = bodies[start : start + count]
    if not lines[0].strip() or not lines[-1].strip():
        return None
    old = "\n".join(lines)
    if text.count(old) != 1:
        return None
    wanted = changed(rng, lines)
    new = "\n".join(wanted)
    if old == new or not new.strip():
        return None
    result = "\n".join([*bodies[:start], *wanted, *bodies[start + count :]])
    if error_line(name, text) is None and error_line(name, result) is not None:
        return None  # nobody means that
    return Case(name, text, f"{old}\n", f"{new}\n", result)


def each_line(text: str, change: Callable[[str], str]) -> str:
    return "".join(
        change(line) + "\n" if line.strip() else f"{line}\n" for line in text.splitlines()
    )


def indentation(rng: random.Random, case: Case) -> Case | None:
    """All lines too far left or right; now and then in the old text alone, or but for the first."""
    widths = [
        len(line) - len(line.lstrip(" ")) for line in (case.old + case.new).split("\n") if line
    ]
    cut = min(widths)
    more = rng.choice([1, 2, 3, 4, 8])
    if "\n\t" in case.text:
        return None
    shift: Callable[[str], str] = lambda line: " " * more + line  # noqa: E731 - one of two
    if cut and rng.random() < 0.7:
        less = rng.randint(1, cut)
        shift = lambda line: line[less:]  # noqa: E731 - one of two
    way = rng.random()
    old = each_line(case.old, shift)
    if way < 0.2:
        return case._replace(old=old)
    if way < 0.35:
        return case._replace(old=case.old.lstrip(" "), new=case.new.lstrip(" "))
    return case._replace(old=old, new=each_line(case.new, shift))


def units(rng: random.Random, case: Case) -> Case | None:
    """Levels of two columns instead of four."""
    del rng

    def halved(line: str) -> str:
        width = len(line) - len(line.lstrip(" "))
        return " " * (width // 2) + line.lstrip(" ")

    lines = [line for line in (case.old + case.new).split("\n") if line.strip()]
    if any((len(line) - len(line.lstrip(" "))) % 4 for line in lines) or "\n\t" in case.text:
        return None
    return case._replace(old=each_line(case.old, halved), new=each_line(case.new, halved))


def tabs(rng: random.Random, case: Case) -> Case | None:
    """Tabs for four spaces, or four spaces for tabs."""
    del rng
    if "\n\t" in case.text:
        swap: Callable[[str], str] = lambda line: _swapped(line, "\t", "    ")  # noqa: E731
    else:
        lines = [line for line in (case.old + case.new).split("\n") if line.strip()]
        if any((len(line) - len(line.lstrip(" "))) % 4 for line in lines):
            return None
        swap = lambda line: _swapped(line, "    ", "\t")  # noqa: E731 - one of two
    return case._replace(old=each_line(case.old, swap), new=each_line(case.new, swap))


def _swapped(line: str, one: str, other: str) -> str:
    bare = line.lstrip(" \t")
    return line[: len(line) - len(bare)].replace(one, other) + bare


def trailing(rng: random.Random, case: Case) -> Case:
    """Spaces behind lines, in both texts or in the old one."""
    add: Callable[[str], str] = lambda line: line + " " * rng.choice([0, 1, 2])  # noqa: E731
    old = each_line(case.old, lambda line: f"{line} ")
    if rng.random() < 0.4:
        return case._replace(old=old)
    return case._replace(old=old, new=each_line(case.new, add))


def crlf(rng: random.Random, case: Case) -> Case | None:
    """The file's lines end with CR LF, or the model's do."""
    if "\r" in case.text:
        return None
    if rng.random() < 0.3:
        return case._replace(old=case.old.replace("\n", "\r\n"), new=case.new.replace("\n", "\r\n"))
    right = None if case.right is None else case.right.replace("\n", "\r\n")
    return case._replace(text=case.text.replace("\n", "\r\n"), right=right)


def quotes(rng: random.Random, case: Case) -> Case | None:
    """Curly quotes in the model's text, in both or in the old one."""
    if not set("\"'") & set(case.old) or {"\u201d", "\u2019"} & set(case.text):
        return None
    old = case.old.translate(SMART)
    return case._replace(old=old, new=case.new if rng.random() < 0.3 else case.new.translate(SMART))


def numbers(rng: random.Random, case: Case) -> Case:
    """Line numbers copied from a listing, in both texts or in the old one."""
    first = case.text[: case.text.index(case.old.rstrip("\n"))].count("\n") + 1
    form = rng.choice(["{}\t{}", "{}\u2192{}", "{}: {}", "{:>6}\t{}", "{}| {}", "{:>5} | {}"])

    def numbered(text: str) -> str:
        lines = text.splitlines()
        return "".join(form.format(first + at, line) + "\n" for at, line in enumerate(lines))

    new = case.new if rng.random() < 0.3 else numbered(case.new)
    return case._replace(old=numbered(case.old), new=new)


def wrong_end(rng: random.Random, case: Case) -> Case | None:
    """The first or last line is a little wrong, in both texts alike or in the old one."""
    olds, news = case.old.splitlines(), case.new.splitlines()
    at = rng.choice([0, -1])
    if len(olds) < 3 or olds[at] != news[at] or len(olds[at].strip()) < 6:
        return None
    line = olds[at]
    cut = rng.randrange(len(line) - len(line.lstrip()) + 1, len(line))
    olds[at] = line[:cut] + rng.choice(["x", ", y", "_1", ""]) + line[cut + 1 :]
    if rng.random() < 0.5:
        news[at] = olds[at]
    return case._replace(old="\n".join(olds) + "\n", new="\n".join(news) + "\n")


def two_matches(rng: random.Random, case: Case) -> Case | None:
    """A passage that stands in the file twice: nobody knows which is meant."""
    del rng
    return case._replace(text=f"{case.text.rstrip()}\n{case.old}", right=None)


def newline(rng: random.Random, case: Case) -> Case | None:
    """A final line feed, or an empty line, is missing in one text or in both."""
    way = rng.random()
    if way < 0.2:
        return case._replace(old=case.old[:-1])
    if way < 0.4:
        if case.new.endswith("\n\n"):
            return None  # a right edit of something else
        return case._replace(new=case.new[:-1])
    if way < 0.5:
        return case._replace(old=case.old[:-1], new=case.new[:-1])
    if "\n\n" not in case.old or "\n\n" not in case.new:
        return None
    return case._replace(old=case.old.replace("\n\n", "\n"), new=case.new.replace("\n\n", "\n"))


def partial(rng: random.Random, case: Case) -> Case | None:
    """The first line lacks its beginning, the last one its end."""
    olds, news = case.old[:-1].split("\n"), case.new[:-1].split("\n")
    if olds[0] != news[0] or olds[-1] != news[-1] or len(olds) < 2:
        return None
    head = rng.randrange(max(1, len(olds[0]) - 3))
    tail = rng.randrange(max(1, len(olds[-1].strip()) - 3)) if rng.random() < 0.6 else 0
    stop = len(case.old) - 1 - tail
    new = case.new[:-1] if rng.random() < 0.3 else case.new[head : len(case.new) - 1 - tail]
    return case._replace(old=case.old[head:stop], new=new)


def elided(rng: random.Random, case: Case) -> Case | None:
    """The middle is left out as `...`."""
    del rng
    olds, news = case.old.splitlines(), case.new.splitlines()
    if len(olds) < 6 or olds[2:-2] != news[2:-2] or "..." in case.old:
        return None
    cut = [[*lines[:2], "    ...", *lines[-2:]] for lines in (olds, news)]
    return case._replace(old="\n".join(cut[0]) + "\n", new="\n".join(cut[1]) + "\n")


FAULTS: dict[str, Fault] = {
    "none": lambda _, case: case,
    "wrong indentation": indentation,
    "other unit": units,
    "tabs": tabs,
    "trailing space": trailing,
    "CRLF": crlf,
    "curly quotes": quotes,
    "line numbers": numbers,
    "wrong first/last line": wrong_end,
    "two matches": two_matches,
    "missing newline": newline,
    "partial lines": partial,
    "elided middle": elided,
}


def cases(fault: Fault, count: int, seed: int) -> Iterator[Case]:
    rng = random.Random(seed)
    pool = files()
    left = count
    for _ in range(count * 200):
        if not left:
            return
        right = right_edit(rng, *rng.choice(pool))
        faulty = None if right is None else fault(rng, right)
        if faulty is not None and faulty.old != faulty.new:
            left -= 1
            yield faulty


def outcome(case: Case) -> str:
    result = checked(case.name, case.text, apply(case.text, case.old, case.new))
    if not isinstance(result, Applied):
        return "refused"
    return "right" if result.text == case.right else "wrong"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=150, help="edits of each kind")
    arguments.add_argument("--seed", type=int, default=SEED)
    arguments.add_argument("--show", type=int, default=0, help="wrong or refused edits to print")
    arguments.add_argument("--only", default="", help="one kind")
    arguments.add_argument("--outcome", default="wrong", help="which to print")
    given = arguments.parse_args()
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, fault in FAULTS.items():
        for case in cases(fault, given.count, given.seed) if given.only in {"", kind} else ():
            came = outcome(case)
            table[kind][came] += 1
            if came == given.outcome and given.show:
                given.show -= 1
                result = checked(case.name, case.text, apply(case.text, case.old, case.new))
                print(
                    f"== {kind} {case.name}\n{case.old}-- new\n{case.new}-- came\n{result}"[:6000]
                )
    print(f"{'fault':24}{'right':>8}{'refused':>9}{'wrong':>7}")
    for kind, row in table.items():
        print(f"{kind:24}{row['right']:8}{row['refused']:9}{row['wrong']:7}")
    total: Counter[str] = Counter()
    for kind, row in table.items():
        total += row if kind != "none" else Counter[str]()
    print(f"{'all faults':24}{total['right']:8}{total['refused']:9}{total['wrong']:7}")
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
