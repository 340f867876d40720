"""POST /v1/outcomes: clients tell what became of answers, such as an accepted change of code."""

from collections.abc import Callable, Collection
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from starlette.responses import Response

from headrace.core.clock import Clock
from headrace.core.errors import InvalidRequest, ModelNotFound
from headrace.core.ids import new_id
from headrace.edge.bodies import read_body
from headrace.edge.routes import Rule, RuledRoute, route
from headrace.identity.caller import may
from headrace.ledger.journal import Journal
from headrace.ledger.records import OUTCOME, Outcome
from headrace.serving.endpoint import Authenticate
from headrace.serving.resource import Resource, Visit, json_body

_BODY_BYTES_MAX = 16 * 1024
_COUNT_MAX = 10_000


class OutcomeBody(msgspec.Struct, frozen=True):
    """What became of a model's answers, and how often.

    With an `id` of the client's own it is counted once however often it is sent.
    """

    kind: Literal["code_change_accepted"]
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    count: Annotated[int, msgspec.Meta(ge=1, le=_COUNT_MAX)] = 1
    id: UUID | None = None
    conversation_id: UUID | None = None


class OutcomeReply(msgspec.Struct, frozen=True):
    """It is written down, and no power cut undoes that."""

    id: str


def outcome_route(
    journal: Journal,
    authenticate: Authenticate,
    clock: Clock,
    *,
    models: Callable[[], Collection[str]],
) -> RuledRoute:
    """The route.

    Args:
        journal: Where outcomes are written down.
        authenticate: Gives the caller of a request's headers.
        clock: The house's clock.
        models: The public models that are served.
    """

    async def tell(visit: Visit) -> Response:
        caller = visit.caller
        may(caller, route="outcomes")
        request = visit.request
        body = await read_body(request.scope, request.receive, bytes_max=_BODY_BYTES_MAX)
        try:
            told = msgspec.json.decode(body, type=OutcomeBody)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"the body is not an outcome: {error}") from None
        may(caller, model=told.model)
        if told.model not in models():
            # Nor may the chain of the journal, which forgets nothing, take any text from clients.
            raise ModelNotFound(f"the model {told.model!r} does not exist here")
        record = Outcome(
            id=new_id(clock) if told.id is None else str(told.id),
            organisation_id=caller.scope.organisation_id,
            account_id=caller.scope.account_id,
            team_id=caller.team_id,
            model_id=told.model,
            kind=told.kind,
            count=told.count,
            time_ns=clock.now_ns(),
            conversation_id=None if told.conversation_id is None else str(told.conversation_id),
        )
        await journal.durable(journal.append(OUTCOME, record))
        return json_body(msgspec.json.encode(OutcomeReply(record.id)))

    endpoint = Resource(tell, authenticate, clock)
    return route("/v1/outcomes", endpoint, methods=["POST"], rule=Rule.KEY)
