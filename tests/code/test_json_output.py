from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.code.json_output import problems_of, read

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "pattern": "^[a-z]+$"},
        "lines": {"type": "array", "items": {"type": "integer", "minimum": 1}, "maxItems": 3},
        "kind": {"enum": ["bug", "feature"]},
        "next": {"$ref": "#/$defs/step"},
        "size": {"type": ["number", "null"], "exclusiveMaximum": 5},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"step": {"anyOf": [{"const": "stop"}, {"type": "boolean"}]}},
}


@pytest.mark.parametrize(
    "text",
    ['{"a": [1]}', 'Here:\n```json\n{"a": [1]}\n```\nDone.', 'It is {"a": [1]}, I think.'],
)
def test_json_is_found_in_an_answer(text: str):
    assert read(text) == {"a": [1]}


def test_an_answer_without_json_is_none():
    with pytest.raises(ValueError, match="no JSON"):
        read("I could not do it {sorry}.")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"name": "a", "lines": [1, 0]}, "$.lines[1] must be at least 1"),
        ({"lines": [1, 2, 3, 4]}, "$.name is missing"),
        ({"name": "A"}, "$.name must match ^[a-z]+$"),
        ({"name": "a", "kind": "idea"}, '$.kind must be one of ["bug","feature"]'),
        ({"name": "a", "more": 1}, "$.more may not be there"),
        ({"name": "a", "next": "go"}, "$.next fits none of what is allowed"),
        ([], "$ must be of type object"),
    ],
)
def test_what_does_not_fit_is_named(value: object, said: str):
    assert said in problems_of(value, SCHEMA)


_scalars = st.none() | st.booleans() | st.integers(-1, 6) | st.sampled_from(["", "a", "A", "stop"])
_values = st.dictionaries(
    st.sampled_from(["name", "lines", "kind", "next", "size", "more"]),
    _scalars | st.sampled_from(["bug", 4.5, 5.0]) | st.lists(_scalars, max_size=4),
    max_size=4,
)


@given(_values | _scalars)
def test_it_judges_as_the_reference_does(value: object):
    reference: Any = jsonschema.Draft202012Validator(SCHEMA)
    valid = reference.is_valid(value)
    assert (not problems_of(value, SCHEMA)) == valid
