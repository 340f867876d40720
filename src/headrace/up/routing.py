"""From the engines there are, and what the configuration says, to the routes of public names."""

from collections.abc import Mapping, Sequence

import msgspec

from headrace.config.routing import LOCAL_MACHINE, RouteConfig, TargetSpec
from headrace.config.settings import Settings
from headrace.core.clock import Clock
from headrace.serving.engine import Engine
from headrace.serving.pool import Place
from headrace.serving.queue import FairQueue
from headrace.serving.router import Breaker, Route, Router, Target


def make_router(
    places: Sequence[Place],
    settings: Settings,
    clock: Clock,
    *,
    upstreams: Mapping[str, Engine] | None = None,
    routes: Sequence[RouteConfig] = (),
    share: int = 1,
) -> Router:
    """A router to the engines of this machine, each under its model's own name, and to upstreams.

    A configured model takes the place of an installed one of the same name.

    Args:
        places: The engines of the pool; the first one serves the default model.
        settings: Limits of the queues.
        clock: The house's clock.
        upstreams: The engines of upstreams, by the ids that targets name.
        routes: What the configuration says of public models.
        share: How many processes divide the places of upstreams among them.
    """
    maker = _Maker(places, upstreams or {}, settings, clock, share)
    found = {place.engine.model.id: maker.local(place) for place in places}
    found |= {config.model.id: maker.route(config) for config in routes}
    return Router(list(found.values()))


class _Maker:
    """Makes targets; those of one engine share its queue and its breaker."""

    def __init__(
        self,
        places: Sequence[Place],
        upstreams: Mapping[str, Engine],
        settings: Settings,
        clock: Clock,
        share: int,
    ) -> None:
        self._share = share
        self._places = {place.engine.model.id: place for place in places}
        self._upstreams = upstreams
        self._settings = settings
        self._clock = clock
        self._queues: dict[str, FairQueue] = {}
        self._breakers: dict[str, Breaker] = {}

    def local(self, place: Place) -> Route:
        """The route of an installed model under its own name."""
        engine = place.engine
        slots = engine.info.slots or self._settings.running_requests_max
        target = self._target(engine.model.id, engine, slots, self._settings.queue_waiting_max)
        target = msgspec.structs.replace(target, machine=LOCAL_MACHINE)
        return Route(engine.model, (target,))

    def route(self, config: RouteConfig) -> Route:
        """The route of a configured model."""
        alone = len(config.targets) + len(config.fallbacks) == 1
        return Route(
            config.model,
            tuple(self._specified(spec, alone=alone) for spec in config.targets),
            tuple(self._specified(spec, alone=alone) for spec in config.fallbacks),
        )

    def _specified(self, spec: TargetSpec, *, alone: bool) -> Target:
        if spec.upstream is not None:
            engine, limits = self._upstreams[spec.engine_id], spec.limits
            # Its engine keeps its time-outs itself.
            places = -(-(limits.running_max or 1) // self._share)
            target = self._target(spec.engine_id, engine, places, limits.queue_max or 0)
            return msgspec.structs.replace(
                target, weight=spec.weight, machine=spec.machine, upstream=spec.upstream
            )
        (target,) = self.local(self._places[spec.engine_id]).targets
        # A slow answer of this machine is worth waiting for where nobody else answers.
        first_token_s = None if alone else spec.limits.first_token_s
        return msgspec.structs.replace(target, weight=spec.weight, first_token_s=first_token_s)

    def _target(self, engine_id: str, engine: Engine, places: int, waiting_max: int) -> Target:
        if engine_id not in self._queues:
            self._queues[engine_id] = FairQueue(
                places,
                clock=self._clock,
                waiting_max=waiting_max,
                waiting_per_key_max=self._settings.queue_waiting_per_key_max,
                wait_s_max=self._settings.queue_wait_s_max,
            )
            self._breakers[engine_id] = Breaker(self._clock)
        queue, breaker = self._queues[engine_id], self._breakers[engine_id]
        return Target(engine_id, engine, queue, breaker, pooled=engine_id in self._places)
