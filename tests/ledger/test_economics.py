"""From which volume on a machine of our own pays: the point where both cost the same."""

from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.ledger.economics import Work, breakeven_tokens, token_costs

_NANO = st.fractions(0, 10**12, max_denominator=10**6)
_SOME = st.fractions(1, 10**12, max_denominator=10**6)
_NS = st.integers(0, 10**15)
_TOKENS = st.integers(0, 10**9)
_HOUR_NS = 3_600_000_000_000


def _own(fixed: Fraction, load: Fraction, most: Fraction, tokens: Fraction) -> Fraction:
    return fixed + (load - fixed) * tokens / most


@given(_NANO, _NANO, _SOME, _NANO, st.fractions(0, 1))
def test_below_the_point_the_provider_is_cheaper_and_above_it_the_machine(
    fixed: Fraction, more: Fraction, most: Fraction, asked: Fraction, part: Fraction
) -> None:
    load = fixed + more
    found = breakeven_tokens(fixed, load, most, asked)
    if found is None:
        assert asked * most * part <= _own(fixed, load, most, most * part)
        return
    assert 0 <= found <= most
    assert _own(fixed, load, most, found) == asked * found
    assert _own(fixed, load, most, found * part) >= asked * found * part
    above = found + (most - found) * part
    assert _own(fixed, load, most, above) <= asked * above


@given(_NS, _NS, st.tuples(_TOKENS, _TOKENS), _TOKENS, _NANO)
def test_classes_cost_together_what_the_time_costs(
    prefill_ns: int, decode_ns: int, read: tuple[int, int], output: int, rate: Fraction
) -> None:
    uncached, cached = read
    assume(uncached > 0 and output > 0)
    work = Work(
        machine_ns=prefill_ns + decode_ns,
        prefill_machine_ns=prefill_ns,
        input_tokens=uncached + cached,
        cached_tokens=cached,
        output_tokens=output,
    )
    found = token_costs(rate, work)
    assert found.uncached_input is not None
    assert found.output is not None
    whole = found.uncached_input * uncached + found.output * output
    assert whole == rate * work.machine_ns / _HOUR_NS


def test_what_was_never_made_has_no_cost() -> None:
    work = Work(
        machine_ns=5, prefill_machine_ns=5, input_tokens=3, cached_tokens=3, output_tokens=0
    )
    found = token_costs(Fraction(1), work)
    assert (found.uncached_input, found.output) == (None, None)


def test_a_rented_machine_beside_a_provider() -> None:
    # $48 a day, 100 million tokens a day, the provider asks $1 a million: 48 million pay for it.
    found = breakeven_tokens(Fraction(48), Fraction(48), Fraction(10**8), Fraction(1, 10**6))
    assert found == 48 * 10**6
    assert breakeven_tokens(Fraction(48), Fraction(48), Fraction(10**8), Fraction(0)) is None
    assert breakeven_tokens(Fraction(48), Fraction(48), Fraction(10**7), Fraction(1, 10**6)) is None
