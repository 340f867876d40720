import pytest

from headrace.core.clock import ManualClock
from headrace.core.errors import RateLimited
from headrace.identity.throttle import Throttle

_S = 1_000_000_000


@pytest.fixture
def throttle(clock: ManualClock) -> Throttle:
    return Throttle(clock, burst=3, every_s=10, keys_max=100)


def _takes(throttle: Throttle, key: str) -> bool:
    try:
        throttle.take(key)
    except RateLimited:
        return False
    return True


def test_a_burst_then_one_at_a_time(throttle: Throttle, clock: ManualClock):
    assert [_takes(throttle, "a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert _takes(throttle, "b")
    with pytest.raises(RateLimited) as caught:
        throttle.take("a")
    assert caught.value.retry_after_s == 10
    clock.move(10 * _S)
    assert [_takes(throttle, "a") for _ in range(2)] == [True, False]
    clock.move(1000 * _S)
    assert [_takes(throttle, "a") for _ in range(5)] == [True] * 3 + [False] * 2


def test_what_is_given_back_was_not_taken(throttle: Throttle):
    for _ in range(20):
        throttle.take("a")
        throttle.give_back("a")
    assert [_takes(throttle, "a") for _ in range(4)] == [True] * 3 + [False]
    throttle.give_back("never seen")


def test_memory_is_bounded_and_the_newest_is_kept(throttle: Throttle):
    for _ in range(3):
        throttle.take("victim")
    for number in range(99):
        throttle.take(f"key {number}")
    assert not _takes(throttle, "victim")
    for number in range(10_000):
        throttle.take(f"other {number}")
    assert len(throttle._full_ns) == 100  # pyright: ignore[reportPrivateUsage] - the bound itself
