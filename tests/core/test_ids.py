import uuid

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.clock import ManualClock, SystemClock
from headrace.core.ids import is_id, new_id


def test_an_id_is_a_uuid_of_version_7_and_carries_its_time():
    clock = ManualClock(now_ns=4_000_000_000_000_000_000)
    made = new_id(clock)
    parsed = uuid.UUID(made)
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert str(parsed) == made
    assert is_id(made)
    assert parsed.int >> 80 == 4_000_000_000_000


def test_ids_rise_within_a_millisecond_and_when_the_clock_is_set_back():
    clock = ManualClock(now_ns=5_000_000_000_000_000_000)
    before = [new_id(clock) for _ in range(10_000)]
    clock.jump(1_000)
    after = [new_id(clock) for _ in range(10)]
    made = before + after
    assert made == sorted(set(made))


def test_the_system_clock_makes_distinct_ids():
    assert len({new_id(SystemClock()) for _ in range(1_000)}) == 1_000


@given(st.text())
def test_other_text_is_no_id(text: str):
    assert not is_id(text)
