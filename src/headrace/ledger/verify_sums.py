"""Sums, balances and budgets, held against the receipts and what the journals said."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from headrace.ledger.reports.sums import add
from headrace.ledger.verdict import Expected, Verdict
from headrace.ledger.windows import span_of
from headrace.store import budgets, proof
from headrace.store.budgets import Span
from headrace.store.generations import Generation
from headrace.store.proof import Difference, HardBudget
from headrace.store.schema_ledger import (
    SPEND_DIMENSIONS,
    SPEND_FIGURES,
    spend_day_caller,
    spend_day_model,
)
from headrace.store.spend import DAY_NS, HOUR_NS

_PRICE = SPEND_FIGURES.index("price_nano")
_TALK_PRICE = 3
_TALK_FIGURES = 6
_AT_ONCE = 1_000


def verify_sums(connection: Connection, expected: Expected, verdict: Verdict) -> None:
    """Everything that is summed up; the receipts themselves are proved already."""
    _balances(connection, expected, verdict)
    hours = proof.hardware_hours(connection)
    _same("machine", expected.hours, {key: list(row) for key, row in hours.items()}, verdict)
    _outcomes(connection, expected, verdict)
    for check, known, count in (
        ("posting", expected.postings, proof.count_postings(connection)),
        ("audit", expected.changes, proof.count_events(connection)),
    ):
        if known != count:
            verdict.wrong(check, "all", f"the database has {count}, the journals {known}")
    _spending(connection, expected, verdict)


def _outcomes(connection: Connection, expected: Expected, verdict: Verdict) -> None:
    """Each is one of those told by its id: where several were, any journal may come first."""
    found = {(row.account_id, row.id): row for row in proof.outcomes(connection)}
    for place in {**expected.outcomes, **found}:
        row, told = found.get(place), expected.outcomes.get(place, set())
        if row not in told:
            verdict.wrong("outcome", _where(place), f"the database says {row}, the journals {told}")


def _balances(connection: Connection, expected: Expected, verdict: Verdict) -> None:
    found: dict[tuple[str, str], list[int]] = {}
    totals: dict[str, list[int]] = {}
    for organisation_id, one in proof.balances(connection):
        found[organisation_id, one.name] = [one.amount_nano, one.entries]
        add(totals, organisation_id, (one.amount_nano,))
    _same("balance", expected.balances, found, verdict)
    for organisation_id, (total,) in totals.items():
        if total:
            verdict.wrong("balance", organisation_id, f"all balances come to {total}, not 0")


def _spending(connection: Connection, expected: Expected, verdict: Verdict) -> None:
    """Hours, days, months and conversations; refunds lower those of their calls."""
    days: dict[tuple[Any, ...], list[int]] = {}
    talks: dict[tuple[Any, ...], list[int]] = {}
    for identifier, call in _refunded(connection, expected, verdict):
        back = -expected.refunds[identifier].projected_nano
        if not back or call.stop is None:
            continue
        add(days, _day_of(call), [back if n == _PRICE else 0 for n in range(len(SPEND_FIGURES))])
        if call.conversation_id is not None:
            place = (call.organisation_id, call.conversation_id)
            add(talks, place, [back if n == _TALK_PRICE else 0 for n in range(_TALK_FIGURES)])
    hours = {place: [-nano] for place, (nano,) in expected.hour_refunds.items()}
    _only("spend_hour", proof.hours_off(connection), hours, verdict)
    _only("spend_day", proof.days_off(connection), days, verdict)
    for table in (spend_day_caller, spend_day_model):
        _only(table.name, proof.smaller_days_off(connection, table), {}, verdict)
    _only("spend_month", proof.months_off(connection), {}, verdict)
    _only("spend_conversation", proof.conversations_off(connection), talks, verdict)


def _refunded(
    connection: Connection, expected: Expected, verdict: Verdict
) -> Iterator[tuple[str, Generation]]:
    """The calls that were given money back, which must be theirs and no more than was charged."""
    wanted = sorted(expected.refunds)
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        calls = proof.generations(connection, some)
        for identifier in some:
            call = calls.get(identifier)
            tail = expected.tail_prices.get(identifier)
            _refund(identifier, call, tail, expected, verdict)
            if call is not None:
                yield identifier, call


def _refund(
    identifier: str,
    call: Generation | None,
    tail: tuple[str, int] | None,
    expected: Expected,
    verdict: Verdict,
) -> None:
    refunds = expected.refunds[identifier]
    if tail is None and call is None:
        verdict.wrong("refund", identifier, "money was given back for a call that nobody made")
        return
    price_nano = tail[1] if tail is not None else call.price_nano if call is not None else 0
    if refunds.nano > price_nano:
        text = f"{refunds.nano} nano-dollars were given back of {price_nano} charged"
        verdict.wrong("refund", identifier, text)
    if call is None:
        return
    for refund_id, organisation_id, whose in refunds.claims:
        said = (organisation_id, whose.team_id, whose.account_id, whose.key_id, whose.started_ns)
        known = (
            call.organisation_id,
            call.team_id,
            call.account_id,
            call.key_id,
            call.started_ns,
        )
        if said != known:
            verdict.wrong("refund", refund_id, f"it is not about whom it says: {identifier}")


def _day_of(call: Generation) -> tuple[Any, ...]:
    places = (getattr(call, name) or "" for name in SPEND_DIMENSIONS)
    return (call.organisation_id, call.started_ns - call.started_ns % DAY_NS, *places)


def _same(
    check: str,
    said: Mapping[Any, list[int]],
    rows: Mapping[Any, list[int]],
    verdict: Verdict,
) -> None:
    for place in {**said, **rows}:
        one, row = said.get(place), rows.get(place)
        # A row of nothing is as good as none.
        if one != row and (any(one or ()) or any(row or ())):
            verdict.wrong(check, _where(place), f"the database says {row}, the journals {one}")


def _only(
    check: str,
    found: Iterable[Difference],
    allowed: Mapping[tuple[Any, ...], list[int]],
    verdict: Verdict,
) -> None:
    """Differences must be what refunds explain, and all of that."""
    left = {place: figures for place, figures in allowed.items() if any(figures)}
    for place, figures in found:
        if left.pop(place, None) != list(figures):
            text = f"it is not the sum of its receipts: off by {list(figures)}"
            verdict.wrong(check, _where(place), text)
    for place, figures in left.items():
        verdict.wrong(check, _where(place), f"a refund of {figures} is missing")


def _where(place: Iterable[Any]) -> str:
    return " ".join(str(part) or "-" for part in place)


def verify_budgets(connection: Connection, changed_ns: Mapping[str, int], verdict: Verdict) -> None:
    """Hard budgets, from when they were last changed: never overshot, nor granted twice.

    Args:
        connection: Of a read.
        changed_ns: When those were that the audit log does not know of yet.
        verdict: Takes what is wrong.
    """
    changed = {**proof.budget_changes(connection), **changed_ns}
    for budget in proof.hard_budgets(connection):
        since_ns = max(budget.created_ns, changed.get(budget.id, 0))
        _budget(connection, budget, since_ns, verdict)


def _budget(connection: Connection, budget: HardBudget, since_ns: int, verdict: Verdict) -> None:
    windows: dict[int, int] = {}
    # Calls begun before are not its own, and hours are not told apart any further.
    first_ns = since_ns + -since_ns % HOUR_NS
    for hour_ns, nano in proof.charged_hours(connection, budget.node_id, first_ns):
        start_ns, _ = span_of(budget.period, hour_ns)
        windows[start_ns] = windows.get(start_ns, 0) + nano
    for start_ns, nano in windows.items():
        if nano > budget.limit_nano:
            text = f"{nano} nano-dollars were charged of {budget.limit_nano}"
            verdict.wrong("budget", f"{budget.id} {start_ns}", text)
    for start_ns, granted in proof.grants(connection, budget.id).items():
        span = Span(budget.node_id, start_ns, span_of(budget.period, start_ns)[1])
        # A worker without a grant has what it spent, or gave back: as leases are reckoned.
        nano = sum((budgets.charged(connection, (span,))[span] | granted).values())
        if start_ns >= since_ns and nano > budget.limit_nano:
            text = f"{nano} nano-dollars are granted of {budget.limit_nano}"
            verdict.wrong("budget", f"{budget.id} {start_ns}", text)
