"""Where a task is to be done: the definitions that it names, or that a failing test leads to.

A small model does not find the place, but it rewrites what it is shown. Whatever the task says
surely (in backticks, with an underscore or a call) counts first, plain words only without those.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence

import msgspec

from headrace.code.guided import project
from headrace.code.guided.outline import Item, outline, walk

_WORD = re.compile(r"\w{3,}")
_NEW = re.compile(
    r"\b(?:[Aa]dd|[Nn]ew|[Cc]reate|[Ww]rite|[Ii]mplement|[Ii]ntroduce)\b(?P<between>[^.`\n]{0,60})"
    r"`(?P<name>[A-Za-z_]\w*)(?:\([^`]*\))?`"
)
_NOT_DEFINED = re.compile(r"\b(?:option|argument|parameter|field|key|unit|column|file|flag)\b")
_USED = re.compile(
    r"\b(?:which|with|using|use|uses|like|via|through|from|calls?|by|as in|instead of|than)\s+"
    r"(?:the\s+(?:function|method|class|helper)?\s*)?$"
)
_EXAMPLE = re.compile(r"\w+\([^()`]*[\"'\d]")
_NEW_FIELD = re.compile(
    r"\b(?:[Aa]dd|[Nn]ew|[Aa]n?)\b[^.`\n]{0,30}\b(?:field|attribute)s?\s+`([A-Za-z_]\w*)"
    r"|`([A-Za-z_]\w*)`\s+(?:field|attribute)\b"
)
_NO_ATTRIBUTE = re.compile(r"'(\w+)' object has no attribute '([A-Za-z_]\w*)'")
_NO_NAME = re.compile(r"cannot import name '([A-Za-z_]\w*)' from '([\w.]+)'")
_SENTENCE = re.compile(r"(?<=[.;!?])\s+(?=[A-Z`\"'(])")
PLACES_MAX = 4


class Place(msgspec.Struct, frozen=True):
    """A definition to be rewritten, or with `new` to be written.

    Attributes:
        file: Its file.
        called: Its name, with that of its class: `Stock.release`.
        new: It is not there yet.
    """

    file: str
    called: str
    new: bool = False

    @property
    def name(self) -> str:
        """The bare name."""
        return self.called.rpartition(".")[2]

    @property
    def home(self) -> str:
        """The class that it belongs to; empty where it has none."""
        return self.called.rpartition(".")[0].rpartition(".")[2]


def places(task: str, texts: Mapping[str, str], output: str = "") -> tuple[Place, ...]:
    """Where to change what, in the order in which the task speaks of it.

    Args:
        task: What the user wants.
        texts: The files that were read; tests among them are never changed.
        output: What the failing tests printed.
    """
    known = [(file, called, item) for file, called, item in _definitions(texts)]
    sure = frozenset(project.quoted(task))
    found = [one for one in known if one[2].name in sure and _is_code(one[2])]
    found = [one for one in found if not one[2].holds] or found
    found = [one for one in found if not _is_only_used(one[2].name, task)] or found
    found.sort(key=lambda one: _spoken(one[2].name, task)[:1])
    found = _with_field(task, texts, known, found)
    new = _new(task, texts, known)
    if not found and not new:
        plain = frozenset(_WORD.findall(task))
        found = [one for one in known if one[2].name in plain and _long(one[2])]
    if not found and not new:
        new = _missing(output, texts, known)
    if not found and not new:
        found = _failing(output, texts, known)
    if new:  # a class that is only named as their home is no place itself
        found = [one for one in found if not one[2].holds]
    named = frozenset(project.named_files(task, texts))
    if len({file for file, _, _ in found} & named) and len(found) > PLACES_MAX:
        found = [one for one in found if one[0] in named]
    old = [Place(file, called) for file, called, _ in found]
    return (*old, *new)[:PLACES_MAX]


def parts(task: str) -> tuple[str, ...]:
    """The sentences of a task: a small model does one thing at a time."""
    flat = " ".join(task.split())
    return tuple(one for one in _SENTENCE.split(flat) if one)


def text_of(place: Place, text: str) -> str | None:
    """The code of a place, from the left edge; None where it is not there."""
    for called, item in walk(outline(place.file, text) or ()):
        if called == place.called:
            return textwrap.dedent("\n".join(text.split("\n")[item.first : item.last]))
    return None


def sketch(name: str, text: str) -> str:
    """The heads of a file's definitions."""
    lines = text.split("\n")
    heads = [lines[item.bare].rstrip() for _, item in walk(outline(name, text) or ())]
    return "\n".join(heads)


