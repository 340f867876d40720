"""CPU time of the commands that answer at once, beyond bare Python. Prints a table."""

import resource
import statistics
import subprocess
import sys

REPEATS = 30


def cpu_ms(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1_000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    rows = {
        "bare Python": ["-c", "pass"],
        "headrace --version": ["-m", "headrace", "--version"],
        "headrace --help": ["-m", "headrace", "--help"],
    }
    # Interleaved, so that the machine's other load falls on all of them alike.
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(REPEATS):
        for name, arguments in rows.items():
            taken[name].append(cpu_ms(arguments))
    bare = statistics.median(taken["bare Python"])
    print(f"{'command':<22}{'CPU ms':>10}{'beyond bare':>14}")
    for name, values in taken.items():
        median = statistics.median(values)
        print(f"{name:<22}{median:>10.1f}{median - bare:>14.1f}")


if __name__ == "__main__":
    main()
