"""Random walks of budgets: holds, charges, refunds, crashes, leases, changes and jumping clocks.

The model is a list of calls. After every step, in every window of every hard budget, what was
charged and what running calls hold are within the limit; when all has ended, all of the rest is
there to be used again.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from headrace.core.clock import ManualClock
from headrace.core.errors import BudgetSpent, Conflict, InvalidRequest, RateLimited
from headrace.core.ids import new_id
from headrace.core.scope import Lineage
from headrace.ledger.audit import AuditLog
from headrace.ledger.budgets import BudgetChange, Budgets, BudgetTerms
from headrace.ledger.journal import Journal
from headrace.ledger.projection import Projector
from headrace.ledger.records import CLOSED, OPENED, GenerationClosed, GenerationOpened
from headrace.ledger.refunds import Refunds
from headrace.ledger.reservations import Reservations
from headrace.ledger.windows import HOUR_NS, Hold, span_of
from headrace.store import budgets
from headrace.store.budgets import Budget, BudgetPeriod
from headrace.store.database import Database
from support.budgets import ADA, BOB, OWNER, settle_in
from support.database import Postgres

_LINEAGES = (ADA, BOB)
_NODES = (
    ("organisation", "acme"),
    ("team", "team"),
    ("account", "ada"),
    ("key", "key-ada"),
    ("key", "key-bob"),
)
_PERIODS: tuple[BudgetPeriod, ...] = ("hour", "day", "month", "once")
_WAIT_S = 0.02


class Call(msgspec.Struct):
    id: str
    lineage: Lineage
    worker: str
    started_ns: int
    hold: Hold | None
    price_nano: int = 0
    refunded_nano: int = 0


class Worker:
    """A process: its journal and its reservations, and in the first one what admins do."""

    def __init__(self, name: str, journal: Journal, reservations: Reservations) -> None:
        self.name = name
        self.journal = journal
        self.reservations = reservations


class BudgetWalk(RuleBasedStateMachine):
    make_database: ClassVar[Callable[[Path], Database]]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.database = type(self).make_database(self.folder)
        self.database.write_now(settle_in)
        self.clock = ManualClock()
        self.calls: list[Call] = []
        self.workers: list[Worker] = []
        # By budget and window: what was charged and held when the limit was set.
        self.excess: dict[tuple[str, int], int] = {}
        # And after the last step: whatever is over the limit may only become less.
        self.used_before: dict[tuple[str, int], int] = {}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @initialize(workers=st.integers(1, 3))
    def start(self, workers: int) -> None:
        for number in range(workers):
            name = "control" if number == 0 else f"w{number}"
            self.workers.append(self.run(self._start(name, alone=workers == 1)))

    async def _start(self, name: str, *, alone: bool) -> Worker:
        journal = Journal.open(self.folder / "journal", name, self.clock)
        await Projector(self.database, journal).close_open()
        reservations = Reservations(self.database, journal, self.clock, alone=alone, wait_s=_WAIT_S)
        await reservations.reload()
        return Worker(name, journal, reservations)

    async def _changed(self) -> None:
        for worker in self.workers:
            await worker.reservations.reload()

    @property
    def office(self) -> Budgets:
        journal = self.workers[0].journal
        audit = AuditLog(journal, self.clock)
        return Budgets(self.database, journal.directory, self.clock, audit, self._changed)

    # What admins do

    @rule(
        node=st.sampled_from(_NODES),
        period=st.sampled_from(_PERIODS),
        limit_nano=st.integers(0, 3_000),
    )
    def make(self, node: tuple[Any, str], period: BudgetPeriod, limit_nano: int) -> None:
        terms = BudgetTerms(
            node_kind=node[0], node_id=node[1], period=period, limit_nano=limit_nano
        )
        made = self.run(self.office.make(OWNER, terms))
        self._remember(made.id)

    @rule(choice=st.integers(0, 99), limit_nano=st.integers(0, 3_000))
    def change_the_limit(self, choice: int, limit_nano: int) -> None:
        found = self._budgets()
        if found:
            one = found[choice % len(found)]
            change = BudgetChange(limit_nano=limit_nano)
            self.run(self.office.change(OWNER, one.id, change))
            self._remember(one.id)

    @rule(choice=st.integers(0, 99))
    def end(self, choice: int) -> None:
        found = self._budgets()
        if len(found) > 2:
            self.run(self.office.end(OWNER, found[choice % len(found)].id))

    @rule(choice=st.integers(0, 99), nano=st.none() | st.integers(1, 300))
    def refund(self, choice: int, nano: int | None) -> None:
        charged = [one for one in self.calls if one.price_nano]
        if not charged:
            return
        self.project()
        call = charged[choice % len(charged)]
        journal, reservations = self.workers[0].journal, self.workers[0].reservations
        audit = AuditLog(journal, self.clock)
        refunds = Refunds(self.database, journal, self.clock, audit, reservations)
        left_nano = call.price_nano - call.refunded_nano
        try:
            given = self.run(refunds.give(OWNER, call.id, nano, "goodwill"))
        except Conflict:
            assert left_nano == 0
        except InvalidRequest:
            assert nano is not None
            assert nano > left_nano > 0
        else:
            assert given.amount_nano == (nano or left_nano)
            call.refunded_nano += given.amount_nano

    # What calls do

    @rule(
        who=st.sampled_from(_LINEAGES),
        place=st.integers(0, 2),
        worst_nano=st.integers(1, 900),
        least_percent=st.integers(1, 100),
    )
    def call(self, who: Lineage, place: int, worst_nano: int, least_percent: int) -> None:
        worker = self.workers[place % len(self.workers)]
        self.run(self._call(worker, who, worst_nano, least_percent))

    @rule(
        asked=st.lists(
            st.tuples(
                st.sampled_from(_LINEAGES),
                st.integers(0, 2),
                st.integers(1, 900),
                st.integers(1, 100),
            ),
            min_size=2,
            max_size=6,
        ),
        ending=st.booleans(),
    )
    def call_together(self, asked: list[tuple[Lineage, int, int, int]], ending: bool) -> None:  # noqa: FBT001 - drawn
        async def both() -> None:
            tasks = [
                asyncio.create_task(
                    self._call(self.workers[place % len(self.workers)], who, worst, percent)
                )
                for who, place, worst, percent in asked
            ]
            await asyncio.sleep(0)
            for call in [one for one in self.calls if one.hold] if ending else ():
                self._end(call, 30)
            tasks[0].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in tasks[1:]:
                task.result()

        self.run(both())

    async def _call(self, worker: Worker, who: Lineage, worst_nano: int, least_percent: int) -> str:
        """How a call is admitted: it is "held" for, "spent", or others are in its way."""
        at_ns = self.clock.now_ns()
        least_nano = max(1, worst_nano * least_percent // 100)
        reservations = worker.reservations
        hold = reservations.try_hold(who, at_ns, worst_nano, least_nano)
        if hold is None:
            try:
                hold = await reservations.hold(who, at_ns, worst_nano, least_nano)
            except BudgetSpent:
                return "spent"
            except RateLimited:
                return "waited"
        assert least_nano <= hold.nano <= worst_nano
        identifier = new_id(self.clock)
        worker.journal.append(
            OPENED,
            GenerationOpened(
                id=identifier,
                organisation_id=who.organisation_id,
                team_id=who.team_id,
                account_id=who.account_id,
                key_id=who.key_id,
                purpose="api",
                model_id="tiny",
                release_digest="sha256:0",
                engine="scripted",
                dialect="openai",
                started_ns=at_ns,
                held_nano=hold.nano,
            ),
        )
        self.calls.append(Call(identifier, who, worker.name, at_ns, hold))
        return "held"

    @rule(choice=st.integers(0, 99), percent=st.integers(0, 100))
    def settle(self, choice: int, percent: int) -> None:
        running = [one for one in self.calls if one.hold is not None]
        if running:
            self._end(running[choice % len(running)], percent)

    def _end(self, call: Call, percent: int) -> None:
        assert call.hold is not None
        worker = next(one for one in self.workers if one.name == call.worker)
        price_nano = call.hold.nano * percent // 100
        closed = GenerationClosed(id=call.id, stop="end", price_nano=price_nano)
        worker.journal.append(CLOSED, closed)
        worker.reservations.settle(call.hold, price_nano)
        worker.reservations.settle(call.hold, price_nano)  # only the first time counts
        call.price_nano, call.hold = price_nano, None

    # What the world does

    @rule()
    def project(self) -> None:
        self.run(Projector(self.database, self.workers[0].journal).catch_up())

    @rule(place=st.integers(0, 2), rounds=st.integers(1, 6))
    def tick(self, place: int, rounds: int) -> None:
        for _ in range(rounds):
            self.run(self.workers[place % len(self.workers)].reservations.tick())

    @rule(place=st.integers(0, 2))
    def crash(self, place: int) -> None:
        place %= len(self.workers)
        name = self.workers[place].name
        self._stop_tasks()
        self.workers[place].journal.close()
        for call in self.calls:
            if call.worker == name:
                call.hold = None
        self.workers[place] = self.run(self._start(name, alone=len(self.workers) == 1))

    @rule(hours=st.integers(-60, 60))
    def jump(self, hours: int) -> None:
        self.clock.jump(self.clock.now_ns() + hours * HOUR_NS)

    @rule(days=st.integers(1, 40))
    def wait(self, days: int) -> None:
        self.clock.move(days * 24 * HOUR_NS)

    # What must hold

    @invariant()
    def no_hard_budget_is_overshot(self) -> None:
        for one in self._budgets():
            for start_ns, used_nano in self._used(one).items():
                allowed = max(one.limit_nano, self.used_before.get((one.id, start_ns), 0))
                assert used_nano <= allowed, (one, start_ns)
                self.used_before[one.id, start_ns] = used_nano

    @invariant()
    def grants_are_within_the_limit(self) -> None:
        for one in self._budgets() if len(self.workers) > 1 else ():
            for start_ns in self._used(one):
                granted = self.database.read_now(
                    lambda connection, one=one, start=start_ns: budgets.granted(
                        connection, one.id, start
                    )
                )
                # Who has no grant counts with what it spent.
                for worker in self.workers:
                    granted.setdefault(worker.name, self._spent(worker, one, start_ns))
                allowed = max(one.limit_nano, self.excess.get((one.id, start_ns), 0))
                assert sum(granted.values()) - one.base_nano <= allowed, (one, granted)

    @invariant()
    def processes_know_what_they_spent_and_hold(self) -> None:
        for worker in self.workers:
            for window in worker.reservations.windows():
                assert window.spent_nano == self._spent(worker, window.budget, window.start_ns)
                held_nano = sum(
                    one.hold.nano
                    for one in self._inside(window.budget, window.start_ns)
                    if one.worker == worker.name and one.hold
                )
                assert window.held_nano == held_nano

    def _inside(self, budget: Budget, start_ns: int) -> list[Call]:
        """The calls of a window."""
        return [
            one
            for one in self.calls
            if budget.node_id in one.lineage.nodes()
            and span_of(budget.period, one.started_ns)[0] == start_ns
        ]

    def _spent(self, worker: Worker, budget: Budget, start_ns: int) -> int:
        """What a process counts for itself: refunds are the control process's."""
        inside = self._inside(budget, start_ns)
        spent_nano = sum(one.price_nano for one in inside if one.worker == worker.name)
        if worker.name == "control":
            spent_nano -= sum(one.refunded_nano for one in inside)
        return spent_nano

    def teardown(self) -> None:
        try:
            if self.workers:
                self._finish()
        finally:
            self._stop_tasks()
            for worker in self.workers:
                worker.journal.close()
            self.database.close()
            self.loop.close()
            shutil.rmtree(self.folder)

    def _stop_tasks(self) -> None:
        """What a process does beside its calls ends with it."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.run(asyncio.wait(tasks) if tasks else asyncio.sleep(0))

    def _finish(self) -> None:
        """All has ended: exactly what was not spent can be used."""
        for call in self.calls:
            if call.hold is not None:
                self._end(call, 50)
        self.project()
        for worker in self.workers:
            self.run(worker.reservations.close())
        self.no_hard_budget_is_overshot()
        now_ns = self.clock.now_ns()
        for who in _LINEAGES:
            rests = [
                one.limit_nano - self._used(one).get(span_of(one.period, now_ns)[0], 0)
                for one in self._budgets()
                if one.node_id in who.nodes()
            ]
            rest_nano = min(rests, default=1)
            worker = self.workers[-1]
            if rest_nano > 0:
                assert self._insist(worker, who, rest_nano) == "held"
            if rests:
                assert self.run(self._call(worker, who, 1, 100)) != "held"
            for call in self.calls:
                if call.hold is not None:
                    self._end(call, 0)
            self.run(worker.reservations.close())

    def _insist(self, worker: Worker, who: Lineage, nano: int) -> str:
        """Call again for as long as a busy machine may be what is in the way."""
        for _ in range(100):
            told = self.run(self._call(worker, who, nano, 100))
            if told != "waited":
                return told
        return "waited"

    def _budgets(self) -> tuple[Budget, ...]:
        return self.database.read_now(budgets.everywhere)

    def _used(self, one: Budget) -> dict[int, int]:
        """What was charged and is held in each window of a budget in which there were calls."""
        used: dict[int, int] = {span_of(one.period, self.clock.now_ns())[0]: -one.base_nano}
        for call in self.calls:
            if one.node_id in call.lineage.nodes():
                start_ns = span_of(one.period, call.started_ns)[0]
                nano = call.price_nano - call.refunded_nano + (call.hold.nano if call.hold else 0)
                used[start_ns] = used.get(start_ns, 0) + nano
        return used

    def _remember(self, identifier: str) -> None:
        one = next(each for each in self._budgets() if each.id == identifier)
        for start_ns, nano in self._used(one).items():
            self.excess[identifier, start_ns] = nano
            self.used_before[identifier, start_ns] = nano


def _walk(make: Callable[[Path], Database], examples: int, steps: int) -> None:
    class Walk(BudgetWalk):
        make_database = staticmethod(make)

    run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType] - untyped upstream
        Walk,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            # Making a long walk shorter takes minutes; its steps are printed anyhow.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


def test_budgets_hold_on_sqlite(sqlite_template: Path):
    def make(folder: Path) -> Database:
        shutil.copy(sqlite_template, folder / "headrace.db")
        return Database.at(folder, None)

    _walk(make, 30, 30)


def test_budgets_hold_on_postgresql(postgres: Postgres):
    _walk(lambda _: Database(postgres.create("migrated")), 6, 25)