def _definitions(texts: Mapping[str, str]) -> list[tuple[str, str, Item]]:
    return [
        (file, called, item)
        for file, text in texts.items()
        if not project.is_test(file)
        for called, item in walk(outline(file, text) or ())
    ]


def _is_code(item: Item) -> bool:
    """Whether it is worth rewriting: a function, a class or a constant, not a field."""
    return _long(item) or item.name.isupper()


def _long(item: Item) -> bool:
    return item.last - item.bare > 1


def _new(
    task: str, texts: Mapping[str, str], known: Sequence[tuple[str, str, Item]]
) -> tuple[Place, ...]:
    """What the task asks to be added, and where."""
    names = {item.name for _, _, item in known}
    sure = project.quoted(task)
    sources = [file for file in project.named_files(task, texts) if not project.is_test(file)]
    sources = sources or [file for file in texts if not project.is_test(file)]
    found: list[Place] = []
    for match in _NEW.finditer(task):
        name = match["name"]
        if name in names or _NOT_DEFINED.search(match["between"]):
            continue
        homes = [one for one in known if one[2].holds and one[2].name in sure]
        if "method" in match["between"] or homes:
            homes = homes or [one for one in known if one[2].holds and one[0] in sources]
        if len(homes) == 1:
            found.append(Place(homes[0][0], f"{homes[0][1]}.{name}", new=True))
        elif len(sources) == 1 and not homes:
            found.append(Place(sources[0], name, new=True))
    return tuple(found)


def _is_only_used(name: str, task: str) -> bool:
    """Whether a task speaks of a name only as a thing to use, or in examples of calls."""
    spoken = _spoken(name, task)
    return bool(spoken) and all(
        _USED.search(task[:at].rstrip("`")) or _EXAMPLE.match(task, at) for at in spoken
    )


def _spoken(name: str, task: str) -> list[int]:
    """Where a task says a name."""
    return [match.start() for match in re.finditer(rf"\b{re.escape(name)}\b", task)]


def _with_field(
    task: str,
    texts: Mapping[str, str],
    known: Sequence[tuple[str, str, Item]],
    found: list[tuple[str, str, Item]],
) -> list[tuple[str, str, Item]]:
    """The places with the class that gets a new field: the only one of the file named before it."""
    match = _NEW_FIELD.search(task)
    if match is None or not found:
        return found
    before = project.named_files(task[: match.start()], texts)
    before.sort(key=lambda name: task.rfind(name.rpartition("/")[2], 0, match.start()))
    homes = [one for one in known if one[2].holds and one[0] in before[-1:]]
    inside = any(one[1].startswith(f"{homes[0][1]}.") for one in found) if homes else True
    return found if len(homes) != 1 or inside else [homes[0], *found]


def _missing(
    output: str, texts: Mapping[str, str], known: Sequence[tuple[str, str, Item]]
) -> tuple[Place, ...]:
    """What the tests ask for that is not there: a method of a class, a name of a module."""
    found: dict[Place, None] = {}
    for holder, name in _NO_ATTRIBUTE.findall(output):
        homes = [one for one in known if one[2].holds and one[2].name == holder]
        if len(homes) == 1:
            found[Place(homes[0][0], f"{homes[0][1]}.{name}", new=True)] = None
    for name, module in _NO_NAME.findall(output):
        path = module.replace(".", "/")
        files = [one for one in (f"{path}.py", f"{path}/__init__.py") if one in texts]
        if files:
            found[Place(files[0], name, new=True)] = None
    names = {called for _, called, _ in known}
    return tuple(one for one in found if one.called not in names)


def _failing(
    output: str, texts: Mapping[str, str], known: Sequence[tuple[str, str, Item]]
) -> list[tuple[str, str, Item]]:
    """The innermost function of a trace, else what the failing line of a test calls."""
    trace = project.frames(output, texts)
    inner = [frame for frame in trace if not project.is_test(frame.file)]
    if inner:
        last = inner[-1]
        return [
            one
            for one in known
            if one[0] == last.file and one[2].name == last.name and _long(one[2])
        ][:1]
    words: set[str] = set()
    for frame in trace:
        lines = texts[frame.file].split("\n")
        if 0 < frame.line <= len(lines):
            words |= set(_WORD.findall(lines[frame.line - 1]))
    return [one for one in known if one[2].name in words and _long(one[2])]
