"""Callers for tests that need no key ring."""

from headrace.core.scope import Lineage, Scope
from headrace.identity.caller import Caller
from headrace.store.accounts import Role
from headrace.store.key import KeyScopes


def make_caller(
    key_id: str = "key",
    scope: Scope = Scope("home", "owner"),  # noqa: B008 - frozen
    *,
    role: Role = "owner",
    team_id: str | None = None,
    scopes: KeyScopes | None = None,
) -> Caller:
    """A person who calls with a key."""
    lineage = Lineage(scope.organisation_id, team_id, scope.account_id, key_id)
    return Caller(key_id, scope, "api", "person", lineage, role, scopes)
