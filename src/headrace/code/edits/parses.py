"""A file that parsed before an edit must parse after it: else it is refused, or mended.

Python and JSON are parsed by the standard library, other languages by tree-sitter, whose
grammars are imported when a file of theirs is first edited.
"""

import importlib
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

from headrace.code.edits.indents import style_of
from headrace.code.edits.lines import Page, indent_of
from headrace.code.edits.results import Applied, Refused, Result

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_GRAMMARS = {
    "bash": ("sh", "bash"),
    "c": ("c",),
    "cpp": ("cc", "cpp", "cxx", "hpp", "hh", "hxx", "h"),
    "css": ("css",),
    "go": ("go",),
    "html": ("html", "htm"),
    "java": ("java",),
    "javascript": ("js", "jsx", "mjs", "cjs"),
    "json": ("json",),
    "python": ("py", "pyi"),
    "ruby": ("rb",),
    "rust": ("rs",),
    "typescript": ("ts", "mts", "cts"),
    "tsx": ("tsx",),
}
_LANGUAGES = {suffix: name for name, suffixes in _GRAMMARS.items() for suffix in suffixes}
_BYTES_MAX = 2_000_000
_LINES_MOVED_MAX = 400
_LEVELS_TRIED = 8


def error_line(name: str, text: str) -> int | None:
    """The first line that does not parse, from 1; None where all does or nobody can tell.

    Args:
        name: The file's name; its ending tells the language.
        text: The whole text.
    """
    language = _language(name, text)
    if language is None:
        return None
    if language == "python":
        return _python_error(text)
    if language == "json":
        return _json_error(text)
    return _tree_error(language, text)


def has_grammar(name: str) -> bool:
    """Whether files of this name can be parsed here."""
    return name.rpartition(".")[2].lower() in _LANGUAGES


def checked(name: str, before: str, result: Result) -> Result:
    """The result of an edit if the file still parses, mended if one indentation does it."""
    if isinstance(result, Refused) or error_line(name, before) is not None:
        return result
    line = error_line(name, result.text)
    if line is None:
        return result
    mended = _mended(name, result)
    if mended is not None:
        return mended
    page = Page.of(result.text)
    around = range(max(0, line - 3), min(len(page.bodies), line + 2))
    shown = "\n".join(f"{at + 1}\t{page.bodies[at][:160]}" for at in around)
    return Refused(
        f"The file would no longer parse: syntax error at line {line}. Nothing was changed. "
        f"With your edit it would read:\n{shown}\nMend the new text, its indentation too."
    )


def _mended(name: str, result: Applied) -> Applied | None:
    """The changed lines moved by whole levels, if exactly one such move makes the file parse."""
    page = Page.of(result.text)
    start, stop = result.first_line - 1, result.last_line
    lines = page.bodies[start:stop]
    if result.changes != 1 or not 0 < len(lines) <= _LINES_MOVED_MAX:
        return None
    found: list[Applied] = []
    style = style_of(page.bodies, ())
    unit = style.indent(style.unit)
    before = next((line for line in reversed(page.bodies[:start]) if line.strip()), "")
    deepest = style.columns(indent_of(before)) + style.unit
    for levels in range(-_LEVELS_TRIED, _LEVELS_TRIED + 1):
        moved = _moved(lines, unit, levels) if levels else None
        if moved is None or style.columns(indent_of(moved[0])) > deepest:
            continue
        text = page.spliced(start, stop, moved)
        if error_line(name, text) is None:
            notes = (*result.notes, "indentation mended")
            found.append(
                Applied(
                    text=text,
                    first_line=result.first_line,
                    last_line=result.last_line,
                    notes=notes,
                )
            )
    return found[0] if len(found) == 1 else None


def _moved(lines: list[str], unit: str, levels: int) -> list[str] | None:
    if levels > 0:
        return [unit * levels + line if line.strip() else line for line in lines]
    cut = unit * -levels
    if any(line.strip() and not indent_of(line).startswith(cut) for line in lines):
        return None
    return [line[len(cut) :] if line.strip() else line for line in lines]


def _python_error(text: str) -> int | None:
    import ast  # noqa: PLC0415 - needed only once a Python file is edited

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return None
    return None


def _json_error(text: str) -> int | None:
    import json  # noqa: PLC0415 - needed only once a JSON file is edited

    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.lineno
    except RecursionError:
        return None
    return None


def tree(name: str, text: str) -> "Node | None":
    """The root of a file's syntax tree; None where there is no grammar for it here.

    Args:
        name: The file's name; its ending tells the language.
        text: The whole text.
    """
    language = _language(name, text)
    return None if language is None else _root(language, text)


def _language(name: str, text: str) -> str | None:
    """The language of a file that is not too large to be parsed."""
    return None if len(text) > _BYTES_MAX else _LANGUAGES.get(name.rpartition(".")[2].lower())


def _root(language: str, text: str) -> "Node":
    return _parser(language).parse(text.encode("utf-8", "surrogateescape")).root_node


def _tree_error(language: str, text: str) -> int | None:
    root = _root(language, text)
    if not root.has_error:
        return None
    node = root
    while not (node.is_error or node.is_missing):
        inner = next((child for child in node.children if child.has_error), None)
        if inner is None:
            break
        node = inner
    return node.start_point.row + 1


@lru_cache
def _parser(language: str) -> "Parser":
    from tree_sitter import Language, Parser  # noqa: PLC0415 - only when a file needs it

    module = "typescript" if language == "tsx" else language
    grammar = importlib.import_module(f"tree_sitter_{module}")
    maker = f"language_{language}" if module == "typescript" else "language"
    return Parser(Language(getattr(grammar, maker)()))  # pyright: ignore[reportDeprecated] - what the grammars hand out
