"""The coding assistant's kernel under faults: kills, broken streams, calls written as text.

    PYTHONPATH=tests python bench/code_faults.py [kills] [streams] [texts] --results FILE

- kills: a whole task in a real process, killed with SIGKILL at each of some 140 points, looked at,
  and gone on with to its end (tests/support/code_crashes.py says what must be true);
- streams: 2,000 streams in each of three dialects, sent by a real server with events lost, doubled,
  moved, broken, foreign or huge, and cut at any byte (tests/support/stream_faults.py);
- texts: 2,000 answers in each form of a tool call as text, within prose, quoted, or cut
  (tests/support/text_calls.py), and reading times of answers of 16,000 and 64,000 characters that
  try to make the reader slow.

Nothing named runs all. What was found at each point is a line of the results file; points that
stand there already are not run again.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from headrace.agent.endpoint import Dialect
from support import code_crashes, stream_faults, text_calls

STREAMS, BATCH = 2_000, 100
JSON = dict[str, object]


class Results:
    """What was found so far, a line for each point."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: dict[str, JSON] = {}
        lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            one = msgspec.json.decode(line, type=dict[str, object])
            self.found[str(one["point"])] = one

    def run(self, point: str, work: Callable[[], JSON]) -> JSON:
        """Do the work of a point, unless it was done."""
        if point not in self.found:
            began_s = time.monotonic()
            one = {"point": point} | work() | {"seconds": round(time.monotonic() - began_s, 2)}
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(one) + b"\n")
            self.found[point] = one
            print(one, flush=True)
        return self.found[point]


def kills(results: Results) -> None:
    """Kill the task everywhere."""

    def one(point: code_crashes.Point) -> JSON:
        with TemporaryDirectory() as folder:
            return code_crashes.crash(Path(folder), point)._asdict()

    found = [
        results.run(f"kill {point.lines} +{point.wait_ms} ms", lambda point=point: one(point))
        for point in code_crashes.points()
    ]
    lines = Counter(one["lines"] for one in found)
    print(f"kills: {len(found)}, nothing lost; lines in the log when killed, and how often:")
    print("  " + ", ".join(f"{n}: {lines[n]}" for n in sorted(lines, key=str)))
    print(f"  calls without an answer then: {sum(bool(one['unanswered']) for one in found)}")


def streams(results: Results) -> None:
    """Send faulty streams, a hundred at a time."""
    for dialect in stream_faults.DIALECTS:
        found = [
            results.run(f"streams {dialect} {first}", partial(some_streams, dialect, first))
            for first in range(0, STREAMS, BATCH)
        ]
        sums = {name: sum(as_int(one[name]) for one in found) for name in ("streams", "whole")}
        print(f"streams of {dialect}: {sums}, no call invented, no cut one whole")


def some_streams(dialect: Dialect, first: int) -> JSON:
    found = asyncio.run(stream_faults.check_many(dialect, range(first, first + BATCH)))
    return {
        "streams": len(found),
        "whole": sum(one.end == "Finished" for one in found),
        "ready": sum(one.ready for one in found),
        "faults": Counter(fault for one in found for fault in one.faults),
    }


def texts(results: Results) -> None:
    """Read calls in text, and time what is slow to read."""

    def answers(form: str) -> JSON:
        seeds = range(STREAMS)
        return {"found": sum(text_calls.check(text_calls.written(form, one)) for one in seeds)}

    forms = list(text_calls.FORMS)
    found = [results.run(f"texts {form}", partial(answers, form)) for form in forms]
    calls = sum(as_int(one["found"]) for one in found)
    print(f"texts: {len(found)} forms, {STREAMS} answers each, {calls} calls found, none invented")
    timed = results.run("texts, reading times", reading_times)
    print(f"texts: the slowest answers to read: {timed['slowest']}")


def reading_times() -> JSON:
    pairs = zip(text_calls.endless(16_000), text_calls.endless(64_000), strict=True)
    timed = [
        (text_calls.seconds(long), text_calls.seconds(short), name)
        for (name, short), (_, long) in pairs
    ]
    slowest = sorted(timed, reverse=True)[:3]
    return {
        "slowest": [
            f"{name[:40]}: {short_s * 1000:.0f} and {long_s * 1000:.0f} ms"
            for long_s, short_s, name in slowest
        ]
    }


def as_int(value: object) -> int:
    assert isinstance(value, int)
    return value


PARTS: dict[str, Callable[[Results], None]] = {"kills": kills, "streams": streams, "texts": texts}


def main() -> None:
    """Run what was named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    parser.add_argument("--results", type=Path, required=True)
    asked = parser.parse_args()
    results = Results(asked.results)
    for name in asked.parts or PARTS:
        PARTS[name](results)


if __name__ == "__main__":
    sys.exit(main())
