"""Answers that must be JSON of a given shape: found in the text, checked, asked for again."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

TRIES_MAX = 3
_SHOWN = 5
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def wanted(schema: dict[str, Any]) -> str:
    """What stands behind the task, so that the last answer is of this shape."""
    shown = msgspec.json.encode(schema).decode()
    return f"When the task is done, answer with nothing but JSON that fits this schema: {shown}"


def asked_again(problems: list[str]) -> str:
    """What the model is told about an answer that does not fit."""
    listed = "\n".join(f"- {problem}" for problem in problems[:_SHOWN])
    return f"Your answer does not fit the schema:\n{listed}\nAnswer with the JSON alone."


def read(text: str) -> object:
    """The JSON in an answer: all of it, its last fenced block, or from the first bracket on.

    Raises:
        ValueError: There is none.
    """
    blocks = _FENCED.findall(text)
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    ends = max(text.rfind("}"), text.rfind("]")) + 1
    found = [text, *reversed(blocks), *([text[min(starts) : ends]] if starts else [])]
    for candidate in found:
        try:
            return msgspec.json.decode(candidate)
        except (msgspec.MsgspecError, RecursionError):
            continue
    raise ValueError("it holds no JSON")


def problems_of(value: object, schema: dict[str, Any]) -> list[str]:
    """Where a value does not fit a JSON Schema; keywords that are not known hold nothing back.

    Known are type, enum, const, properties, required, additionalProperties, items, the bounds of
    lengths and numbers, pattern, allOf, anyOf, oneOf, not, and `$ref` within the schema.
    """
    return list(_check(value, schema, schema, "$"))


def _check(value: object, schema: object, root: dict[str, Any], at: str) -> Iterator[str]:
    if schema is False:
        yield f"{at} may not be there"
    if not isinstance(schema, dict):
        return
    given = cast("dict[str, Any]", schema)
    if isinstance(reference := given.get("$ref"), str):
        yield from _check(value, _resolve(reference, root), root, at)
    if not _is_of(value, given.get("type")):
        yield f"{at} must be of type {given['type']}"
        return
    allowed = [given["const"]] if "const" in given else given.get("enum", [value])
    if value not in allowed:
        yield f"{at} must be one of {msgspec.json.encode(allowed).decode()}"
    yield from _check_combined(value, given, root, at)
    match value:
        case dict():
            yield from _check_object(cast("dict[str, Any]", value), given, root, at)
        case list():
            yield from _check_array(cast("list[Any]", value), given, root, at)
        case str():
            yield from _check_string(value, given, at)
        case int() | float() if not isinstance(value, bool):
            yield from _check_number(value, given, at)
        case _:
            pass


def _is_of(value: object, named: object) -> bool:
    if named is None:
        return True
    names = cast("list[str]", named) if isinstance(named, list) else [str(named)]
    for name in names:
        if isinstance(value, bool):
            if name == "boolean":
                return True
        elif isinstance(value, _TYPES.get(name, (object,))) or (
            name == "integer" and isinstance(value, float) and value.is_integer()
        ):
            return True
    return False


def _check_object(
    value: dict[str, Any], given: dict[str, Any], root: dict[str, Any], at: str
) -> Iterator[str]:
    properties: dict[str, Any] = given.get("properties", {})
    for name in given.get("required", ()):
        if name not in value:
            yield f"{at}.{name} is missing"
    for name, inner in value.items():
        if name in properties:
            yield from _check(inner, properties[name], root, f"{at}.{name}")
        else:
            yield from _check(inner, given.get("additionalProperties"), root, f"{at}.{name}")


def _check_array(
    value: list[Any], given: dict[str, Any], root: dict[str, Any], at: str
) -> Iterator[str]:
    if len(value) < given.get("minItems", 0):
        yield f"{at} must have at least {given['minItems']} items"
    if len(value) > given.get("maxItems", len(value)):
        yield f"{at} must have at most {given['maxItems']} items"
    for number, inner in enumerate(value):
        yield from _check(inner, given.get("items"), root, f"{at}[{number}]")


def _check_string(value: str, given: dict[str, Any], at: str) -> Iterator[str]:
    if len(value) < given.get("minLength", 0):
        yield f"{at} must have at least {given['minLength']} characters"
    if len(value) > given.get("maxLength", len(value)):
        yield f"{at} must have at most {given['maxLength']} characters"
    if "pattern" in given and re.search(given["pattern"], value) is None:
        yield f"{at} must match {given['pattern']}"


def _check_number(value: float, given: dict[str, Any], at: str) -> Iterator[str]:
    if value < given.get("minimum", value):
        yield f"{at} must be at least {given['minimum']}"
    if value > given.get("maximum", value):
        yield f"{at} must be at most {given['maximum']}"
    if "exclusiveMinimum" in given and value <= given["exclusiveMinimum"]:
        yield f"{at} must be above {given['exclusiveMinimum']}"
    if "exclusiveMaximum" in given and value >= given["exclusiveMaximum"]:
        yield f"{at} must be below {given['exclusiveMaximum']}"


def _check_combined(
    value: object, given: dict[str, Any], root: dict[str, Any], at: str
) -> Iterator[str]:
    def fits(schema: object) -> bool:
        return next(_check(value, schema, root, at), None) is None

    for schema in given.get("allOf", ()):
        yield from _check(value, schema, root, at)
    if "anyOf" in given and not any(map(fits, given["anyOf"])):
        yield f"{at} fits none of what is allowed"
    if "oneOf" in given and sum(map(fits, given["oneOf"])) != 1:
        yield f"{at} must fit exactly one of what is allowed"
    if "not" in given and fits(given["not"]):
        yield f"{at} is what it must not be"


def _resolve(reference: str, root: dict[str, Any]) -> object:
    at: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        step = name.replace("~1", "/").replace("~0", "~")
        at = at.get(step) if isinstance(at, dict) and name else at  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON
    return None if at is root else at  # pyright: ignore[reportUnknownVariableType]
