"""Where a task is to be done: read from its words and from what the tests print."""

import pytest

from headrace.code.guided.places import Place, places

FILES = {
    "ring.py": (
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Bell:\n    tone: str\n\n\n"
        "def is_loud(bell):\n    return bell.tone.isupper()\n\n\n"
        "def ring(bells):\n    total = 0\n    for bell in bells:\n        total += 1\n"
        "    return total\n\n\n"
        "def still(bells):\n    quiet = []\n    return quiet\n"
    ),
    "tower.py": "class Tower:\n    def strike(self):\n        hour = 1\n        return hour\n",
    "test_ring.py": "from ring import ring\n\nring([])\n",
}


def called(task: str, output: str = "") -> list[str]:
    return [one.called for one in places(task, FILES, output)]


@pytest.mark.parametrize(
    ("task", "wanted"),
    [
        ("Mend `ring` in ring.py.", ["ring"]),
        ("First `still`, then `ring` must count from 1.", ["still", "ring"]),
        ("`ring` counts loud bells alone, for which `is_loud` is there.", ["ring"]),
        ("Let `ring` count with `is_loud`.", ["ring"]),
        ('`ring` counts each bell twice: `still(["a"])` gives 1.', ["ring"]),
        ("Use `is_loud`.", ["is_loud"]),
        (
            "In ring.py add a new field `weight`, and `strike` in tower.py has to respect it.",
            ["Bell", "Tower.strike"],
        ),
    ],
)
def test_what_a_task_changes_is_told_from_what_it_only_speaks_of(task: str, wanted: list[str]):
    assert called(task) == wanted


def test_what_failing_tests_miss_is_new():
    lost = "AttributeError: 'Tower' object has no attribute 'chime'"
    assert places("Make the tests pass.", FILES, lost) == (
        Place("tower.py", "Tower.chime", new=True),
    )
    lost = "ImportError: cannot import name 'peal' from 'ring' (/home/ann/ring.py)"
    assert places("Make the tests pass.", FILES, lost) == (Place("ring.py", "peal", new=True),)


def test_what_is_missing_from_other_peoples_classes_is_no_place():
    lost = "AttributeError: 'list' object has no attribute 'push'"
    assert places("Make the tests pass.", FILES, lost) == ()
