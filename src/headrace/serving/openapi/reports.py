"""Reports, receipts, books and the audit log."""

from typing import Any, get_args

from headrace.edge.openapi import TEXT, Error, Operation, Parameter, Reply, Shape
from headrace.edge.routes import Rule
from headrace.ledger.reports.breakeven import Breakeven
from headrace.ledger.reports.burn import Burn
from headrace.ledger.reports.cache import Cache
from headrace.ledger.reports.machines import Machines
from headrace.ledger.reports.margin import Margin
from headrace.ledger.reports.names import By
from headrace.ledger.reports.payback import Payback
from headrace.ledger.reports.spend import Spend
from headrace.ledger.reports.units import Units
from headrace.serving.admin.audit import AuditPage
from headrace.serving.admin.balances import Balances
from headrace.serving.admin.receipts import ReceiptPage, ReceiptView
from headrace.serving.openapi.common import OPENAI, RESOURCE_FAULTS, limit, place, query
from headrace.serving.outcomes import OutcomeBody, OutcomeReply

_TIME = {"type": "integer", "minimum": 0}
_SPAN = (
    query("from_ns", "From the day of this time on; thirty days before the end by default.", _TIME),
    query(
        "to_ns", "Up to the end of the day before this time; the end of today by default.", _TIME
    ),
)
_SAME = (
    query("team_id", "Calls of this team only; empty for those of none.", TEXT),
    query("account_id", "Calls of this account only.", TEXT),
    query("key_id", "Calls of this key only.", TEXT),
    query("model_id", "Calls of this model only.", TEXT),
    query("release_digest", "Calls that this release answered only.", TEXT),
    query("purpose", "Calls of this purpose only.", TEXT),
    query("machine", "Calls that ran on this machine only; empty for those on none.", TEXT),
)
_FORMAT = query(
    "format",
    "`csv` gives the table alone; a `'` stands before text that a spreadsheet could run.",
    {"type": "string", "enum": ["json", "csv"], "default": "json"},
)
_BY = query(
    "by", "What is told apart.", {"type": "string", "enum": list(get_args(By)), "default": "team"}
)
_BEFORE = query("before", "Those listed behind this one: the `next` of the page before.", TEXT)


def operations() -> list[Operation]:
    """What the ledger tells."""
    return [_outcomes(), *_reports(), *_records()]


def _outcomes() -> Operation:
    return Operation(
        method="POST",
        path="/v1/outcomes",
        name="createOutcome",
        family="Reports",
        rule=Rule.KEY,
        summary="Tell what became of answers, for the cost of a change.",
        body=OutcomeBody,
        example={"kind": "code_change_accepted", "model": "tiny", "count": 1},
        ignored=("conversation_id",),
        replies={200: Reply("It is written down.", {"application/json": OutcomeReply})},
        faults=RESOURCE_FAULTS,
        fault=OPENAI,
    )


def _report(word: str, summary: str, shape: Shape, rule: Rule, *parameters: Parameter) -> Operation:
    content = {"application/json": shape, "text/csv": TEXT}
    return Operation(
        method="GET",
        path=f"/admin/reports/{word}",
        name=f"get{word.title()}Report",
        family="Reports",
        rule=rule,
        summary=summary,
        parameters=(*parameters, _FORMAT),
        replies={200: Reply("The report.", content)},
        faults=(400,),
        fault=(Error,),
    )


def _reports() -> list[Operation]:
    own, all_of_it = Rule.SESSION, Rule.VIEWER
    return [
        _report(
            "spend",
            "What was charged, to whom and for what; members see their own.",
            Spend,
            own,
            _BY,
            *_SPAN,
            *_SAME,
        ),
        _report(
            "cache",
            "What prefix caches saved; members see their own.",
            Cache,
            own,
            *_SPAN,
            *_SAME,
        ),
        _report(
            "units",
            "What a thousand tokens and an accepted change of code come to.",
            Units,
            all_of_it,
            *_SPAN,
            *_SAME,
        ),
        _report("margin", "Gross margin by model, team and account.", Margin, all_of_it, *_SPAN),
        _report(
            "payback",
            "What releases trained here have earned, and what they still must.",
            Payback,
            all_of_it,
        ),
        _report("burn", "How fast money goes, and how long each budget lasts.", Burn, all_of_it),
        _report(
            "breakeven",
            "At which volume a machine of ours beats a provider.",
            Breakeven,
            all_of_it,
            *_SPAN,
        ),
        _report("machines", "Machines: up, busy, idle, energy, cost.", Machines, all_of_it, *_SPAN),
    ]


def _records() -> list[Operation]:
    shared: dict[str, Any] = {"method": "GET", "family": "Reports", "fault": (Error,)}
    times = (
        query("from_ns", "Calls begun from this time on.", _TIME),
        query("to_ns", "Calls begun before this time.", _TIME),
    )
    return [
        Operation(
            path="/admin/receipts",
            name="listReceipts",
            summary="Receipts, newest first; members see their own.",
            rule=Rule.SESSION,
            parameters=(
                *times,
                *_SAME,
                query("conversation_id", "Calls of this conversation only.", TEXT),
                _BEFORE,
                limit(50, 500),
            ),
            replies={200: Reply("A page of them.", {"application/json": ReceiptPage})},
            faults=(400,),
            **shared,
        ),
        Operation(
            path="/admin/receipts/{id}",
            name="getReceipt",
            summary="One receipt, also of a call that has ended this moment.",
            rule=Rule.SESSION,
            parameters=(place("id", "A receipt."),),
            replies={200: Reply("The receipt.", {"application/json": ReceiptView})},
            faults=(404,),
            **shared,
        ),
        Operation(
            path="/admin/audit",
            name="listChanges",
            summary="Who changed what, newest first.",
            rule=Rule.VIEWER,
            parameters=(_BEFORE, limit(50, 500)),
            replies={200: Reply("A page of changes.", {"application/json": AuditPage})},
            faults=(400,),
            **shared,
        ),
        Operation(
            path="/admin/balances",
            name="listBalances",
            summary="What the entries of each account of the ledger come to.",
            rule=Rule.VIEWER,
            replies={200: Reply("The books.", {"application/json": Balances})},
            **shared,
        ),
    ]
