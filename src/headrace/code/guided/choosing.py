"""Which of several passes stays in the files: the tests choose, and what is said says how."""

from collections.abc import Mapping, Sequence

import msgspec

from headrace.agent.guide import Finish
from headrace.code.guided import asks
from headrace.code.guided.asks import Lead, call
from headrace.code.guided.looking import Looked, Tests


class Tried(msgspec.Struct, frozen=True):
    """One pass: the files as it leaves them, and how the tests went."""

    files: dict[str, str]
    tests: Tests | None
    problem: str = ""
    checks: Tests | None = None


def settled(looked: Looked, tried: Tried) -> bool:
    """Whether a pass is as good as can be told."""
    if tried.files == looked.files or tried.problem:
        return False
    passed = tried.tests is None or tried.tests.passed
    return passed and (tried.checks is None or tried.checks.passed)


def kept(looked: Looked, tried: Sequence[Tried], now: Mapping[str, str]) -> Lead[Finish]:
    """Leave the best pass in the files, and say how it stands."""
    best = min(tried, key=lambda one: _rank(looked, one))
    if _rank(looked, best)[0] > 1:
        best = Tried(looked.files, looked.tests)
    wanted = {name: code for name, code in best.files.items() if code != now.get(name)}
    if wanted:
        yield from asks.ran(
            [call("Write", file_path=name, content=code) for name, code in wanted.items()]
        )
    changed = [name for name, code in best.files.items() if code != looked.files.get(name)]
    return _told(looked, best, changed, len(tried))


def _rank(looked: Looked, tried: Tried) -> tuple[int, int]:
    """Lower is better: passed, untested, no worse than before, worse, nothing changed."""
    if tried.files == looked.files:
        return 3, 0
    checks = 0 if tried.checks is None else tried.checks.failures
    if tried.tests is None:
        return 1, checks
    if tried.tests.passed:
        return 0, checks
    worse = looked.tests is not None and tried.tests.failures > looked.tests.failures
    return (2 if worse else 1), tried.tests.failures


def _told(looked: Looked, best: Tried, changed: Sequence[str], passes: int) -> Finish:
    tries = "1 try" if passes == 1 else f"{passes} tries"
    if not changed:
        return Finish(
            f"No change that holds came of {tries}; the files are as they were.", "failed"
        )
    what = f"Changed {', '.join(changed)}"
    checked = best.checks is not None and best.checks.passed
    if best.tests is None and checked:
        said = "It passes checks that the model wrote from your words; the project has no tests"
        return Finish(f"{what}. {said}, so please look at the change.")
    if best.tests is None:
        return Finish(f"{what}. There are no tests to check it with; please look at the change.")
    if best.tests.passed:
        was = "" if looked.tests is not None and looked.tests.passed else ", which failed before"
        return Finish(f"{what}. The tests pass{was} (`{best.tests.command}`).")
    text = f"{what}, but `{best.tests.command}` still fails after {tries}."
    return Finish(text, "failed")
