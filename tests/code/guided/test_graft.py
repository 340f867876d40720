"""Definitions of an answer go where their like stands, and nothing else changes."""

import pytest

from headrace.code.edits.results import Applied, Refused
from headrace.code.guided.graft import UNCHANGED, graft
from headrace.code.guided.imports import completed, undefined

BEFORE = '''"""Doc."""

import os
from decimal import ROUND_DOWN, Decimal

X = 1


@dataclass
class Query:
    words: list = field()

    @property
    def a(self):
        return 1

    def b(self):
        return 2


def f(x):
    return x
'''


def grafted(code: str, before: str = BEFORE, name: str = "a.py") -> str:
    result = graft(name, before, code)
    assert isinstance(result, Applied), result
    return result.text


def test_a_function_takes_the_place_of_its_namesake():
    assert grafted("def f(x):\n    return x + 1\n") == BEFORE.replace(
        "return x\n", "return x + 1\n"
    )


@pytest.mark.parametrize("indent", ["", "    "])
def test_a_bare_method_goes_into_its_class(indent: str):
    code = f"{indent}def b(self):\n{indent}    return 3\n"
    assert grafted(code) == BEFORE.replace("return 2", "return 3")


def test_decorators_stay_where_the_answer_leaves_them_out():
    code = "class Query:\n    def a(self):\n        return 9\n"
    assert grafted(code) == BEFORE.replace("return 1", "return 9")


def test_a_new_method_and_a_new_function_are_added():
    text = grafted("def c(self):\n    return 4\n\n\ndef g(y):\n    return y\n")
    assert "    def c(self):\n        return 4\n" in text
    assert "\n\n\ndef g(y):\n    return y\n\n\ndef f" in text


def test_a_new_field_stands_beside_the_others():
    text = grafted("class Query:\n    words: list = field()\n    more: list = field()\n")
    assert "    words: list = field()\n    more: list = field()\n\n    @property" in text


def test_names_are_added_to_an_import_of_the_same_module():
    text = grafted("from decimal import ROUND_HALF_UP\n\n\ndef f(x):\n    return ROUND_HALF_UP\n")
    assert "from decimal import Decimal, ROUND_DOWN, ROUND_HALF_UP\n" in text


def test_tabs_and_line_ends_stay_those_of_the_file():
    before = "class A:\r\n\tdef m(self):\r\n\t\treturn 1\r\n"
    text = grafted("def m(self):\n    if self:\n        return 2\n", before)
    assert text == "class A:\r\n\tdef m(self):\r\n\t\tif self:\r\n\t\t\treturn 2\r\n"


def test_other_languages_by_the_same_walk():
    before = "class A {\n  m() {\n    return 1;\n  }\n}\n\nfunction f() {\n  return 1;\n}\n"
    text = grafted("function f() {\n  return 2;\n}\n", before, "a.js")
    assert text == before.replace("function f() {\n  return 1", "function f() {\n  return 2")


@pytest.mark.parametrize(
    "code",
    [
        "def f(x):\n    return x\n",
        BEFORE,
        "def f(x:\n",
        "def f(x):\n    # ... rest of the code ...\n",
    ],
)
def test_what_changes_nothing_or_cannot_be_read_is_refused(code: str):
    assert isinstance(graft("a.py", BEFORE, code), Refused)


def test_a_repeated_file_is_told_as_such():
    result = graft("a.py", BEFORE, BEFORE)
    assert isinstance(result, Refused)
    assert result.why == UNCHANGED


def test_imports_are_added_where_there_is_no_doubt():
    code = (
        "from decimal import Decimal\n\n\ndef f(x):\n    return re.sub(ROUND_HALF_UP, nobody, x)\n"
    )
    text = completed(code)
    assert "import re\n" in text
    assert "from decimal import ROUND_HALF_UP\n" in text
    assert undefined(text) == ["nobody"]
