"""Rows of budgets and grants."""

import msgspec
import pytest
from sqlalchemy import Connection

from headrace.core.scope import Scope
from headrace.store import accounts, budgets, notices
from headrace.store.budgets import Budget, Lease, Span
from headrace.store.database import Database
from headrace.store.notices import Notice
from headrace.store.schema_ledger import spend_hour
from support.budgets import OWNER, settle_in

_HOUR_NS = 3_600_000_000_000
_SPAN = Span("acme", 0, 2 * _HOUR_NS)
_STRANGER = Scope("other", "stranger")
BUDGET = Budget(
    id="b1",
    organisation_id="acme",
    node_kind="organisation",
    node_id="acme",
    period="day",
    limit_nano=1_000,
    hard=True,
    warn_percent=(50, 100),
    webhook_url="https://example.com/hook",
    created_ns=1,
)


@pytest.fixture
async def rows(database: Database) -> Database:
    """A database with one budget, beside another organisation."""

    def work(connection: Connection) -> None:
        settle_in(connection)
        accounts.add_organisation(connection, "other", name="Other", created_ns=1)
        budgets.add(connection, OWNER, BUDGET)

    await database.write(work)
    return database


async def spend(database: Database, *charges: tuple[str, int, str, int]) -> None:
    def work(connection: Connection) -> None:
        for charge in charges:
            connection.execute(spend_hour.insert().values(charge))

    await database.write(work)


async def lease(database: Database, worker: str, used: int, least: int, want: int) -> Lease:
    return await database.write(
        lambda connection: budgets.lease(
            connection,
            _SPAN,
            "b1",
            worker,
            used_nano=used,
            least_nano=least,
            want_nano=want,
            floors={},
        )
    )


async def test_a_budget_comes_back_as_it_was_made(rows: Database):
    assert await rows.read(budgets.everywhere) == (BUDGET,)
    assert await rows.read(lambda connection: budgets.of(connection, OWNER)) == (BUDGET,)
    assert await rows.read(lambda connection: budgets.get(connection, OWNER, "b1")) == BUDGET


async def test_strangers_neither_see_nor_change_it(rows: Database):
    assert await rows.read(lambda connection: budgets.of(connection, _STRANGER)) == ()
    assert await rows.read(lambda connection: budgets.get(connection, _STRANGER, "b1")) is None
    for scope, count in ((_STRANGER, 0), (OWNER, 1)):
        changed = await rows.write(
            lambda connection, scope=scope: budgets.change(
                connection, scope, "b1", {"hard": False, "warn_percent": (80,)}
            )
        )
        assert changed == count
    (now,) = await rows.read(budgets.everywhere)
    assert now == msgspec.structs.replace(BUDGET, hard=False, warn_percent=(80,))


async def test_one_that_has_ended_is_gone(rows: Database):
    def end(connection: Connection) -> int:
        return budgets.change(connection, OWNER, "b1", {"ended_ns": 5})

    assert await rows.write(end) == 1
    assert await rows.write(end) == 0
    assert await rows.read(budgets.everywhere) == ()


@pytest.mark.parametrize(
    ("kind", "identifier", "there"),
    [
        ("organisation", "acme", True),
        ("organisation", "other", False),
        ("team", "team", True),
        ("account", "ada", True),
        ("key", "key-ada", True),
        ("key", "ada", False),
    ],
)
async def test_nodes(rows: Database, kind: budgets.NodeKind, identifier: str, *, there: bool):
    found = await rows.read(
        lambda connection: budgets.has_node(connection, OWNER, kind, identifier)
    )
    assert found is there


async def test_spending_is_summed_by_window_and_worker(rows: Database):
    await spend(
        rows,
        ("acme", 0, "control", 5),
        ("acme", _HOUR_NS, "control", 7),
        ("acme", _HOUR_NS, "w1", 11),
        ("acme", 2 * _HOUR_NS, "w1", 100),
        ("ada", 0, "control", 3),
    )
    spans = [_SPAN, Span("ada", 0, _HOUR_NS), Span("acme", 2 * _HOUR_NS, 3 * _HOUR_NS)]
    found = await rows.read(lambda connection: budgets.spending(connection, spans))
    assert found.charged == {
        spans[0]: {"control": 12, "w1": 11},
        spans[1]: {"control": 3},
        spans[2]: {"w1": 100},
    }
    assert (found.positions, found.running) == ({}, ())


async def test_grants_never_pass_the_limit(rows: Database):
    assert await lease(rows, "w1", 0, 10, 10) == Lease(50, 1_000, 50), "a twentieth of the rest"
    assert await lease(rows, "w2", 0, 100, 400) == Lease(400, 1_000, 400)
    assert await lease(rows, "w1", 30, 900, 900) == Lease(0, 1_000, 30), "and gives back its part"
    assert await lease(rows, "w1", 30, 100, 9_000) == Lease(570, 1_000, 600)
    assert await lease(rows, "w2", 400, 1, 1) == Lease(0, 1_000, 400)
    granted = await rows.read(lambda connection: budgets.granted(connection, "b1", 0))
    assert granted == {"w1": 600, "w2": 400}


async def test_workers_without_a_grant_count_with_their_rows(rows: Database):
    await spend(rows, ("acme", 0, "gone", 700), ("acme", 0, "w1", 100), ("acme", 0, "w2", 50))
    assert await lease(rows, "w1", 100, 200, 1_000) == Lease(0, 250, 100)
    assert await lease(rows, "w1", 100, 100, 1_000) == Lease(150, 250, 250)
    await rows.write(lambda connection: budgets.drop_grants(connection, "w1"))
    assert await lease(rows, "w2", 50, 1, 1_000) == Lease(150, 200, 200)


async def test_what_is_used_beyond_the_limit_is_a_deficit(rows: Database):
    await lease(rows, "w1", 800, 0, 0)
    assert await lease(rows, "w2", 500, 1, 100) == Lease(-300, 1_000, 500)
    assert await lease(rows, "w2", 100, 1, 100) == Lease(100, 1_000, 200)


async def test_money_given_back_from_before_is_not_its_own(rows: Database):
    await rows.write(lambda connection: budgets.rebase(connection, ["b1"], 30))
    (now,) = await rows.read(budgets.everywhere)
    assert (now.base_nano, now.counted_nano) == (-30, 970)


async def test_a_share_is_noticed_once(rows: Database):
    made = Notice("b1", 0, 50, 500, 1)

    def add(connection: Connection) -> bool:
        return notices.add(connection, made, delivered_ns=None)

    assert await rows.write(add)
    assert not await rows.write(add)

    def waiting(connection: Connection) -> tuple[Notice, ...]:
        return notices.waiting(connection, tries_max=2)

    assert await rows.read(waiting) == (made,)
    await rows.write(lambda connection: notices.tried(connection, made, delivered_ns=None))
    assert await rows.read(waiting) == (msgspec.structs.replace(made, tries=1),)
    await rows.write(lambda connection: notices.tried(connection, made, delivered_ns=None))
    assert await rows.read(waiting) == (), "it was tried often enough"
