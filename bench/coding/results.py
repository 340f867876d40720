"""What each run of an agent on a task gave, kept as one JSON file; and the table of all."""

from itertools import combinations
from math import comb
from pathlib import Path

import msgspec
from server import Spent


class Result(msgspec.Struct, frozen=True):
    """One agent on one task; `exit` is a status or "timeout", `transcript` a file beside this."""

    task: str
    agent: str
    model: str
    solved: bool
    seconds: float
    tokens: Spent
    exit: str
    transcript: str
    tests: str


def path_of(folder: Path, agent: str, task: str) -> Path:
    return folder / agent / f"{task}.json"


def keep(folder: Path, result: Result) -> None:
    """Write a result at once and whole."""
    path = path_of(folder, result.agent, result.task)
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2))
    partial.replace(path)


def read(folder: Path) -> dict[str, dict[str, Result]]:
    """All results of a set, by agent and task."""
    found: dict[str, dict[str, Result]] = {}
    for path in sorted(folder.glob("*/*.json")):
        result = msgspec.json.decode(path.read_bytes(), type=Result)
        found.setdefault(result.agent, {})[result.task] = result
    return found


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p of McNemar's test (Edwards 1948; binomial on the discordant pairs)."""
    pairs = only_first + only_second
    if pairs == 0:
        return 1.0
    tail = sum(comb(pairs, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**pairs)


def table(results: dict[str, dict[str, Result]]) -> str:
    """Solved, tokens and seconds of each agent, then each pair on the tasks both ran."""
    lines = ["| agent | solved | tokens in (cached) | tokens out | calls | seconds | timeouts |"]
    lines.append("|---|---|---|---|---|---|---|")
    for agent, runs in results.items():
        each = list(runs.values())
        spent = [run.tokens for run in each]
        lines.append(
            f"| {agent} | {sum(run.solved for run in each)} of {len(each)}"
            f" | {sum(s.input for s in spent):,} ({sum(s.cached for s in spent):,})"
            f" | {sum(s.output for s in spent):,} | {sum(s.calls for s in spent)}"
            f" | {sum(run.seconds for run in each):,.0f}"
            f" | {sum(run.exit == 'timeout' for run in each)} |"
        )
    for first, second in combinations(results, 2):
        lines.append(_pair(first, results[first], second, results[second]))
    return "\n".join(lines)


def _pair(first: str, ours: dict[str, Result], second: str, theirs: dict[str, Result]) -> str:
    both = sorted(ours.keys() & theirs.keys())
    only_first = [task for task in both if ours[task].solved and not theirs[task].solved]
    only_second = [task for task in both if theirs[task].solved and not ours[task].solved]
    p = mcnemar(len(only_first), len(only_second))
    return (
        f"{first} against {second}, {len(both)} tasks: only {first} {len(only_first)},"
        f" only {second} {len(only_second)}, exact McNemar p = {p:.3g}"
    )
