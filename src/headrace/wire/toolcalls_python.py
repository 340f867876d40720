"""Calls written as Python: `[name(key="value"), other()]`."""

import ast
import re
import warnings
from collections.abc import Collection
from typing import Any

import msgspec

_NAME = re.compile(r"\[?\s*([\w.-]*)(\()?")
_WORDS = {"true": True, "false": False, "null": None}


def name_in(text: str, names: Collection[str]) -> str | None:
    """The name of the call that `text` begins with, "" if it is not yet whole, None if none."""
    found = _NAME.match(text)
    if found is None:
        return None
    if found[2]:
        return found[1] if found[1] in names else None
    if found.end() < len(text):
        return None
    return "" if any(name.startswith(found[1]) for name in names) else None


def decode(text: str, names: Collection[str]) -> list[tuple[str, str]]:
    """Names and arguments of the calls that `text` is, none if it is anything else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            tree = ast.parse(text.strip(), mode="eval").body
        written = tree.elts if isinstance(tree, ast.List) else [tree]
        calls = [_call(each) for each in written]
    except (SyntaxError, ValueError, RecursionError, MemoryError, msgspec.MsgspecError):
        return []
    return calls if all(name in names for name, _ in calls) else []


def _call(node: ast.expr) -> tuple[str, str]:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("not a call with named arguments")
    arguments: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ValueError("an argument has no name")
        arguments[keyword.arg] = _value(keyword.value)
    return ast.unparse(node.func), msgspec.json.encode(arguments).decode()


def _value(node: ast.expr) -> Any:  # noqa: ANN401 - any JSON value
    """What a literal is; JSON's words for truth and nothing are as common as Python's."""
    match node:
        case ast.Name(id=word) if word in _WORDS:
            return _WORDS[word]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(each) for each in items]
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return {str(_value(key)): _value(each) for key, each in pairs if key is not None}
        case _:
            return ast.literal_eval(node)
