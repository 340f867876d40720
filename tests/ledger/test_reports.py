"""The reports: exact figures, of the right people only, each leading to its receipts."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from sqlalchemy import Connection

from headrace.core.errors import Forbidden, InvalidRequest
from headrace.core.scope import Scope
from headrace.ledger.machines import Terms
from headrace.ledger.prices import Rates
from headrace.ledger.projection import Projector
from headrace.ledger.records import OUTCOME, POSTED, Entry, Outcome, Posted
from headrace.ledger.report_commands import main
from headrace.ledger.report_tables import unit_usd
from headrace.ledger.reports.breakeven import breakeven
from headrace.ledger.reports.burn import burn
from headrace.ledger.reports.cache import cache
from headrace.ledger.reports.index import REPORTS, Asked
from headrace.ledger.reports.machines import machines
from headrace.ledger.reports.margin import margin
from headrace.ledger.reports.names import By
from headrace.ledger.reports.payback import payback
from headrace.ledger.reports.span import Span, ratio, span_of
from headrace.ledger.reports.spend import spend
from headrace.ledger.reports.sums import Same
from headrace.ledger.reports.table import to_csv
from headrace.ledger.reports.units import units
from headrace.store import assets, budgets, generations, prices
from headrace.store import machines as machine_rows
from headrace.store.assets import Asset
from headrace.store.budgets import Budget
from headrace.store.database import Database
from headrace.store.generations import Which
from headrace.store.machines import MachineVersion
from headrace.store.prices import PriceVersion
from headrace.store.spend import DAY_NS, HOUR_NS
from support.journals import open_journal
from support.ledger import begin, end, refund
from support.people import People, move_in

DAY = 20_000
AT_NS = DAY * DAY_NS + 5 * HOUR_NS
NOW_NS = (DAY + 3) * DAY_NS + HOUR_NS
SPAN = Span((DAY - 1) * DAY_NS, (DAY + 4) * DAY_NS)
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
async def people(database: Database, tmp_path: Path) -> People:
    """Calls of everybody over three days, one of them refunded in part."""
    found = database.write_now(move_in)
    with open_journal(tmp_path / "journal") as journal:
        for number, scope in enumerate((found.owner, found.member, found.colleague)):
            opened = begin(
                journal,
                f"g{number}",
                scope,
                started_ns=AT_NS + number * DAY_NS,
                team_id="t" if scope is found.member else None,
                conversation_id=f"c-{scope.account_id}",
                model_id="big" if number == 2 else "tiny",
                purpose="code",
            )
            price = 1_000 * (number + 1)
            end(journal, opened, price_nano=price, machine="gpu" if number == 1 else None)
            if number == 2:
                refund(journal, opened, 500)
        end(journal, begin(journal, "s1", found.stranger, started_ns=AT_NS), price_nano=4_999)
        await Projector(database, journal).catch_up()
    return found


def of(database: Database, scope: Scope, by: By, same: Same | None = None) -> dict[str, int]:
    made = database.read_now(lambda c: spend(c, scope, SPAN, by, same or Same()))
    if by != "conversation":  # not every call belongs to one
        assert made.totals.price_nano == sum(row.price_nano for row in made.rows)
    if by not in {"day", "conversation"}:
        assert made.totals.price_nano == sum(point.price_nano for point in made.series)
    return {row.id: row.price_nano for row in made.rows}


def test_spending_is_told_apart_by_anything(database: Database, people: People):
    owner = people.owner
    assert of(database, owner, "team") == {"": 3_500, "t": 2_000}
    assert of(database, owner, "account") == {"owner": 1_000, "member": 2_000, "colleague": 2_500}
    assert of(database, owner, "model") == {"tiny": 3_000, "big": 2_500}
    assert of(database, owner, "release") == {DIGEST: 5_500}
    assert of(database, owner, "purpose") == {"code": 5_500}
    assert of(database, owner, "day") == {
        "2024-10-04": 1_000,
        "2024-10-05": 2_000,
        "2024-10-06": 2_500,
    }
    assert of(database, owner, "conversation") == {
        "c-owner": 1_000,
        "c-member": 2_000,
        "c-colleague": 2_500,
    }
    assert of(database, owner, "account", Same(model_id="big")) == {"colleague": 2_500}
    assert of(database, owner, "model", Same(team_id="")) == {"tiny": 1_000, "big": 2_500}
    with pytest.raises(InvalidRequest, match="account_id and purpose only"):
        of(database, owner, "conversation", Same(model_id="big"))


def test_members_see_their_own_and_organisations_nothing_of_each_other(
    database: Database, people: People
):
    bys: tuple[By, ...] = ("team", "account", "key", "model", "conversation", "day")
    for by in bys:
        assert sum(of(database, people.member, by).values()) == 2_000
        assert sum(of(database, people.stranger, by).values()) in {4_999, 0}
        assert of(database, people.member, by, Same(account_id="owner")) == {}
    assert of(database, people.stranger, "account") == {"stranger": 4_999}
    assert of(database, people.stranger, "account", Same(account_id="owner")) == {}
    assert database.read_now(lambda c: cache(c, people.member, SPAN)).total.calls == 1
    asked = Asked(now_ns=NOW_NS, span=SPAN)
    for word, report in REPORTS.items():
        if not report.for_members:
            with pytest.raises(Forbidden):
                database.read_now(lambda c, r=report: r.make(c, people.member, asked))
        made = database.read_now(lambda c, r=report: r.make(c, people.stranger, asked))
        assert b"owner" not in msgspec.json.encode(made), word


def test_every_figure_leads_to_the_receipts_it_is_made_of(database: Database, people: People):
    bys: tuple[By, ...] = (
        "team",
        "account",
        "key",
        "model",
        "release",
        "purpose",
        "conversation",
        "day",
    )
    for by in bys:
        made = database.read_now(lambda c, by=by: spend(c, people.owner, SPAN, by))
        for row in made.rows:
            query = parse_qs(urlsplit(row.receipts).query, keep_blank_values=True)
            values = {name: value for name, (value,) in query.items()}
            from_ns, to_ns = (values.pop(name, None) for name in ("from_ns", "to_ns"))
            which = Which(
                from_ns=None if from_ns is None else int(from_ns),
                to_ns=None if to_ns is None else int(to_ns),
                **values,
            )
            found = database.read_now(
                lambda c, w=which: generations.recent(c, people.owner, limit=99, which=w)
            )
            refunded = 500 if any(one.id == "g2" for one in found) else 0
            assert sum(one.price_nano for one in found) - refunded == row.price_nano
            assert len(found) == row.calls


def test_long_spans_are_told_by_month_to_the_same_sums(database: Database, people: People):
    bys: tuple[By, ...] = ("team", "account", "model", "day")
    for days in (200, 366):
        for first in (DAY - 190, DAY):
            span = Span(first * DAY_NS, (first + days) * DAY_NS)
            for by in bys:
                made = database.read_now(lambda c, s=span, by=by: spend(c, people.owner, s, by))
                assert made.step == "month"
                assert made.totals.price_nano == 5_500, (days, first, by)
                assert made.totals.calls == 3


def test_margin_units_and_cache(database: Database, people: People):
    whole = database.read_now(lambda c: margin(c, people.owner, SPAN))
    assert {row.id: row.margin_nano for row in whole.models} == {"tiny": 2_200, "big": 2_100}
    assert whole.total.margin_nano == 5_500 - 1_200
    assert whole.total.margin_bp == 7_818
    assert {row.name for row in whole.accounts} == {"Owner", "Member", "Colleague"}
    per = database.read_now(lambda c: units(c, people.owner, SPAN))
    assert [(one.model_id, one.tokens) for one in per.models] == [("big", 42), ("tiny", 84)]
    assert per.models[1].price_per_thousand_nano == 35_714
    assert per.all_changes.price_per_change_nano is None
    saved = database.read_now(lambda c: cache(c, people.owner, SPAN))
    assert (saved.total.saved_nano, saved.total.cached_bp) == (210, 3_333)


async def test_accepted_changes_have_a_price(database: Database, people: People, tmp_path: Path):
    told = Outcome(
        id="o1",
        organisation_id="acme",
        account_id="member",
        team_id="t",
        model_id="tiny",
        kind="code_change_accepted",
        count=4,
        time_ns=AT_NS,
    )
    with open_journal(tmp_path / "journal") as journal:
        journal.append(OUTCOME, told)
        await Projector(database, journal).catch_up()
    per = database.read_now(lambda c: units(c, people.owner, SPAN))
    assert per.all_changes.price_per_change_nano == 1_375
    assert [(one.model_id, one.price_per_change_nano) for one in per.changes] == [
        ("big", None),
        ("tiny", 750),
    ]
    of_team = database.read_now(lambda c: units(c, people.owner, SPAN, Same(team_id="t")))
    assert of_team.all_changes.price_per_change_nano == 500


async def test_machines_and_idle_time(database: Database, people: People, tmp_path: Path):
    hour = {"machine": "gpu", "hour_ns": AT_NS, "up_ns": 100, "busy_ns": 40, "energy_mj": 50}
    accrual = Posted(
        id="p1",
        organisation_id="acme",
        kind="accrual",
        time_ns=AT_NS,
        entries=(Entry("capacity:gpu", 10), Entry("hardware:gpu", -10)),
        detail=hour | {"estimated_mj": 20, "cost_nano": 10, "idle_nano": 6},
    )
    with open_journal(tmp_path / "journal") as journal:
        journal.append(POSTED, accrual)
        await Projector(database, journal).catch_up()
    (row,) = database.read_now(lambda c: machines(c, people.owner, SPAN)).rows
    assert (row.name, row.idle_ns, row.used_bp, row.estimated_mj) == ("gpu", 60, 4_000, 20)
    whole = database.read_now(lambda c: margin(c, people.owner, SPAN))
    assert (whole.idle_nano, whole.after_idle_nano) == (6, 4_300 - 6)
    assert database.read_now(lambda c: machines(c, people.stranger, SPAN)).rows == ()


def test_burn_says_when_a_budget_is_spent(database: Database, people: People):
    def put(limit_nano: int, identifier: str) -> None:
        made = Budget(
            id=identifier,
            organisation_id="acme",
            node_kind="account",
            node_id="member",
            period="month",
            limit_nano=limit_nano,
            hard=True,
            warn_percent=(),
            webhook_url=None,
            created_ns=1,
        )
        database.write_now(lambda c: budgets.add(c, people.owner, made))

    put(2_500, "tight")
    put(10**9, "wide")
    put(1, "gone")
    made = database.read_now(lambda c: burn(c, people.owner, NOW_NS))
    assert made.rates[0].price_per_day_nano == 5_500 // 4  # the first call was three days ago
    found = {one.id: one for one in made.budgets}
    assert {one.spent_nano for one in found.values()} == {2_000}
    assert found["tight"].per_day_nano == 500
    assert found["tight"].spent_at_ns == NOW_NS + DAY_NS
    assert found["wide"].spent_at_ns is None
    assert found["gone"].spent_at_ns == NOW_NS
    assert found["gone"].name == "Member"
    assert database.read_now(lambda c: burn(c, people.stranger, NOW_NS)).budgets == ()


def test_payback_and_breakeven(database: Database, people: People):
    def put(connection: Connection) -> None:
        assets.add(connection, people.owner, Asset(DIGEST, 10_000, 1_000, 1))
        terms = Terms(rent_per_hour="1", idle_watts="0", load_watts="0")
        encoded = msgspec.json.encode(terms).decode()
        gpu = MachineVersion(id="m", name="gpu", terms=encoded, effective_ns=1, created_ns=1)
        machine_rows.add(connection, people.owner, gpu)
        rates = msgspec.json.encode(Rates(input=10**10, output=10**10)).decode()
        dear = PriceVersion(
            id="p",
            side="cost",
            target="provider/big",
            rates=rates,
            origin="list",
            effective_ns=1,
            created_ns=1,
        )
        prices.add(connection, people.owner, [dear])

    database.write_now(put)
    (row,) = database.read_now(lambda c: payback(c, people.owner, NOW_NS)).rows
    assert (row.earned_nano, row.left_nano, row.served_tokens) == (4_300, 5_700, 126)
    assert database.read_now(lambda c: payback(c, people.stranger, NOW_NS)).rows == ()
    (beside,) = database.read_now(lambda c: breakeven(c, people.owner, SPAN, NOW_NS)).rows
    assert (beside.machine, beside.model_id, beside.provider) == ("gpu", "tiny", "provider/big")
    assert beside.machine_per_day_nano == 24 * 10**9
    assert beside.breakeven_tokens_per_day == 2_400_000
    assert database.read_now(lambda c: breakeven(c, people.stranger, SPAN, NOW_NS)).rows == ()


def test_people_who_were_erased_keep_their_figures(database: Database, people: People):
    erase = "DELETE FROM person WHERE account_id = 'member'"
    database.write_now(lambda c: c.exec_driver_sql(erase))
    made = database.read_now(lambda c: spend(c, people.owner, SPAN, "account"))
    assert {row.name: row.price_nano for row in made.rows}["erased"] == 2_000


class _Line(msgspec.Struct):
    name: str
    amount_nano: int | None


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "|calc", "%x", "\uff1d1"]
)
def test_csv_runs_nothing(name: str):
    page = to_csv(_Line, [_Line(name, -5), _Line("a,b", None)])
    assert page.startswith("name,amount_nano\r\n")
    cell = page.split("\r\n", 1)[1].strip('"')
    assert cell.startswith("'")
    assert page.endswith('"a,b",\r\n')


@pytest.mark.parametrize("name", ["x;=cmd|' /C calc'!A0", "x; +1;@y", "a;\t-1"])
def test_csv_runs_nothing_behind_a_semicolon_either(name: str):
    page = to_csv(_Line, [_Line(name, 5)])
    for cell in page.split(";")[1:]:
        assert cell.startswith("'")
    assert to_csv(_Line, [_Line("a; b-c=d", 5)]).endswith("\r\na; b-c=d,5\r\n")


@pytest.mark.parametrize(
    ("amount", "per", "whole", "told"),
    [
        (1, 1, 2, 0),
        (3, 1, 2, 2),
        (-1, 1, 2, 0),
        (-3, 1, 2, -2),
        (5, 1_000, 3, 1_667),
        (1, 1, 0, None),
    ],
)
def test_shares_are_rounded_half_to_even(amount: int, per: int, whole: int, told: int | None):
    assert ratio(amount, per, whole) == told


def test_spans_are_whole_days():
    assert span_of(NOW_NS, None, None) == Span((DAY - 26) * DAY_NS, (DAY + 4) * DAY_NS)
    assert span_of(NOW_NS, AT_NS, AT_NS + 1) == Span(DAY * DAY_NS, (DAY + 1) * DAY_NS)
    for from_ns, to_ns in ((AT_NS, AT_NS - 2 * DAY_NS), (-1, None), (None, 1 << 63)):
        with pytest.raises(InvalidRequest):
            span_of(NOW_NS, from_ns, to_ns)


WORDS: tuple[str, ...] = (*REPORTS, "balances", "audit")


@pytest.mark.parametrize("word", WORDS)
def test_every_word_answers_in_the_terminal(
    sqlite_database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str
):
    sqlite_database.write_now(move_in)
    assert main([word, "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip()
    assert main([word, "--json", "--data", str(tmp_path)]) == 0
    json.loads(capsys.readouterr().out)
    if word in REPORTS:
        flags = ["--csv", "--since", "2026-01-01", "--until", "2026-02-01", "--data", str(tmp_path)]
        assert main([word, *flags]) == 0
        assert capsys.readouterr().out.startswith(",".join(REPORTS[word].shape.__struct_fields__))


@pytest.mark.parametrize(
    ("nano", "told"),
    [
        (None, "-"),
        (0, "$0.00"),
        (7, "$0.000000007"),
        (213_456, "$0.000213"),
        (-213_500, "-$0.000214"),
        (9_996_000, "$0.01"),
        (12_345_678, "$0.0123"),
        (4_567_000_000, "$4.57"),
        (1_234_567_000_000, "$1234.57"),
    ],
)
def test_unit_costs_keep_their_first_figures(nano: int | None, told: str):
    assert unit_usd(nano) == told


def test_days_that_are_none_are_refused(sqlite_database: Database, tmp_path: Path):
    sqlite_database.write_now(move_in)
    with pytest.raises(InvalidRequest, match="--since is not a day"):
        main(["spend", "--since", "yesterday", "--data", str(tmp_path)])
    with pytest.raises(InvalidRequest, match="ends before it begins"):
        main(["spend", "--since", "2026-02-01", "--until", "2026-01-01", "--data", str(tmp_path)])
