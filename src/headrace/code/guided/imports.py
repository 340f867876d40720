"""Imports that fit new code: what it uses is imported where that is sure, nothing else is."""

import ast
import builtins
import re
import sys
from importlib import import_module

_FROM = re.compile(r"^(?:from (\w[\w.]*) import |import (\w[\w.]*)$)", re.MULTILINE)


def undefined(code: str) -> list[str]:
    """Names of a Python file that are read but bound nowhere in it; empty where it cannot tell."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return []
    bound = set(dir(builtins)) | {"__file__", "__name__", "__doc__", "__path__", "__class__"}
    read: dict[str, None] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read[name] = None
            case ast.Name(id=name) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                bound.add(name)
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.alias(name="*"):
                return []
            case ast.alias(name=name, asname=other):
                bound.add(other or name.partition(".")[0])
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound.add(name)
            case _:
                pass
    return [name for name in read if name not in bound]


def completed(code: str) -> str:
    """A Python file with the imports that its new names want, where there is no doubt of them.

    A name is taken from a module of the standard library that the file imports from already, or
    is such a module itself.
    """
    for name in undefined(code):
        line = _import_line(name, code)
        if line is not None:
            code = _with(code, line)
    return code


def needed(code: str, before: str) -> str:
    """A Python file without the imports that are new in it and that nothing there uses.

    Args:
        code: The file as it would be.
        before: As it was; what it imported stays.
    """
    try:
        tree, old = ast.parse(code), ast.parse(before)
    except (SyntaxError, ValueError, RecursionError):
        return code
    had = {pair for node in old.body for pair in _imported(node)}
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    # What the file defines itself it does not import, least of all from itself.
    read -= {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    lines = code.split("\n")
    for node in reversed(tree.body):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        pairs = _imported(node)
        kept = [
            alias
            for alias, pair in zip(node.names, pairs, strict=True)
            if pair in had or alias.name == "*" or pair[0] == "__future__" or _bound(alias) in read
        ]
        if len(kept) < len(node.names):
            node.names = kept
            lines[node.lineno - 1 : node.end_lineno] = [ast.unparse(node)] if kept else []
    return "\n".join(lines)


def _imported(node: ast.stmt) -> list[tuple[str, str, str]]:
    """What an import names, each with its module and the name that it gets."""
    match node:
        case ast.Import(names=names):
            return [("", alias.name, _bound(alias)) for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            home = "." * level + (module or "")
            return [(home, alias.name, _bound(alias)) for alias in names]
        case _:
            return []


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _import_line(name: str, code: str) -> str | None:
    if name in sys.stdlib_module_names and re.search(rf"\b{re.escape(name)}\.\w", code):
        return f"import {name}"
    for one, other in _FROM.findall(code):
        module = one or other
        if module.partition(".")[0] in sys.stdlib_module_names and _has(module, name):
            return f"from {module} import {name}"
    return None


def _has(module: str, name: str) -> bool:
    if module in {"antigravity", "this", "__main__"}:
        return False
    try:
        return hasattr(import_module(module), name)
    except ImportError:
        return False


def _with(code: str, line: str) -> str:
    """The code with an import behind its last one, or behind its docstring."""
    tree = ast.parse(code)
    after = 0
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.Import | ast.ImportFrom) or (is_docstring and not after):
            after = node.end_lineno or 0
        elif not is_docstring:
            break
    lines = code.split("\n")
    follows = after and isinstance(tree.body[0], ast.Expr) and after == tree.body[0].end_lineno
    return "\n".join([*lines[:after], *([""] if follows else []), line, *lines[after:]])
