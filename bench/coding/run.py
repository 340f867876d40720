"""How many small repairs and features a coding assistant gets right with a local model.

    python bench/coding/run.py AGENT SET --model MODEL [--tasks A,B] [--results FOLDER]
    python bench/coding/run.py table SET

AGENT is `oneshot`, `headrace`, `mini-swe-agent` or `aider`; SET is `develop` or `sealed`; MODEL
is a GGUF file or the id of a model. Each task runs once, in a fresh copy of its repository, on
one `headrace up` that this program starts. What stands in the results folder is not run again.
"""

import argparse
import tempfile
import time
from pathlib import Path

from agents import AGENTS, Setting, check
from harbor import SETS, Task, grade, lay_out, load_set
from results import Result, keep, path_of, read, table
from server import Served, serving, spent

CACHE = Path.home() / ".cache" / "headrace-bench"
TESTS_CHARS_MAX = 2000


def run_task(agent: str, task: Task, served: Served, cache: Path, folder: Path) -> Result:
    """One agent on one task, graded; its transcript is written beside the result."""
    with tempfile.TemporaryDirectory(dir=_made(cache / "work")) as scratch:
        work, home = Path(scratch, "repo"), _made(Path(scratch, "home"))
        lay_out(task, work)
        begun_ns, begun = time.time_ns(), time.monotonic()
        ended, transcript = AGENTS[agent](Setting(task, work, home, cache, served))
        seconds = time.monotonic() - begun
        tokens = spent(served, begun_ns, time.time_ns())
        solved, printed = grade(task, work)
    path = path_of(folder, agent, task.name).with_suffix(".txt")
    path.write_text(transcript)
    tests = printed.replace(f"{SETS}/", "")[-TESTS_CHARS_MAX:]
    return Result(task.name, agent, served.model, solved, seconds, tokens, ended, path.name, tests)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_set(options: argparse.Namespace, tasks: list[Task], folder: Path) -> None:
    """All tasks that have no result yet, one after the other."""
    agent: str = options.agent
    cache: Path = options.cache.absolute()
    check(agent, cache)
    _made(folder / agent)
    left = [task for task in tasks if not path_of(folder, agent, task.name).is_file()]
    if not left:
        return
    with serving(options.model, cache / "data", options.threads) as served:
        for task in left:
            result = run_task(agent, task, served, cache, folder)
            keep(folder, result)
            outcome = "solved" if result.solved else "not solved"
            print(f"{agent} {task.name}: {outcome}, {result.seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("agent", choices=[*AGENTS, "table"])
    parser.add_argument(
        "set", choices=sorted(path.name for path in SETS.iterdir() if path.is_dir())
    )
    parser.add_argument("--model", help="a GGUF file, or the id of a model")
    parser.add_argument("--tasks", help="only these, parted by commas")
    parser.add_argument("--threads", type=int, help="threads of the engine")
    parser.add_argument("--cache", type=Path, default=CACHE, help="agents, model and work folders")
    parser.add_argument("--results", type=Path, help="default: results/ of the cache")
    options = parser.parse_args()
    results: Path = options.results or options.cache / "results"
    folder = results / options.set
    if options.agent != "table":
        if options.model is None:
            parser.error("--model is needed to run an agent")
        tasks = load_set(options.set)
        if options.tasks is not None:
            wanted = options.tasks.split(",")
            tasks = [task for task in tasks if task.name in wanted]
        run_set(options, tasks, folder)
    print(table(read(folder)))


class _Plain(argparse.RawDescriptionHelpFormatter):
    pass


if __name__ == "__main__":
    main()
