"""Router: which engine answers a call of a model, and which comes next if it cannot.

Among the targets of a model the choice goes by weight; a conversation stays with the target
that knows its prefix, unless that one is full and another is not. A target that keeps failing
is left out for a while. Fall-backs stand behind all targets, in their order.
"""

import math
import random
from collections.abc import Sequence

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import EngineUnavailable, ModelNotFound
from headrace.core.models import Model
from headrace.serving.engine import Engine, RelayEngine
from headrace.serving.queue import FairQueue

_FAILURES_MAX = 5
_OPEN_S_FIRST = 5.0
_OPEN_S_MAX = 120.0
_NS_PER_S = 1_000_000_000
_FULL = 1.0


class Breaker:
    """Circuit breaker: after several failures in a row a target rests, ever longer.

    When its rest is over, one call tries it; others wait for what comes of that.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._rest_s = 0.0
        self._until_ns = 0
        self._trying = False

    def closed(self) -> bool:
        """Whether calls may go through now."""
        if self._failures < _FAILURES_MAX:
            return True
        return not self._trying and self._clock.monotonic_ns() >= self._until_ns

    def rest_s(self) -> float:
        """Seconds until it is tried again."""
        return max(0.0, (self._until_ns - self._clock.monotonic_ns()) / _NS_PER_S)

    def tried(self) -> None:
        """A call is on its way."""
        self._trying = self._failures >= _FAILURES_MAX

    def left(self) -> None:
        """The call ended, and told nothing about the target."""
        self._trying = False

    def succeeded(self) -> None:
        """The target answers."""
        self._failures, self._rest_s, self._trying = 0, 0.0, False

    def failed(self) -> None:
        """The target did not answer."""
        self._failures += 1
        self._trying = False
        now_ns = self._clock.monotonic_ns()
        # Calls that were on their way when it began to rest fail together, and tell nothing new.
        if self._failures >= _FAILURES_MAX and now_ns >= self._until_ns:
            self._rest_s = min(max(_OPEN_S_FIRST, 2 * self._rest_s), _OPEN_S_MAX)
            self._until_ns = now_ns + round(self._rest_s * _NS_PER_S)


class Target(msgspec.Struct, frozen=True, eq=False):
    """An engine that answers for a model.

    `first_token_s` is how long it may take until another target is tried. `pooled` engines are
    loaded on demand; the others run as long as Headrace does. `machine` is the hardware of our
    own that it runs on, `upstream` the server of the configuration that it is; an upstream on a
    machine of our own has both.
    """

    id: str
    engine: Engine
    queue: FairQueue
    breaker: Breaker
    weight: float = 1.0
    first_token_s: float | None = None
    pooled: bool = False
    machine: str | None = None
    upstream: str | None = None


class Route(msgspec.Struct, frozen=True, eq=False):
    """A model by its public name, and who answers for it; `targets` is never empty."""

    model: Model
    targets: tuple[Target, ...]
    fallbacks: tuple[Target, ...] = ()


class Router:
    """Routes by public model name.

    Args:
        routes: The routes; the first one is that of the default model.
        seed: Of the weighted choice; None for a different one each time.
    """

    def __init__(self, routes: Sequence[Route], seed: int | None = None) -> None:
        self._routes = {route.model.id: route for route in routes}
        # Looked up for each call; asking the engines whether they relay takes far longer.
        self._relays = {
            target.id: target.engine
            for target in self.targets()
            if isinstance(target.engine, RelayEngine)
        }
        self._relaying = {
            (self._relays[target.id].dialect, name)
            for route in routes
            for target in (*route.targets, *route.fallbacks)
            if target.id in self._relays
            for name in (route.model.id, None)
        }
        self._random = random.Random(seed)  # noqa: S311 - spreads load, guards nothing

    def models(self) -> tuple[Model, ...]:
        """Every model that may be asked for; the default one first."""
        return tuple(route.model for route in self._routes.values())

    def routes(self) -> tuple[Route, ...]:
        """Every route; that of the default model first."""
        return tuple(self._routes.values())

    def targets(self) -> tuple[Target, ...]:
        """Every target once, for figures."""
        found = {
            target.id: target
            for route in self._routes.values()
            for target in (*route.targets, *route.fallbacks)
        }
        return tuple(found.values())

    def relays(self, dialect: str, model_id: str | None) -> bool:
        """Whether a target, of this model or of any, may take calls of a dialect as they come."""
        return (dialect, model_id) in self._relaying

    def relay(self, target: Target) -> RelayEngine | None:
        """The engine of a target, if it takes calls as they come."""
        return self._relays.get(target.id)

    def find(self, model_id: str) -> Route:
        """The route of a model.

        Raises:
            ModelNotFound: There is none.
        """
        route = self._routes.get(model_id)
        if route is None:
            names = ", ".join(self._routes) or "none"
            raise ModelNotFound(f"the model {model_id!r} does not exist here; served: {names}")
        return route

    def order(self, route: Route, affinity: bytes | None) -> tuple[Target, ...]:
        """The targets to try, best first.

        Args:
            route: From `find`.
            affinity: Of the conversation; needed only where there are several targets.

        Raises:
            EngineUnavailable: All of them rest after failures.
        """
        if len(route.targets) == 1 and not route.fallbacks:
            target = route.targets[0]
            # An engine of this machine is watched and started again; alone it need not rest.
            may = target.pooled or target.breaker.closed()
            return route.targets if may else _all_rest(route)
        fit = [target for target in route.targets if target.breaker.closed()]
        ranked = sorted(fit, key=lambda target: self._rank(target, affinity))
        if len(ranked) > 1 and ranked[0].queue.load() >= _FULL:
            # Full ones go behind those with room; the sort is stable, so weights still count.
            ranked.sort(key=_crowding)
        behind = [target for target in route.fallbacks if target.breaker.closed()]
        return (*ranked, *behind) or _all_rest(route)

    def _rank(self, target: Target, affinity: bytes | None) -> float:
        """Weighted rendezvous hashing (Thaler and Ravishankar 1998): the lowest rank is best.

        A conversation gives the same number each time; without one it is drawn.
        """
        if affinity is None:
            drawn = self._random.random()
        else:
            drawn = random.Random(affinity + target.id.encode()).random()  # noqa: S311 - a hash
        return -math.log(drawn or 1e-300) / target.weight


def _crowding(target: Target) -> float:
    load = target.queue.load()
    return load if load >= _FULL else 0.0


def _all_rest(route: Route) -> tuple[Target, ...]:
    rests_s = [target.breaker.rest_s() for target in (*route.targets, *route.fallbacks)]
    raise EngineUnavailable(
        f"everything that answers for {route.model.id} has failed several times and rests",
        retry_after_s=max(1.0, min(rests_s)),
    )
