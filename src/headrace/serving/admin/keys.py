"""Routes of API keys: everybody's own, and those of all for admins."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest
from headrace.core.scope import Scope
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.identity.keys import KeyRing
from headrace.ledger.audit import AuditLog
from headrace.serving.admin.body import read_as
from headrace.store.key import KeyScopes

_NS_PER_DAY = timedelta(days=1) // timedelta(microseconds=1) * 1_000
_DAYS_MAX = 36_500


class NewKeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a new key is for.

    `expires_days` None means that it does not expire, `account_id` None that it speaks for
    whoever makes it, `scopes` None that it may be used for everything.
    """

    name: str
    purpose: str = "api"
    expires_days: int | None = None
    account_id: str | None = None
    scopes: KeyScopes | None = None


class RotationBody(msgspec.Struct, forbid_unknown_fields=True):
    """For how many seconds the secret so far opens as well."""

    grace_s: float = 0.0


class KeyRoutes:
    """Endpoints of keys.

    Args:
        keys: All of them.
        audit: Where changes are written down.
        clock: Tells when a key ends.
    """

    def __init__(self, keys: KeyRing, audit: AuditLog, clock: Clock) -> None:
        self._keys = keys
        self._audit = audit
        self._clock = clock

    def routes(self) -> Sequence[RuledRoute]:
        """Their routes."""
        every, one = "/admin/keys", "/admin/keys/{id}"
        return [
            route(every, self.create, methods=["POST"], rule=Rule.MEMBER),
            route(every, self.show, methods=["GET"], rule=Rule.SESSION),
            route(f"{one}/rotate", self.rotate, methods=["POST"], rule=Rule.MEMBER),
            route(one, self.revoke, methods=["DELETE"], rule=Rule.MEMBER),
        ]

    async def create(self, request: Request) -> Response:
        """Make a key; the only answer that holds its secret."""
        wanted = await read_as(request, NewKeyBody, "a new key")
        actor: Scope = request.state.scope
        made = await self._keys.create(
            Scope(actor.organisation_id, wanted.account_id or actor.account_id),
            wanted.name,
            wanted.purpose,
            self._expires_ns(wanted.expires_days),
            wanted.scopes,
            actor=actor,
        )
        await self._audit.note(
            actor,
            "key.made",
            made.id,
            account_id=wanted.account_id or actor.account_id,
            purpose=wanted.purpose,
            expires_ns=made.expires_ns,
            scopes=_told(wanted.scopes),
        )
        return json_response(made, status=201)

    async def show(self, request: Request) -> Response:
        """The keys that the visitor may see."""
        return json_response({"keys": await self._keys.list(request.state.scope)})

    async def rotate(self, request: Request) -> Response:
        """Give a key a new secret; the only answer that holds it."""
        wanted = await read_as(request, RotationBody, "a rotation")
        identifier = request.path_params["id"]
        actor: Scope = request.state.scope
        made = await self._keys.renew(actor, identifier, grace_s=wanted.grace_s)
        await self._audit.note(actor, "key.rotated", identifier, grace_s=wanted.grace_s)
        return json_response(made)

    async def revoke(self, request: Request) -> Response:
        """Refuse a key from now on."""
        identifier = request.path_params["id"]
        await self._keys.revoke(request.state.scope, identifier)
        await self._audit.note(request.state.scope, "key.revoked", identifier)
        return Response(status_code=204)

    def _expires_ns(self, days: int | None) -> int | None:
        if days is None:
            return None
        if not 0 < days <= _DAYS_MAX:
            raise InvalidRequest(f"expires_days is 1 to {_DAYS_MAX}", param="expires_days")
        return self._clock.now_ns() + days * _NS_PER_DAY


def _told(scopes: KeyScopes | None) -> dict[str, object] | None:
    """What the chain says of scopes: patterns of models are free text, which the row keeps."""
    if scopes is None:
        return None
    return {
        "models": len(scopes.models),
        "routes": scopes.routes,
        "purposes": scopes.purposes,
    }
