"""Route of models with their health: who answers for each, how busy, and who rests."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import Response

from headrace.edge.routes import Rule, RuledRoute, json_response, route
from headrace.serving.gateway import Gateway
from headrace.serving.router import Route, Target

Pages = Callable[[], Awaitable[Sequence[bytes]]]
_GAUGE = b"headrace_target_"
_RUNNING, _WAITING = "headrace_target_running", "headrace_target_waiting"
_OPEN = "headrace_target_circuit_open"


class TargetHealth(msgspec.Struct, frozen=True):
    """One target of a model.

    Attributes:
        id: Its name in the configuration, or that of the engine.
        upstream: The server that it is, None for an engine of this machine.
        machine: The hardware of our own that it runs on, if any.
        fallback: Whether it is asked only after all others.
        healthy: False while it is left out after failures, by this process or by a worker.
        rest_s: Until this process tries it again.
        running: Calls that it runs, of all processes.
        waiting: Calls that wait for it.
        places: How many calls it runs at once, in each process.
        loaded: Whether its engine is in memory; None where that is not ours to say.
    """

    id: str
    upstream: str | None
    machine: str | None
    fallback: bool
    healthy: bool
    rest_s: float
    running: int
    waiting: int
    places: int
    loaded: bool | None


class ModelHealth(msgspec.Struct, frozen=True):
    """A public model and who answers for it, in the order in which they are asked."""

    id: str
    display_name: str
    context_tokens: int
    targets: tuple[TargetHealth, ...]


def model_routes(gateway: Gateway, workers_pages: Pages | None = None) -> Sequence[RuledRoute]:
    """Models with their health, for viewers.

    Args:
        gateway: Knows the routes and the engines.
        workers_pages: The figures of the API workers, whose calls are counted there.
    """

    async def show(_: Request) -> Response:
        pages = () if workers_pages is None else await workers_pages()
        elsewhere = _gauges(pages)
        models = [_model(each, gateway, elsewhere) for each in gateway.router.routes()]
        return json_response({"models": models})

    return [route("/admin/models", show, methods=["GET"], rule=Rule.VIEWER)]


def _gauges(pages: Iterable[bytes]) -> Counter[tuple[str, str]]:
    """What workers tell of targets: sums by the name of the figure and the target's id."""
    found: Counter[tuple[str, str]] = Counter()
    for page in pages:
        # Read only what is wanted: a page has a line for each key.
        lines = b"\n".join(line for line in page.split(b"\n") if line.startswith(_GAUGE))
        for family in text_string_to_metric_families(lines.decode() + "\n"):
            for sample in family.samples:
                found[sample.name, sample.labels["target"]] += int(sample.value)
    return found


def _model(found: Route, gateway: Gateway, elsewhere: Counter[tuple[str, str]]) -> ModelHealth:
    model = found.model
    return ModelHealth(
        model.id,
        model.display_name,
        model.context_tokens,
        (
            *(_target(each, gateway, elsewhere, fallback=False) for each in found.targets),
            *(_target(each, gateway, elsewhere, fallback=True) for each in found.fallbacks),
        ),
    )


def _target(
    target: Target, gateway: Gateway, elsewhere: Counter[tuple[str, str]], *, fallback: bool
) -> TargetHealth:
    return TargetHealth(
        id=target.id,
        upstream=target.upstream,
        machine=target.machine,
        fallback=fallback,
        healthy=target.breaker.closed() and not elsewhere[_OPEN, target.id],
        rest_s=target.breaker.rest_s(),
        running=target.queue.running + elsewhere[_RUNNING, target.id],
        waiting=target.queue.waiting + elsewhere[_WAITING, target.id],
        places=target.queue.places,
        loaded=gateway.pool.loaded(target.engine.model.id) if target.pooled else None,
    )
