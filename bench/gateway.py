"""What the gateway costs: CPU, throughput, added latency and memory, beside a peer and a floor.

    python bench/gateway.py [--only SCENARIO] [--peers NAMES] [--seconds S] [--resume FILE]

Everything runs on this machine: an upstream in C with canned answers, a load client in C, and
between them each gateway by turns, so that whatever else the machine does falls on all alike.
Printed are medians over the rounds. CPU is user and system time of all the gateway's processes.
`headrace` runs with one worker, `headrace-2` with two, both with keys and receipts on;
`headrace-ledger` has a price, a hard budget and two limits besides; `litellm`
runs without keys and database; `bare`, which is `load/relay.py`, relays bytes and does nothing
else; `direct` is the upstream itself, and its CPU the upstream's own.

With `--resume`, results are kept in FILE after each measurement, and those that it holds are not
taken again.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import msgspec
from platformdirs import user_cache_path

from load import peers, results
from load.machine import Client, allow_files, cpu_s, rss_mb
from load.peers import Peer, Scenario
from load.results import Results, Run
from load.upstream import STEP_MS, Upstream, upstream

JSON = Scenario("json", "JSON, 64 connections", 64)
JSON_1 = Scenario("json-1", "JSON, 1 connection", 1)
STREAM = Scenario("stream", "Stream of 100 chunks, 64 connections", 64, stream=True)
STREAM_1 = Scenario(
    "stream-1",
    "Stream of 100 chunks, each in a write of its own, 1 connection",
    1,
    stream=True,
    mode="writes",
)
TRANSLATED = Scenario(
    "translated",
    "Stream, Messages client, Chat upstream, 64 connections",
    64,
    stream=True,
    client="anthropic",
)
MESSAGES = Scenario(
    "messages",
    "Stream, Messages on both sides, 64 connections",
    64,
    stream=True,
    client="anthropic",
    upstream="anthropic",
)
RESPONSES = Scenario(
    "responses",
    "Stream, Responses on both sides, 64 connections",
    64,
    stream=True,
    client="openai_responses",
    upstream="openai_responses",
)
STEPS = Scenario(
    "steps", f"Stream, a chunk every {STEP_MS} ms, 64 connections", 64, stream=True, mode="steps"
)
IDLE = Scenario("idle", "Idle streams", 9_000, stream=True, mode="hold")
SCENARIOS = (JSON, JSON_1, STREAM, STREAM_1, TRANSLATED, MESSAGES, RESPONSES, STEPS, IDLE)

PEERS = ("headrace", "headrace-ledger", "headrace-2", "bare", "litellm")
# Two workers are compared with one where a bar says so.
TWO_WORKERS = (JSON, STREAM)
# LiteLLM would take minutes to open as many as the others.
LITELLM_IDLE_STREAMS = 500
WARM_UP_S = 1.0
SETTLE_S = 2.0
CORES_FOR_TWO_WORKERS = 4
Starter = Callable[[Upstream, Path], AbstractContextManager[Peer]]


class Bar(msgspec.Struct):
    """What is asked of Headrace: a figure that may not be above, or not below, `bar`."""

    what: str
    figure: float | None
    bar: float
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """The word for the table."""
        if self.figure is None:
            return "not measured"
        held = self.figure >= self.bar if self.at_least else self.figure <= self.bar
        return "holds" if held else "MISSED"


def bars(taken: Results) -> Generator[Bar]:
    """Each bar with the figure that was measured for it."""

    def median(scenario: Scenario, value: Callable[[Run], float]) -> float | None:
        return taken.median(scenario, "headrace", value)

    def with_ledger(scenario: Scenario) -> float | None:
        return taken.median(scenario, "headrace-ledger", lambda run: run.cpu_us)

    yield Bar("JSON, CPU us", median(JSON, lambda run: run.cpu_us), 300)
    yield Bar("JSON, CPU us, full ledger", with_ledger(JSON), 300)
    yield Bar("JSON, requests/s", median(JSON, lambda run: run.rate), 2_500, at_least=True)
    yield Bar("stream, CPU us", median(STREAM, lambda run: run.cpu_us), 600)
    yield Bar("stream, CPU us, full ledger", with_ledger(STREAM), 600)
    yield Bar("stream, streams/s", median(STREAM, lambda run: run.rate), 1_500, at_least=True)
    yield Bar("translated stream, CPU us", median(TRANSLATED, lambda run: run.cpu_us), 2_000)
    added_ms = taken.added_ms(JSON_1, "headrace", lambda seen: seen.p50_us)
    yield Bar("JSON, added p50 ms", added_ms, 1)
    added_ms = taken.added_ms(STREAM_1, "headrace", lambda seen: seen.first_p50_us)
    yield Bar("first token, added p50 ms", added_ms, 1)
    yield Bar("idle stream, KB", median(IDLE, lambda run: run.stream_kb), 20)
    for peer in ("headrace", "headrace-ledger", "headrace-2"):
        yield Bar(f"resident after load, MB, {peer}", taken.loaded_rss_mb(peer), 90)
    for scenario in TWO_WORKERS:
        ratio = _two_to_one(taken, scenario, lambda run: run.cpu_us)
        yield Bar(f"{scenario.name}, CPU with two workers to one", ratio, 1.1)
        if (os.cpu_count() or 1) >= CORES_FOR_TWO_WORKERS:
            ratio = _two_to_one(taken, scenario, lambda run: run.rate)
            yield Bar(f"{scenario.name}, rate with two workers to one", ratio, 1.8, at_least=True)


def _two_to_one(taken: Results, scenario: Scenario, value: Callable[[Run], float]) -> float | None:
    one, two = (taken.median(scenario, peer, value) for peer in ("headrace", "headrace-2"))
    return None if one is None or two is None else two / one


def show(taken: Results, names: Sequence[str], cores: int) -> None:
    """Print the table and the verdicts."""
    versions = ", ".join(f"{name} {version}" for name, version in taken.versions.items())
    print(f"commit {taken.commit}; {cores} cores; {versions}")
    for scenario in SCENARIOS:
        if any(taken.of(scenario, name) for name in names):
            _show_scenario(taken, scenario, names)
    print(f"\n{'resident memory':<22}{'idle MB':>12}{'loaded MB':>12}   largest process")
    for name, idle in taken.idle_rss_mb.items():
        print(f"  {name:<20}{max(idle):>12.1f}{_figure(taken.loaded_rss_mb(name), 1):>12}")
    print(f"\n{'bar':<48}{'measured':>12}{'bar':>10}")
    for bar in bars(taken):
        sign = ">=" if bar.at_least else "<="
        figure = _figure(bar.figure, 2)
        print(f"  {bar.what:<46}{figure:>12}{sign:>4}{bar.bar:>6,g}   {bar.verdict}")


def _show_scenario(taken: Results, scenario: Scenario, names: Sequence[str]) -> None:
    if scenario is IDLE:
        print(f"\n{scenario.title:<22}{'streams':>12}{'KB each':>12}{'CPU us':>12}")
    else:
        columns = ("CPU us", "answers/s", "p50 ms", "p99 ms", "first ms", "+p50 ms", "+first ms")
        print(f"\n{scenario.title}\n{'':<22}" + "".join(f"{each:>11}" for each in columns))
    for name in names:
        runs = taken.of(scenario, name)
        errors = sum(run.answered.errors for run in runs)
        if errors:
            worst = max(run.answered.worst_status for run in runs)
            print(f"  {name:<20}{errors} answers failed, the worst with status {worst}")
        elif runs and scenario is IDLE:
            cells = (runs[0].answered.answers, *_medians(taken, scenario, name, _IDLE_CELLS))
            print(f"  {name:<20}" + "".join(f"{_figure(cell, 1):>12}" for cell in cells))
        elif runs:
            cells = [*_medians(taken, scenario, name, _CELLS)]
            cells.append(taken.added_ms(scenario, name, lambda seen: seen.p50_us))
            cells.append(taken.added_ms(scenario, name, lambda seen: seen.first_p50_us))
            shown = zip(cells, (0, 0, 2, 2, 2, 2, 2), strict=True)
            print(f"  {name:<20}" + "".join(f"{_figure(*each):>11}" for each in shown))


_CELLS: tuple[Callable[[Run], float], ...] = (
    lambda run: run.cpu_us,
    lambda run: run.rate,
    lambda run: run.answered.p50_us / 1e3,
    lambda run: run.answered.p99_us / 1e3,
    lambda run: run.answered.first_p50_us / 1e3,
)
_IDLE_CELLS: tuple[Callable[[Run], float], ...] = (
    lambda run: run.stream_kb,
    lambda run: run.cpu_us,
)


def _medians(
    taken: Results, scenario: Scenario, name: str, values: Sequence[Callable[[Run], float]]
) -> list[float | None]:
    return [taken.median(scenario, name, value) for value in values]


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


class Bench:
    """All gateways, started, and what is measured of them.

    Args:
        client: The load client.
        taken: The results so far; grows.
        seconds: Length of one measurement.
        keep: Called after each measurement.
    """

    def __init__(
        self, client: Client, taken: Results, seconds: float, keep: Callable[[], None]
    ) -> None:
        self._client = client
        self._taken = taken
        self._seconds = seconds
        self._keep = keep

    def measure(self, scenario: Scenario, peer: Peer, number: int) -> None:
        """Measure one peer once, unless that is done or it cannot do this."""
        wanted = peer.can(scenario) and (scenario in TWO_WORKERS or peer.name != "headrace-2")
        if not wanted or self._taken.has(scenario, peer.name, number):
            return
        print(f"round {number}: {scenario.name}, {peer.name}", flush=True)
        take = self._hold if scenario is IDLE else self._load
        self._taken.runs.append(take(scenario, peer, number))
        self._keep()

    def _load(self, scenario: Scenario, peer: Peer, number: int) -> Run:
        call = peer.call(scenario)
        self._client.load(call, scenario.connections, WARM_UP_S)
        before_mb, before_s = rss_mb(peer.pid), cpu_s(peer.pid)
        answered = self._client.load(call, scenario.connections, self._seconds)
        used_s = cpu_s(peer.pid) - before_s
        after_mb = rss_mb(peer.pid)
        return Run(scenario.name, peer.name, number, answered, used_s, before_mb, after_mb)

    def _hold(self, scenario: Scenario, peer: Peer, number: int) -> Run:
        streams = scenario.connections
        if peer.name == "litellm":
            streams = LITELLM_IDLE_STREAMS
        before_mb, before_s = rss_mb(peer.pid), cpu_s(peer.pid)
        with self._client.hold(peer.call(scenario), streams) as held:
            answered = held.answered()
            time.sleep(SETTLE_S)
            used_s = cpu_s(peer.pid) - before_s
            after_mb = rss_mb(peer.pid)
        return Run(scenario.name, peer.name, number, answered, used_s, before_mb, after_mb)


def starters(names: Sequence[str], cache: Path) -> dict[str, Starter]:
    """How each peer is started."""
    known: dict[str, Starter] = {
        "headrace": peers.headrace(workers=1),
        "headrace-ledger": peers.headrace(workers=1, ledger=True),
        "headrace-2": peers.headrace(workers=2),
        "bare": peers.bare,
        "litellm": peers.litellm(cache),
    }
    return {"direct": peers.direct} | {name: known[name] for name in names}


def run(options: argparse.Namespace, taken: Results) -> None:
    """Start everything and take all rounds."""
    chosen = [each for each in SCENARIOS if options.only in (None, each.name)]
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as running:
        folder = Path(temporary)
        served = running.enter_context(upstream(folder))
        client = Client(folder)
        started: list[Peer] = []
        for name, start in starters(options.peers, options.cache).items():
            print(f"starting {name}", flush=True)
            peer = running.enter_context(start(served, folder))
            started.append(peer)
        time.sleep(SETTLE_S)
        for peer in started:
            taken.versions[peer.name] = peer.version
            taken.idle_rss_mb.setdefault(peer.name, rss_mb(peer.pid))
        bench = Bench(client, taken, options.seconds, lambda: results.save(options.resume, taken))
        for number in range(1, options.rounds + 1):
            for scenario in chosen:
                # Once and last: freed memory, which a process keeps, would hide the next streams.
                if scenario is not IDLE or number == options.rounds:
                    for peer in started:
                        bench.measure(scenario, peer, number)


def commit() -> str:
    """The commit that is measured, marked when files have changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    where = Path(__file__).parent
    return subprocess.run(
        command, cwd=where, check=True, capture_output=True, text=True
    ).stdout.strip()


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PEERS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; of {', '.join(PEERS)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description="what the gateway costs, beside its peers")
    parser.add_argument("--only", choices=[each.name for each in SCENARIOS], help="one scenario")
    parser.add_argument("--peers", type=_names, default=list(PEERS), help="comma-separated")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resume", type=Path, metavar="FILE", help="keep results there")
    cache = user_cache_path("headrace-bench")
    parser.add_argument("--cache", type=Path, default=cache, help="where peers are installed")
    options = parser.parse_args()
    allow_files()
    taken = results.load(options.resume, commit())
    run(options, taken)
    show(taken, ["direct", *options.peers], os.cpu_count() or 1)


if __name__ == "__main__":
    main()
