"""A busy team's year in the ledger: how large it grows, and how fast the pages and reports answer.

usage: python bench/ledger_year.py FOLDER [--calls N] [--days N] [--runs N] [--journal]

Makes N calls (default ten million) of 200 people in 12 teams with 8 models, spread over a year
with its nights and weekends, writes them through the projection's own functions, then asks every
report. A run that was cut goes on where it stopped; a finished one is only asked again. With
--journal the records go through a journal too, so that `headrace ledger verify` can prove them.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, insert

from headrace.core.clock import ManualClock
from headrace.core.ids import new_id
from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.ledger.journal import Journal
from headrace.ledger.machines import Terms
from headrace.ledger.prices import Rates, amount, saved
from headrace.ledger.records import (
    CLOSED,
    OPENED,
    OUTCOME,
    POSTED,
    Entry,
    GenerationClosed,
    GenerationOpened,
    Outcome,
    Posted,
    Said,
)
from headrace.ledger.reports.index import REPORTS, Asked
from headrace.ledger.reports.span import Span
from headrace.ledger.rows import write
from headrace.store import accounts, budgets, generations, machines, prices
from headrace.store.database import Database
from headrace.store.generations import Which
from headrace.store.schema import team
from headrace.store.spend import DAY_NS, HOUR_NS

_WORKER = "bench"
_NAME = f"generation:{_WORKER}"
_YEAR_NS = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000_000
_DAYS = 365
_PEOPLE, _TEAMS = 200, 12
_WEEKEND = (5, 6)
_BATCH = 30_000
# Filling goes over the whole file; who serves calls writes to its end.
_CACHE_KIB = 2_000_000
_MACHINES = ("gpu1", "gpu2")
_PURPOSES = ("code", "chat", "batch", "agent")
_SHARES = (60, 25, 10, 5)
_PER_CONVERSATION = 12
_PER_CHANGE = 150
_SPEND_BAR_MS, _REPORT_BAR_MS = 300, 2_000
_SUMS = (
    "spend_hour",
    "spend_day",
    "spend_day_caller",
    "spend_day_model",
    "spend_month",
    "spend_conversation",
)
_KINDS: dict[type[Said], str] = {
    GenerationOpened: OPENED,
    GenerationClosed: CLOSED,
    Posted: POSTED,
    Outcome: OUTCOME,
}


class Person(NamedTuple):
    """Somebody with a key for the day and one for batches."""

    account_id: str
    team_id: str
    key_ids: tuple[str, str]
    models: tuple[int, ...]


class Team(NamedTuple):
    """Everybody, the same in every run."""

    organisation_id: str
    people: tuple[Person, ...]
    team_ids: tuple[str, ...]


def main() -> None:
    """Fill and ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--journal", action="store_true")
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    clock = ManualClock(_YEAR_NS)
    database = Database.at(flags.folder, None)
    database.migrate(clock)
    folks = _folks()
    journal = Journal.open(flags.folder / "journal", _WORKER, clock) if flags.journal else None
    try:
        _fill(database, journal, folks, clock, calls=flags.calls, days=flags.days)
        _sizes(flags.folder, database)
        _ask(database, folks, days_filled=_filled_days(database), runs=flags.runs)
    finally:
        if journal is not None:
            journal.close()
        database.close()


def _folks() -> Team:
    chance = random.Random(7)

    def name() -> str:
        return f"01900000-0000-7000-8000-{chance.getrandbits(48):012x}"

    teams = tuple(name() for _ in range(_TEAMS))
    people = tuple(
        Person(
            name(),
            teams[number % _TEAMS],
            (name(), name()),
            tuple(chance.sample(range(len(_MODELS)), 3)),
        )
        for number in range(_PEOPLE)
    )
    return Team(name(), people, teams)


class Model(NamedTuple):
    """Something that is served."""

    name: str
    digest: str
    rates: Rates
    machine: str | None


_MODELS = tuple(
    Model(
        f"model-{number}",
        f"sha256:{number:064x}",
        Rates(
            input=(number + 1) * 200_000_000,
            cached=(number + 1) * 20_000_000,
            output=(number + 1) * 900_000_000,
        ),
        _MACHINES[number % 2] if number < 3 else None,
    )
    for number in range(8)
)


