"""Imports that fit new code."""

import pytest

from headrace.code.guided.imports import completed, needed

BEFORE = "from decimal import Decimal\nimport os\n\n\ndef cost():\n    return Decimal(1)\n"


@pytest.mark.parametrize(
    ("new", "wanted"),
    [
        ("import typing\n", ""),
        ("from typing import Any, List\n", ""),
        ("import re\n\nPATTERN = re.compile('a')\n", "import re\n\nPATTERN = re.compile('a')\n"),
        (
            "from math import ceil, floor\nUP = ceil(1.5)\n",
            "from math import ceil\nUP = ceil(1.5)\n",
        ),
        ("from math import *\n", "from math import *\n"),
        ("import os.path as path\n", ""),
        ("from prices import cost\nFIRST = cost()\n", "FIRST = cost()\n"),
    ],
)
def test_new_imports_that_nothing_uses_are_left_out_and_old_ones_stay(new: str, wanted: str):
    assert needed(new + BEFORE, BEFORE) == wanted + BEFORE


def test_a_name_added_to_an_old_import_goes_alone():
    code = BEFORE.replace("import Decimal", "import ROUND_UP, Decimal")
    assert needed(code, BEFORE) == BEFORE
    used = code.replace("(1)", "(1, ROUND_UP)")
    assert needed(used, BEFORE) == used


def test_code_that_does_not_parse_stays():
    assert needed("def (", BEFORE) == "def ("


def test_a_name_of_a_module_in_use_is_imported_and_an_unknown_one_is_not():
    assert completed("import math\n\nTWO = ceil(1.5)\n") == (
        "import math\nfrom math import ceil\n\nTWO = ceil(1.5)\n"
    )
    assert completed("import math\n\nTWO = roof(1.5)\n") == "import math\n\nTWO = roof(1.5)\n"
