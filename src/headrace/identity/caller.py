"""Caller: who makes a call, where it hangs in the tree of accounts, and what its key may do."""

import re
from fnmatch import fnmatchcase
from typing import get_args

import msgspec

from headrace.core.errors import Forbidden, InvalidRequest
from headrace.core.scope import Lineage, Scope
from headrace.store.accounts import Kind, Role
from headrace.store.key import KeyScopes, RouteName

PURPOSE_HEADER = "headrace-purpose"
HOUSE_PURPOSES = frozenset(("terminal", "chat"))
"""Of keys that get a new secret at each start; nobody else's key may be taken for one."""
ROUTES: tuple[RouteName, ...] = get_args(RouteName)
_PURPOSE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PATTERNS_MAX = 64
_PATTERN_LENGTH_MAX = 200
# What is left to somebody who may see and change nothing: the list of models.
_LOOKING: tuple[RouteName, ...] = ("models",)


class Caller(msgspec.Struct, frozen=True):
    """Who calls, as its key says. With `acting_for`, all but the key is that person's.

    Attributes:
        scopes: None where neither the key nor the role of its account narrows anything.
    """

    key_id: str
    scope: Scope
    purpose: str
    kind: Kind
    lineage: Lineage
    role: Role
    scopes: KeyScopes | None = None
    acting_for: str | None = None

    @property
    def team_id(self) -> str | None:
        """The team of the account."""
        return self.lineage.team_id


def effective(scopes: KeyScopes | None, role: Role) -> KeyScopes | None:
    """What a key may be used for by somebody of that role; None where nothing is narrowed."""
    if role == "viewer":
        kept = scopes or KeyScopes()
        return KeyScopes(models=kept.models, routes=_LOOKING, purposes=kept.purposes)
    return scopes if scopes is not None and any(msgspec.structs.astuple(scopes)) else None


def may(
    caller: Caller,
    *,
    model: str | None = None,
    route: RouteName | None = None,
    purpose: str | None = None,
) -> None:
    """Let a call pass; what is None is not asked about.

    Args:
        caller: Who calls.
        model: The public name of the model.
        route: What is called.
        purpose: The word that its receipt will show.

    Raises:
        Forbidden: Its role or a scope of its key is against it; the text says which.
    """
    scopes = caller.scopes
    if scopes is None:
        return
    if route is not None and scopes.routes and route not in scopes.routes:
        if caller.role == "viewer":
            raise Forbidden("the role viewer may look, but neither call models nor change anything")
        raise Forbidden(
            f"this key may not be used for {route!r}: its scope 'routes' allows"
            f" {', '.join(scopes.routes)}"
        )
    if model is not None and not _matches(model, scopes.models):
        raise Forbidden(
            f"this key may not use the model {model!r}: its scope 'models' allows"
            f" {', '.join(scopes.models)}"
        )
    if purpose is not None and scopes.purposes and purpose not in scopes.purposes:
        raise Forbidden(
            f"this key may not be used for the purpose {purpose!r}: its scope 'purposes' allows"
            f" {', '.join(scopes.purposes)}"
        )


def may_see(caller: Caller, model: str) -> bool:
    """Whether a model is among those that the caller's key may use."""
    return caller.scopes is None or _matches(model, caller.scopes.models)


def for_purpose(caller: Caller, purpose: str) -> Caller:
    """The caller with the purpose that it chose for this call.

    Raises:
        Forbidden: Its key may not be used for that.
        InvalidRequest: That is no purpose.
    """
    if purpose == caller.purpose:
        return caller
    check_purpose(purpose)
    may(caller, purpose=purpose)
    return msgspec.structs.replace(caller, purpose=purpose)


def check_purpose(purpose: str) -> None:
    """Refuse what cannot be the purpose of anybody's call.

    Raises:
        InvalidRequest: It is no word, or one of the house's own.
    """
    if _PURPOSE.fullmatch(purpose) is None:
        raise InvalidRequest(
            "a purpose is a word of 1 to 32 of a-z, 0-9, - and _, which begins with a letter",
            param="purpose",
        )
    if purpose in HOUSE_PURPOSES:
        raise InvalidRequest(
            f"the purpose {purpose!r} is for keys that Headrace makes for itself", param="purpose"
        )


def check_scopes(scopes: KeyScopes) -> None:
    """Refuse scopes that could never be meant.

    Raises:
        InvalidRequest: Too many, too long, or odd.
    """
    lists = (scopes.models, scopes.routes, scopes.purposes)
    if max(map(len, lists)) > _PATTERNS_MAX:
        raise InvalidRequest(f"a scope lists {_PATTERNS_MAX} words at most", param="scopes")
    for pattern in scopes.models:
        if not 0 < len(pattern) <= _PATTERN_LENGTH_MAX or not pattern.isprintable():
            raise InvalidRequest(
                "a pattern of the scope 'models' is 1 to"
                f" {_PATTERN_LENGTH_MAX} printable characters, such as 'gpt-*'",
                param="scopes",
            )
    for purpose in scopes.purposes:
        check_purpose(purpose)


def _matches(model: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(model, pattern) for pattern in patterns)