def _fill(
    database: Database,
    journal: Journal | None,
    folks: Team,
    clock: ManualClock,
    *,
    calls: int,
    days: int,
) -> None:
    """Write day after day; each is one position, so that a cut run goes on behind the last one."""
    first = _filled_days(database)
    if not first:
        database.write_now(lambda connection: _settle_in(connection, folks))
    weights = [_weight(day) for day in range(days)]
    begun, cpu = time.perf_counter(), time.process_time()
    made = 0
    for day in range(first, days):
        count = calls * weights[day] // sum(weights)
        _write_day(database, journal, day, list(_day(folks, clock, day, count)))
        made += count
        if day % 10 == 9:
            rate = made / (time.perf_counter() - begun)
            print(f"day {day + 1} of {days}: {made:,} calls, {rate:,.0f} a second", flush=True)
    if made:
        used = (time.process_time() - cpu) / made * 1e6
        print(f"{made:,} calls made and written, {used:.1f} us CPU each")


def _filled_days(database: Database) -> int:
    done = database.read_now(lambda connection: generations.position(connection, _NAME))
    return 0 if done is None else int(msgspec.json.decode(done)["day"]) + 1


def _write_day(database: Database, journal: Journal | None, day: int, said: list[Said]) -> None:
    if journal is not None:
        for one in said:
            journal.append(_KINDS[type(one)], one)

    def work(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA cache_size = -{_CACHE_KIB}")
        for start in range(0, len(said), _BATCH):
            write(connection, _WORKER, said[start : start + _BATCH])
        reached: dict[str, object] = {"day": day}
        if journal is not None:
            reached |= msgspec.structs.asdict(journal.last)
        before = generations.position(connection, _NAME)
        generations.move(connection, _NAME, before, msgspec.json.encode(reached).decode())

    database.write_now(work)


def _weight(day: int) -> int:
    weekday = datetime.fromtimestamp((_YEAR_NS + day * DAY_NS) // 1_000_000_000, UTC).weekday()
    # The team grows by half over the year.
    return (2 if weekday in _WEEKEND else 10) * (1_000 + day * 500 // _DAYS)


def _day(folks: Team, clock: ManualClock, day: int, count: int) -> Iterator[Said]:
    chance = random.Random(day)
    start_ns = _YEAR_NS + day * DAY_NS
    people = chance.choices(folks.people, k=count)
    purposes = chance.choices(_PURPOSES, _SHARES, k=count)
    talks: dict[str, str] = {}
    # From eight to eight, as people work.
    times = sorted(chance.randrange(8 * HOUR_NS, 20 * HOUR_NS) for _ in range(count))
    for number, (person, purpose, time_ns) in enumerate(zip(people, purposes, times, strict=True)):
        clock.jump(start_ns + time_ns)
        if person.account_id not in talks or not chance.randrange(_PER_CONVERSATION):
            talks[person.account_id] = new_id(clock)
        model = _MODELS[chance.choice(person.models)]
        opened = _opened(folks, person, purpose, model, clock, talks[person.account_id])
        yield opened
        closed = _closed(opened, model, chance)
        yield closed
        if not number % 50_000:
            yield _refund(opened, closed, clock)
        if purpose == "code" and not chance.randrange(_PER_CHANGE):
            yield _outcome(opened, clock)
    for hour in range(24):
        clock.jump(start_ns + hour * HOUR_NS)
        for machine in _MACHINES:
            yield _accrual(folks, machine, clock)


def _opened(  # noqa: PLR0917 - what makes a call
    folks: Team, person: Person, purpose: str, model: Model, clock: ManualClock, talk: str
) -> GenerationOpened:
    return GenerationOpened(
        id=new_id(clock),
        organisation_id=folks.organisation_id,
        account_id=person.account_id,
        key_id=person.key_ids[purpose == "batch"],
        purpose=purpose,
        model_id=model.name,
        release_digest=model.digest,
        engine="relay" if model.machine is None else "llama.cpp",
        dialect="openai_chat",
        started_ns=clock.now_ns(),
        team_id=person.team_id,
        conversation_id=None if purpose == "batch" else talk,
        price_id="01900000-0000-7000-8000-000000000000",
        held_nano=10_000_000_000,
    )


def _closed(opened: GenerationOpened, model: Model, chance: random.Random) -> GenerationClosed:
    read, made = chance.randrange(200, 30_000), chance.randrange(20, 1_500)
    usage = Usage(read, read * chance.randrange(100) // 100, made, made // 4)
    price = amount(model.rates, usage)
    cost = price * 6 // 10
    source = "payable:provider" if model.machine is None else f"capacity:{model.machine}"
    return GenerationClosed(
        id=opened.id,
        stop="failed" if not chance.randrange(100) else "end",
        usage=usage,
        cost_nano=cost,
        first_token_ms=chance.randrange(2_000),
        duration_ms=chance.randrange(2_000, 30_000),
        price_nano=price,
        saved_nano=saved(model.rates, usage),
        machine_ns=0 if model.machine is None else made * 1_000_000,
        prefill_machine_ns=0 if model.machine is None else read * 20_000,
        entries=(
            Entry(f"receivable:{opened.account_id}", price),
            Entry(f"revenue:{opened.model_id}", -price),
            Entry(f"cogs:{opened.model_id}", cost),
            Entry(source, -cost),
        ),
    )


def _refund(opened: GenerationOpened, closed: GenerationClosed, clock: ManualClock) -> Posted:
    back = closed.price_nano // 2
    return Posted(
        id=new_id(clock),
        organisation_id=opened.organisation_id,
        kind="refund",
        time_ns=clock.now_ns(),
        entries=(
            Entry(f"revenue:{opened.model_id}", back),
            Entry(f"receivable:{opened.account_id}", -back),
        ),
        generation_id=opened.id,
        detail={
            "team_id": opened.team_id,
            "account_id": opened.account_id,
            "key_id": opened.key_id,
            "started_ns": opened.started_ns,
        },
    )


def _outcome(opened: GenerationOpened, clock: ManualClock) -> Outcome:
    return Outcome(
        id=new_id(clock),
        organisation_id=opened.organisation_id,
        account_id=opened.account_id,
        team_id=opened.team_id,
        model_id=opened.model_id,
        kind="code_change_accepted",
        count=1,
        time_ns=clock.now_ns(),
    )


def _accrual(folks: Team, machine: str, clock: ManualClock) -> Posted:
    cost, idle = 2_000_000_000, 700_000_000
    return Posted(
        id=new_id(clock),
        organisation_id=folks.organisation_id,
        kind="accrual",
        time_ns=clock.now_ns(),
        entries=(
            Entry(f"capacity:{machine}", cost - idle),
            Entry(f"idle:{machine}", idle),
            Entry(f"hardware:{machine}", -cost),
        ),
        detail={
            "machine": machine,
            "hour_ns": clock.now_ns(),
            "up_ns": HOUR_NS,
            "busy_ns": HOUR_NS * 65 // 100,
            "energy_mj": 1_400_000_000,
            "estimated_mj": 0,
            "cost_nano": cost,
            "idle_nano": idle,
        },
    )


def _settle_in(connection: Connection, folks: Team) -> None:
    """The organisation, its people, prices, machines and budgets."""
    owner = Scope(folks.organisation_id, "owner")
    accounts.add_organisation(connection, folks.organisation_id, name="Mill", created_ns=1)
    accounts.add_person(connection, owner, role="owner", name="Owner", created_ns=1)
    chat = Scope(folks.organisation_id, "chat")
    accounts.add_service(connection, chat, role="member", name="chat", created_ns=1)
    for number, team_id in enumerate(folks.team_ids):
        row = {
            "id": team_id,
            "organisation_id": folks.organisation_id,
            "name": f"Team {number}",
            "created_ns": 1,
        }
        connection.execute(insert(team).values(row))
    for number, person in enumerate(folks.people):
        scope = Scope(folks.organisation_id, person.account_id)
        accounts.add_person(connection, scope, role="member", name=f"P {number}", created_ns=1)
    rates = msgspec.json.encode(_MODELS[3].rates).decode()
    listed = prices.PriceVersion(
        id="p1",
        side="cost",
        target="provider/big",
        rates=rates,
        origin="list",
        effective_ns=1,
        created_ns=1,
    )
    prices.add(connection, owner, [listed])
    terms = msgspec.json.encode(
        Terms(rent_per_hour="2", idle_watts="100", load_watts="700", kwh="0.3")
    )
    for name in _MACHINES:
        version = machines.MachineVersion(
            id=name, name=name, terms=terms.decode(), effective_ns=1, created_ns=1
        )
        machines.add(connection, owner, version)
    for node in (folks.organisation_id, *folks.team_ids):
        kind = "organisation" if node == folks.organisation_id else "team"
        budgets.add(connection, owner, _budget(folks, kind, node))


def _budget(folks: Team, kind: str, node: str) -> budgets.Budget:
    return budgets.Budget(
        id=f"budget {node}",
        organisation_id=folks.organisation_id,
        node_kind=kind,  # pyright: ignore[reportArgumentType] - one of two
        node_id=node,
        period="month",
        limit_nano=10**15,
        hard=True,
        warn_percent=(80,),
        webhook_url=None,
        created_ns=1,
    )


def _sizes(folder: Path, database: Database) -> None:
    def count(table: str) -> int:
        query = f"SELECT COUNT(*) FROM {table}"
        return database.read_now(lambda c: c.exec_driver_sql(query).scalar_one())

    calls = max(1, count("generation"))
    rows = {name: count(name) for name in _SUMS}
    size = (folder / "headrace.db").stat().st_size
    print(f"{calls:,} calls; rows of sums: {', '.join(f'{k} {v:,}' for k, v in rows.items())}")
    print(f"database {size / 1e9:.2f} GB: {size / calls * 1e6 / 1e9:.2f} GB per million calls")
    written = sum(one.stat().st_size for one in (folder / "journal").glob("*.jsonl"))
    if written:
        grown = written / calls * 1e6 / 1e9
        print(f"journal {written / 1e9:.2f} GB: {grown:.2f} GB per million calls")


def _ask(database: Database, folks: Team, *, days_filled: int, runs: int) -> None:
    owner = Scope(folks.organisation_id, "owner")
    end_ns = _YEAR_NS + days_filled * DAY_NS
    now_ns = end_ns - HOUR_NS
    print(f"\n{'question':<44}{'p50 ms':>9}{'max ms':>9}{'bar':>8}")
    for days in (30, 90, days_filled):
        span = Span(end_ns - days * DAY_NS, end_ns)
        for by in ("team", "account", "key", "model", "release", "purpose", "conversation", "day"):
            asked = Asked(now_ns=now_ns, span=span, by=by)
            _time(
                f"spend page by {by}, {days} days",
                lambda c, asked=asked: REPORTS["spend"].make(c, owner, asked),
                database,
                _SPEND_BAR_MS,
                runs,
            )
    year = Asked(now_ns=now_ns, span=Span(_YEAR_NS, end_ns))
    for word, report in REPORTS.items():
        _time(
            f"{word}, the year",
            lambda c, report=report: report.make(c, owner, year),
            database,
            _REPORT_BAR_MS,
            runs,
        )
    person = folks.people[0]
    for name, which in {
        "all": Which(),
        "of a team in March": Which(
            team_id=folks.team_ids[0],
            from_ns=_YEAR_NS + 59 * DAY_NS,
            to_ns=_YEAR_NS + 90 * DAY_NS,
        ),
        "of a person": Which(account_id=person.account_id),
        "of a key": Which(key_id=person.key_ids[0]),
        "of a model nobody uses": Which(model_id="none"),
    }.items():
        _time(
            f"receipts {name}",
            lambda c, which=which: generations.recent(c, owner, limit=51, which=which),
            database,
            _SPEND_BAR_MS,
            runs,
        )


def _time(
    name: str, work: Callable[[Connection], object], database: Database, bar_ms: int, runs: int
) -> None:
    taken_ms: list[float] = []
    for _ in range(runs):
        begun = time.perf_counter()
        msgspec.json.encode(database.read_now(work))
        taken_ms.append((time.perf_counter() - begun) * 1e3)
    middle, late = statistics.median(taken_ms), max(taken_ms)
    mark = "" if late <= bar_ms else "  over"
    print(f"{name:<44}{middle:>9.1f}{late:>9.1f}{bar_ms:>8}{mark}", flush=True)


if __name__ == "__main__":
    main()
