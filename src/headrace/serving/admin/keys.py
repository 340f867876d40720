"""Routes for commands of the user who runs Headrace; the run file's credential opens them."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest
from headrace.edge.bodies import read_body
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.identity.keys import KeyRing
from headrace.identity.sessions import Sessions

_BODY_BYTES_MAX = 64 * 1024
_NS_PER_DAY = timedelta(days=1) // timedelta(microseconds=1) * 1_000


class NewKeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a new key is for; `expires_days` None means it does not expire."""

    name: str
    purpose: str = "api"
    expires_days: int | None = None


def admin_routes(keys: KeyRing, sessions: Sessions, clock: Clock) -> Sequence[RuledRoute]:
    """Keys, and fresh sign-in links."""

    async def create(request: Request) -> Response:
        body = await read_body(request.scope, request.receive, bytes_max=_BODY_BYTES_MAX)
        try:
            wanted = msgspec.json.decode(body, type=NewKeyBody)
        except msgspec.MsgspecError as error:
            raise InvalidRequest(f"the body is not a new key: {error}") from None
        expires_ns = None
        if wanted.expires_days is not None:
            expires_ns = clock.now_ns() + wanted.expires_days * _NS_PER_DAY
        made = await keys.create(
            request.state.scope, wanted.name, purpose=wanted.purpose, expires_ns=expires_ns
        )
        return json_response(made, status=201)

    async def show(request: Request) -> Response:
        return json_response({"keys": await keys.list(request.state.scope)})

    async def revoke(request: Request) -> Response:
        await keys.revoke(request.state.scope, request.path_params["id"])
        return Response(status_code=204)

    async def link(request: Request) -> Response:
        token = await sessions.make_link(request.state.scope)
        return json_response({"path": f"/signin?token={token}"}, status=201)

    return [
        route("/admin/keys", create, methods=["POST"], rule=Rule.MEMBER),
        route("/admin/keys", show, methods=["GET"], rule=Rule.SESSION),
        route("/admin/keys/{id}", revoke, methods=["DELETE"], rule=Rule.MEMBER),
        route("/admin/sign-in-links", link, methods=["POST"], rule=Rule.OWNER),
    ]
