"""What machines cost: the formula in exact numbers, versions, and refusals."""

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.clock import ManualClock
from headrace.core.errors import InvalidRequest
from headrace.ledger.machines import Machines, Terms, rated
from headrace.store.database import Database
from support.people import move_in

_HOUR_NS = 3_600_000_000_000
_DOLLAR = 1_000_000_000


def _rated(**terms: str) -> Fraction:
    return rated("v1", 0, Terms(**terms)).fixed_nano_per_hour


def test_rent_is_what_an_hour_costs() -> None:
    assert _rated(rent_per_hour="2.49") == Fraction("2.49") * _DOLLAR


def test_a_purchase_is_spread_over_its_life_and_its_money_costs_interest() -> None:
    # 10,000 lose 8,000 in 4 years; on average 6,000 are tied up, at 5 % a year.
    hourly = (Fraction(8_000) / 4 + Fraction(6_000) * 5 / 100) / 8_766
    terms = {"purchase": "10000", "residual_percent": "20", "life_years": "4"}
    assert _rated(**terms, interest_percent="5") == hourly * _DOLLAR


def test_everything_that_is_due_by_the_hour_is_added() -> None:
    found = _rated(
        rent_per_hour="1", space_per_hour="0.1", network_per_hour="0.02", operation_per_hour="0.5"
    )
    assert found == Fraction("1.62") * _DOLLAR


def test_energy_is_kilowatts_times_the_building_times_its_price() -> None:
    found = rated("v1", 0, Terms(idle_watts="100", load_watts="700", pue="1.4", kwh="0.30"))
    # 0.7 kW for an hour, times 1.4, at $0.30.
    assert found.load_nano_per_hour == Fraction("0.294") * _DOLLAR
    assert found.idle_nano_per_hour == Fraction("0.042") * _DOLLAR
    # Half an hour busy of an hour: 400 W on average.
    assert found.estimated_mj(_HOUR_NS, _HOUR_NS // 2) == 400 * 3_600 * 1_000
    assert found.energy_nano(700 * 3_600 * 1_000) == 294_000_000
    assert found.takes_energy()
    assert not rated("v1", 0, Terms(rent_per_hour="1")).takes_energy()


@given(
    st.integers(0, 10**12).map(lambda nano: f"{nano // 10**9}.{nano % 10**9:09d}"),
    st.lists(st.integers(0, _HOUR_NS), max_size=20),
)
def test_shares_cost_what_their_sum_costs_but_for_one_rounding_each(
    rent: str, shares: list[int]
) -> None:
    found = rated("v1", 0, Terms(rent_per_hour=rent, load_watts="350", kwh="0.3"))
    parts = sum(found.share_nano(share) for share in shares)
    assert abs(parts - found.share_nano(sum(shares))) <= (len(shares) + 1) / 2


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("rent_per_hour", "two"),
        ("rent_per_hour", "nan"),
        ("rent_per_hour", "inf"),
        ("rent_per_hour", "1/3"),
        ("rent_per_hour", "1e5"),
        ("rent_per_hour", "9" * 41),
        ("rent_per_hour", "-1"),
        ("purchase", "1000000001"),
        ("idle_watts", "10000001"),
        ("residual_percent", "101"),
        ("life_years", "0"),
        ("pue", "0.9"),
    ],
)
def test_what_is_not_possible_is_refused_by_name(field: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        rated("v1", 0, msgspec.structs.replace(Terms(), **{field: text}))
    assert refused.value.param == field


def test_load_draws_no_less_than_idleness() -> None:
    with pytest.raises(InvalidRequest, match="less than idle_watts"):
        rated("v1", 0, Terms(idle_watts="10", load_watts="9"))


async def test_terms_hold_from_their_time_on_and_for_one_organisation(database: Database) -> None:
    people = await database.write(move_in)
    clock = ManualClock()
    machines = Machines(database, clock, people.owner)
    start_ns = clock.now_ns()
    first = await machines.set("local", Terms(rent_per_hour="1"))
    later = await machines.set("local", Terms(rent_per_hour="2"), start_ns + 100)
    await machines.set("gpu", Terms(rent_per_hour="3"))
    await machines.reload()
    assert machines.at("local", start_ns - 1) is None
    for at_ns, version in ((start_ns, first), (start_ns + 99, first), (start_ns + 100, later)):
        found = machines.at("local", at_ns)
        assert found is not None
        assert found.version == version.id
    assert machines.at("unknown", start_ns) is None
    other = Machines(database, clock, people.stranger)
    await other.reload()
    assert other.at("local", start_ns) is None
    assert len(await machines.versions()) == 3
    assert await other.versions() == ()


async def test_terms_cannot_change_the_past(database: Database) -> None:
    people = await database.write(move_in)
    clock = ManualClock()
    machines = Machines(database, clock, people.owner)
    with pytest.raises(InvalidRequest, match="in the past"):
        await machines.set("local", Terms(), clock.now_ns() - 1)
    with pytest.raises(InvalidRequest, match="kwh"):
        await machines.set("local", Terms(kwh="much"))
    assert await machines.versions() == ()
