"""Route of live traffic: what runs, what came lately, and how much of it there is."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from headrace.core.clock import Clock
from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.serving.gateway import Gateway
from headrace.store import generations, traffic
from headrace.store.database import Database
from headrace.store.generations import Generation
from headrace.store.traffic import Running

_RUNNING_MAX = 200
_RECENT = 50
_SPAN_S = 60.0
_S_PER_MINUTE = 60


class Rates(msgspec.Struct, frozen=True):
    """What ended within the last `span_s` seconds, by time.

    `running_here` and `waiting_here` count calls of the control process at this very moment, to
    which rows come a little later.
    """

    span_s: float
    calls_per_minute: float
    failed_per_minute: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    running_here: int
    waiting_here: int


class Traffic(msgspec.Struct, frozen=True):
    """Calls of all processes: those that run, newest first, the newest receipts, and rates."""

    running: tuple[Running, ...]
    recent: tuple[Generation, ...]
    rates: Rates


def traffic_routes(database: Database, gateway: Gateway, clock: Clock) -> Sequence[RuledRoute]:
    """Live traffic, for viewers.

    Args:
        database: Where all processes' calls are followed.
        gateway: Knows this process's calls.
        clock: The house's clock.
    """

    async def show(request: Request) -> Response:
        scope, now_ns = request.state.scope, clock.now_ns()

        def work(connection: Connection) -> Traffic:
            lately = traffic.lately(connection, scope, now_ns=now_ns, span_s=_SPAN_S)
            queues = [target.queue for target in gateway.router.targets()]
            minutes = lately.span_s / _S_PER_MINUTE
            rates = Rates(
                span_s=lately.span_s,
                calls_per_minute=lately.calls / minutes,
                failed_per_minute=lately.failed / minutes,
                input_tokens_per_s=lately.input_tokens / lately.span_s,
                output_tokens_per_s=lately.output_tokens / lately.span_s,
                running_here=sum(queue.running for queue in queues),
                waiting_here=sum(queue.waiting for queue in queues),
            )
            return Traffic(
                traffic.running(connection, scope, limit=_RUNNING_MAX),
                generations.recent(connection, scope, limit=_RECENT),
                rates,
            )

        return json_response(await database.read(work))

    return [route("/admin/traffic", show, methods=["GET"], rule=Rule.VIEWER)]
