"""Changes: the audit log as people read it, with the names of what its ids stand for."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from headrace.core.money import NanoDollars, format_usd
from headrace.core.scope import Scope
from headrace.ledger.reports.names import ERASED, known_nodes
from headrace.store import audit
from headrace.store.audit import Event
from headrace.store.schema_ledger import budget

_NS_PER_S = 1_000_000_000
_DID = {
    "account.made": "made the account",
    "account.changed": "changed the account",
    "account.closed": "closed the account",
    "account.erased": "erased the person",
    "account.invited": "invited",
    "asset.created": "entered the training of",
    "budget.made": "set the budget of",
    "budget.changed": "changed the budget of",
    "budget.ended": "ended the budget of",
    "key.made": "made the key",
    "key.rotated": "rotated the key",
    "key.revoked": "revoked the key",
    "limit.set": "set a limit of",
    "limit.removed": "removed a limit of",
    "machine.set": "set the costs of",
    "password.set": "set the password of",
    "price.set": "set the price of",
    "price.updated": "read list prices of",
    "refund.given": "gave money back for the call",
    "sign_in_link.made": "made a sign-in link for",
    "team.made": "made the team",
    "team.renamed": "renamed the team",
    "team.closed": "closed the team",
}
_NODES = {"account", "key", "limit", "password", "sign_in_link", "team"}
"""What is changed of a node of the account tree."""
_NAMED_BY = {"machine": "name", "price": "target"}
"""The detail that names what is changed."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change: `actor` did `did` to `object`; the fields of like names are what the chain holds.

    `detail` says what was set, with opaque ids only, and `told` says that in words.
    """

    id: str
    time_ns: int
    actor_id: str
    actor: str
    action: str
    did: str
    object_id: str
    object: str
    detail: msgspec.Raw
    told: str


def changes(
    connection: Connection, scope: Scope, *, limit: int, before: str | None = None
) -> tuple[Change, ...]:
    """The newest changes in the scope's organisation, newest first; older than id `before`."""
    found = audit.recent(connection, scope, limit=limit, before=before)
    details: list[dict[str, Any]] = [msgspec.json.decode(one.detail) for one in found]
    mentioned = {one.actor_id for one in found} | {one.object_id for one in found}
    for detail in details:
        mentioned |= {str(held) for name, held in detail.items() if name.endswith("_id")}
    names = _names(connection, scope, mentioned)
    return tuple(_change(*pair, names) for pair in zip(found, details, strict=True))


def _names(connection: Connection, scope: Scope, identifiers: Iterable[str]) -> dict[str, str]:
    """The names of nodes; a budget is called by its node and its period."""
    query = select(budget.c.id, budget.c.node_id, budget.c.period).where(
        budget.c.organisation_id == scope.organisation_id, budget.c.id.in_(sorted(identifiers))
    )
    budgets = [
        (str(one), str(node), str(period)) for one, node, period in connection.execute(query)
    ]
    nodes = {node for _, node, _ in budgets}
    known = known_nodes(connection, scope, nodes.union(identifiers))
    return known | {one: f"{known.get(node, ERASED)} ({period})" for one, node, period in budgets}


def _change(one: Event, detail: Mapping[str, Any], names: Mapping[str, str]) -> Change:
    subject = one.action.partition(".")[0]
    unnamed = ERASED if subject in _NODES else one.object_id
    return Change(
        id=one.id,
        time_ns=one.time_ns,
        actor_id=one.actor_id,
        actor=names.get(one.actor_id, ERASED),
        action=one.action,
        did=_DID.get(one.action, one.action),
        object_id=one.object_id,
        object=detail.get(_NAMED_BY.get(subject, "")) or names.get(one.object_id, unnamed),
        detail=msgspec.Raw(one.detail.encode()),
        told=_told(detail, names),
    )


def _told(detail: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return ", ".join(_said(name, held, names) for name, held in detail.items())


def _said(name: str, held: object, names: Mapping[str, str]) -> str:
    word, _, unit = name.rpartition("_")
    if isinstance(held, dict):
        return _told(held, names)  # pyright: ignore[reportUnknownArgumentType] - JSON
    if isinstance(held, list):
        told = " ".join(map(str, held))  # pyright: ignore[reportUnknownArgumentType] - JSON
    elif held is None:
        name, told = word if unit == "ns" else name, "none"
    elif isinstance(held, bool):
        told = "yes" if held else "no"
    elif unit == "nano" and isinstance(held, int):
        name, told = word, format_usd(NanoDollars(held))
    elif unit == "ns" and isinstance(held, int):
        at = datetime.fromtimestamp(held // _NS_PER_S, UTC)
        name, told = word, at.strftime("%Y-%m-%d %H:%M")
    else:
        told = names.get(str(held), str(held))
    return f"{name.removesuffix('_id').replace('_', ' ')}: {told}"
