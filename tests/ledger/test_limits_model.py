"""Limits against exact arithmetic: takes, settlements, kills, restarts and clocks, interleaved."""

import asyncio
import contextlib
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.core.clock import ManualClock
from headrace.core.errors import RateLimited
from headrace.core.scope import Lineage, Scope
from headrace.ledger.limits import Limits, Ticket
from headrace.store import limits as rows
from headrace.store.database import Database
from headrace.store.limits import RateLimit
from support.people import move_in

_S = 1_000_000_000
_PROCESSES = 2
_REQUESTS, _OUTPUT, _PLACES = 7, 1_000, 3
_NEAR = Fraction(1, 10_000)  # buckets are counted in whole nanoseconds
_WHO = Lineage("acme", None, "member", "key-1")


class _Bucket:
    """A token bucket by the book."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.level = Fraction(maximum)

    def pass_by(self, time_ns: int) -> None:
        filled = self.level + Fraction(time_ns * self.maximum, 60 * _S)
        self.level = min(Fraction(self.maximum), filled)

    def use(self, amount: int) -> None:
        self.level = min(Fraction(self.maximum), self.level - amount)


class _World:
    """The limits of two processes, and what they must come to."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.clock = ManualClock()
        self._database = database
        self._path = folder / "limits.page"
        self._open: dict[int, Limits] = {}
        self.running: dict[int, list[tuple[Ticket, int]]] = {}
        # A wall clock that was set back before a start may cost what refilled in between.
        self.set_back = False
        self.requests, self.output = _Bucket(_REQUESTS), _Bucket(_OUTPUT)
        for process in range(_PROCESSES):
            self.start(process)

    def start(self, process: int) -> None:
        """Whoever was there has been killed."""
        if process in self._open:
            self._open.pop(process).close()
        made = Limits(self._database, self._path, self.clock, process=process, processes=_PROCESSES)
        asyncio.run(made.reload())
        self._open[process] = made
        self.running[process] = []

    def move(self, time_ns: int) -> None:
        self.clock.move(time_ns)
        self.requests.pass_by(time_ns)
        self.output.pass_by(time_ns)

    def take(self, process: int, output: int | None) -> None:
        amount = min(output or 256, _OUTPUT)
        places = sum(map(len, self.running.values()))
        room = min(self.requests.level - 1, self.output.level - amount)
        try:
            ticket = self._open[process].take(_WHO, input_tokens=5, output_tokens=output)
        except RateLimited:
            assert self.set_back or room < _NEAR or places == _PLACES
            return
        assert ticket is not None
        assert room > -_NEAR
        assert places < _PLACES
        self.requests.use(1)
        self.output.use(amount)
        self.running[process].append((ticket, amount))

    def settle(self, process: int, output: int) -> None:
        if not self.running[process]:
            return
        ticket, amount = self.running[process].pop(0)
        for _ in range(2):
            self._open[process].settle(ticket, input_tokens=5, output_tokens=output)
        self.output.use(output - amount)

    def close(self) -> None:
        for limits in self._open.values():
            limits.close()


_process = st.integers(0, _PROCESSES - 1)
_steps = st.one_of(
    st.tuples(st.just("take"), _process, st.one_of(st.none(), st.integers(1, 3_000))),
    st.tuples(st.just("settle"), _process, st.integers(0, 3_000)),
    st.tuples(st.just("move"), st.integers(0, 40 * _S), st.none()),
    st.tuples(st.just("kill"), st.just(1), st.none()),
    st.tuples(st.just("restart"), st.just(0), st.none()),
    st.tuples(st.just("jump"), st.integers(-(10**18), 10**18), st.none()),
)


@pytest.fixture(scope="module")
def limited(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Database:
    folder = tmp_path_factory.mktemp("limited")
    shutil.copy(sqlite_template, folder / "headrace.db")
    database = Database.at(folder, None)
    database.write_now(move_in)
    owner = Scope("acme", "owner")
    for limit in (
        RateLimit("key", "key-1", "requests", "minute", _REQUESTS),
        RateLimit("account", "member", "output_tokens", "minute", _OUTPUT),
        RateLimit("organisation", "acme", "concurrent", "now", _PLACES),
    ):
        database.write_now(lambda c, limit=limit: rows.put(c, owner, limit, created_ns=1))
    return database


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(_steps, max_size=30))
@example(
    steps=[
        ("take", 0, 1_000),
        ("move", 40 * _S, None),
        ("jump", -(10**18), None),
        ("restart", 0, None),
        ("take", 0, 600),
    ]
)
def test_no_interleaving_lets_more_or_less_through(
    limited: Database, steps: list[tuple[str, int, int | None]]
):
    with tempfile.TemporaryDirectory() as name:
        world = _World(limited, Path(name))
        with contextlib.closing(world):
            for what, number, amount in steps:
                if what == "take":
                    world.take(number, amount)
                elif what == "settle":
                    world.settle(number, amount or 0)
                elif what == "move":
                    world.move(number)
                elif what == "kill":
                    world.start(number)
                elif what == "restart":
                    for process in range(_PROCESSES):
                        world.start(process)
                else:
                    world.clock.jump(world.clock.now_ns() + number)
                    world.set_back = world.set_back or number < 0
