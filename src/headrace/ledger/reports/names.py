"""Names of what reports tell apart, joined when somebody reads: names of people are erasable."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from sqlalchemy import Column, Connection, Select, func, select

from headrace.core.scope import Scope
from headrace.store.schema import (
    account,
    api_key,
    conversation,
    organisation,
    person,
    release,
    team,
)

By = Literal["team", "account", "key", "model", "release", "purpose", "conversation", "day"]
ERASED = "erased"
_NO_TEAM = "no team"
_AT_ONCE_MAX = 5_000


def names(
    connection: Connection, scope: Scope, by: By, identifiers: Collection[str]
) -> Mapping[str, str]:
    """The names of these ids of the scope's organisation; every id has one."""
    found = _known(connection, scope, by, sorted(identifiers)[:_AT_ONCE_MAX])
    if by in {"team", "account", "key"}:
        return {one: found.get(one) or (ERASED if one else _NO_TEAM) for one in identifiers}
    return {one: found.get(one) or one for one in identifiers}


def node_names(connection: Connection, scope: Scope, nodes: Collection[str]) -> Mapping[str, str]:
    """The names of nodes of the account tree, of whatever kind they are."""
    known = known_nodes(connection, scope, nodes)
    return {node: known.get(node) or ERASED for node in nodes}


def known_nodes(connection: Connection, scope: Scope, nodes: Collection[str]) -> dict[str, str]:
    """The names of those of these ids that are nodes of the account tree."""
    query = select(organisation.c.id, organisation.c.name)
    known = _pairs(connection, query.where(organisation.c.id == scope.organisation_id))
    kinds: tuple[By, ...] = ("team", "account", "key")
    for by in kinds:
        known |= _known(connection, scope, by, sorted(nodes))
    return known


def _known(connection: Connection, scope: Scope, by: By, identifiers: list[str]) -> dict[str, str]:
    if by == "team":
        query = _named(scope, team.c.id, team.c.name).where(team.c.id.in_(identifiers))
    elif by == "account":
        name = func.coalesce(person.c.name, account.c.service)
        joined = account.outerjoin(person, person.c.account_id == account.c.id)
        query = select(account.c.id, name).select_from(joined)
        of_scope = account.c.organisation_id == scope.organisation_id
        query = query.where(of_scope, account.c.id.in_(identifiers))
    elif by == "key":
        query = _named(scope, api_key.c.id, api_key.c.name).where(api_key.c.id.in_(identifiers))
    elif by == "release":
        digest = release.c.digest
        query = _named(scope, digest, release.c.model_id).where(digest.in_(identifiers))
    elif by == "conversation":
        # A title is what its owner wrote; others see the id.
        query = _named(scope, conversation.c.id, conversation.c.title).where(
            conversation.c.account_id == scope.account_id, conversation.c.id.in_(identifiers)
        )
    else:
        return {}
    return _pairs(connection, query)


def _named(scope: Scope, key: Column[Any], name: Column[Any]) -> Select[Any, Any]:
    """Which key has which name, in the scope's organisation."""
    return select(key, name).where(key.table.c.organisation_id == scope.organisation_id)


def _pairs(connection: Connection, query: Select[Any, Any]) -> dict[str, str]:
    return {key: name for key, name in connection.execute(query) if name}
