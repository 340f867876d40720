"""The bill: exact sums, turn by turn, and nothing guessed."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.agent.entries import Answered, Body, Broke, Compacted, Entry, Said, Turned
from headrace.code.bill import Bill, Sum, bill_of, cost_text, left_nano, prefill_s, status_line
from headrace.core.messages import Message, user
from headrace.core.models import Usage

ANSWER = Message("assistant", ())


def entries(*bodies: Body) -> list[Entry]:
    return [
        Entry(id=str(number), parent_id=None, time_ns=number, body=body)
        for number, body in enumerate(bodies)
    ]


def answer(cost_nano: int | None = 1_000, **tokens: int) -> Answered:
    usage = Usage(**({"input": 1_000, "cached": 800, "output": 50} | tokens))
    return Answered(message=ANSWER, stop="end", usage=usage, cost_nano=cost_nano, duration_ms=1_500)


SAID = Said(user("do it"))


def test_turns_and_total_add_up():
    bill = bill_of(
        entries(
            SAID,
            answer(),
            Said(user("and queued words")),
            Said(user("a nudge"), origin="notice"),
            answer(reasoning=20),
            Turned("done"),
            SAID,
            Broke(kind="overloaded", text="later"),
            Broke(kind="cut", text="cut", usage=Usage(input=10, output=3), cost_nano=7),
            answer(cost_nano=1),
        )
    )
    assert [turn.requests for turn in bill.turns] == [2, 2]
    assert [turn.cost_nano for turn in bill.turns] == [2_000, 8]
    assert bill.total == Sum(
        requests=4,
        failed=2,
        usage=Usage(input=3_010, cached=2_400, output=153, reasoning=20),
        cost_nano=2_008,
        duration_ms=4_500,
    )


def test_summaries_count_if_a_model_wrote_them():
    wrote = Compacted(summary="so far", usage=Usage(input=900, output=100), cost_nano=3)
    total = bill_of(entries(SAID, answer(), wrote, Compacted(summary="edited by hand"))).total
    assert (total.requests, total.failed, total.cost_nano) == (2, 0, 1_003)
    assert total.usage.output == 150


@given(st.lists(st.one_of(st.none(), st.integers(0, 10**15)), max_size=30))
def test_costs_add_up_to_the_nano_dollar(costs: list[int | None]):
    total = bill_of(entries(SAID, *map(answer, costs))).total
    assert total.cost_nano == sum(cost for cost in costs if cost is not None)
    assert total.unpriced == costs.count(None)


def test_the_text_says_all_of_it():
    bill = bill_of(entries(SAID, answer(), Turned("done"), SAID, answer(reasoning=20)))
    assert cost_text(bill, budget_nano=10_000, prefill_tokens_per_s=100) == (
        "Requests   2\n"
        "Input      2.0k tokens, 1.6k of them from the cache (80 %)\n"
        "Output     100 tokens, 20 of them reasoning\n"
        "Time       3.0 s of answers\n"
        "Cost       $0.000002\n"
        "Budget     $0.000008 left of $0.00001\n"
        "Prefill    about 4.0 s so far, 100 tokens/s\n"
        "\n"
        "Turns 1 to 2:\n"
        "    1  1 request, 1.0k in, 50 out, $0.000001\n"
        "    2  1 request, 1.0k in, 50 out, $0.000001"
    )


def test_an_unknown_cost_is_said_not_guessed():
    unknown = bill_of(entries(SAID, answer(None)))
    assert "Cost       unknown: nobody tells this model's prices" in cost_text(unknown)
    assert "$" not in status_line(unknown)
    some = bill_of(entries(SAID, answer(None), answer(5)))
    assert "$0.000000005 and an unknown cost of 1 request" in cost_text(some)
    assert status_line(some).endswith("$0.000000005+?")


def test_a_session_without_a_call_costs_nothing():
    assert bill_of(()) == Bill()
    assert "Cost       $0.00" in cost_text(Bill())
    assert status_line(Bill()) == "0 in · 0 out · $0.00"


def test_the_line_is_short_and_never_tells_less_than_was_spent():
    bill = bill_of(entries(SAID, answer(12_345_678, input=12_345, cached=10_000)))
    assert status_line(bill) == "12.3k in (81 % cached) · 50 out · $0.013"
    assert status_line(bill, budget_nano=1_000_000_000).endswith("· $0.98 left")
    assert left_nano(bill, 5) == 0


def test_prefill_needs_a_measured_speed():
    assert prefill_s(1_000, 250.0) == 4.0
    assert prefill_s(1_000, None) is None
    assert prefill_s(1_000, 0) is None
