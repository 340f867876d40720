"""Code in the terminal's own 16 colours, by pygments, which the first code block loads."""

from functools import lru_cache
from typing import TYPE_CHECKING

from headrace.code.screen.text import (
    BLUE,
    BOLD,
    CYAN,
    DIM,
    GREEN,
    MAGENTA,
    RED,
    YELLOW,
    Line,
    expand,
)

if TYPE_CHECKING:
    from pygments.lexer import Lexer

_CHARACTERS_MAX = 100_000
# The first name that a token's type begins with decides.
_STYLES = (
    ("Comment.Preproc", MAGENTA),
    ("Comment", DIM),
    ("Keyword.Constant", CYAN),
    ("Keyword", MAGENTA),
    ("Operator.Word", MAGENTA),
    ("Literal.String.Escape", CYAN),
    ("Literal.String.Interpol", CYAN),
    ("Literal.String.Doc", DIM),
    ("Literal.String", GREEN),
    ("Literal.Number", CYAN),
    ("Name.Function", BLUE),
    ("Name.Class", f"{BOLD};{BLUE}"),
    ("Name.Decorator", YELLOW),
    ("Name.Builtin", CYAN),
    ("Name.Tag", BLUE),
    ("Name.Attribute", YELLOW),
    ("Name.Exception", YELLOW),
    ("Generic.Deleted", RED),
    ("Generic.Inserted", GREEN),
    ("Generic.Heading", BOLD),
    ("Generic.Subheading", CYAN),
)


def highlight(code: str, language: str) -> list[Line]:
    """The lines of `code`; plain where the language is not known or the code is very long."""
    code = expand(code)
    lexer = _lexer(language.strip().lower()) if len(code) <= _CHARACTERS_MAX else None
    if lexer is None:
        return [[("", line)] for line in code.split("\n")]
    lines: list[Line] = [[]]
    for kind, text in lexer.get_tokens(code):
        style = _style(str(kind))
        first, *rest = text.split("\n")
        if first:
            lines[-1].append((style, first))
        lines.extend([(style, line)] if line else [] for line in rest)
    return lines[: code.count("\n") + 1]


def language_of(path: str) -> str:
    """The language that a file's name tells, as `highlight` takes it."""
    name = path.rpartition("/")[2]
    return name.rpartition(".")[2] if "." in name else ""


@lru_cache(maxsize=32)
def _lexer(language: str) -> "Lexer | None":
    if not language or not language.replace("+", "").replace("-", "").replace("#", "").isalnum():
        return None
    # Costs 20 ms, for the first code block.
    from pygments.lexers import find_lexer_class_by_name  # noqa: PLC0415
    from pygments.lexers import find_lexer_class_for_filename as for_file  # noqa: PLC0415
    from pygments.util import ClassNotFound  # noqa: PLC0415

    try:
        found = find_lexer_class_by_name(language)
    except ClassNotFound:
        found = for_file(f"a.{language}")
    return found(stripnl=False, ensurenl=False) if found else None


@lru_cache(maxsize=256)
def _style(kind: str) -> str:
    name = kind.removeprefix("Token.")
    return next((style for prefix, style in _STYLES if name.startswith(prefix)), "")
