"""The engines and routes that headrace.toml asks for."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from headrace.config.routing import RouteConfig, Routing, Upstream, resolve
from headrace.core.clock import Clock
from headrace.core.errors import HeadraceError
from headrace.core.models import Model
from headrace.ledger.list_prices_child import Wanted
from headrace.serving.engine import Engine
from headrace.serving.engines.process import ProcessEngine, ServerProcess
from headrace.serving.engines.remote import Remote, RemoteEngine
from headrace.serving.engines.remote_key import Key

_log = logging.getLogger(__name__)
_RETRY_S_FIRST, _RETRY_S_MAX = 5.0, 300.0
_NOT_YET = "http://127.0.0.1:9/v1"  # a process has no address before it starts


class Upstreams(msgspec.Struct, frozen=True):
    """What the file asks for.

    `engines` are those of upstreams, by `TargetSpec.engine_id`, none of them started; an
    installed model's engine is the pool's. `routes` stand in the file's order.
    """

    engines: Mapping[str, Engine] = {}
    routes: tuple[RouteConfig, ...] = ()


def make_upstreams(
    routing: Routing, installed: Mapping[str, Model], *, data: Path, clock: Clock
) -> Upstreams:
    """Make every engine that a route needs, one for each pair of upstream and model.

    Args:
        routing: What the file says.
        installed: The installed models that are served, by id.
        data: The data folder; processes keep their logs there.
        clock: The house's clock.

    Raises:
        ConfigError: A target names a model that is not installed.
    """
    routes = resolve(routing, installed)
    hidden = {
        upstream.key.env
        for upstream in routing.upstreams.values()
        if upstream.key is not None and upstream.key.env is not None
    }
    remotes = {
        name: _remote(name, upstream, hidden) for name, upstream in routing.upstreams.items()
    }
    processes = {
        name: _process(remotes[name], upstream, data, clock)
        for name, upstream in routing.upstreams.items()
        if upstream.command is not None
    }
    engines: dict[str, Engine] = {}
    for route in routes:
        for target in (*route.targets, *route.fallbacks):
            name, engine_id = target.upstream, target.engine_id
            if name is None or engine_id in engines:
                continue
            model = msgspec.structs.replace(route.model, id=engine_id)
            given = (remotes[name], target.model, model, target.limits, clock)
            process = processes.get(name)
            engines[engine_id] = (
                RemoteEngine(*given) if process is None else ProcessEngine(process, *given)
            )
    return Upstreams(engines, routes)


def first_targets(routes: Iterable[RouteConfig]) -> dict[str, str]:
    """For each public model that an upstream answers first, that target."""
    firsts = ((route.model.id, route.targets[0]) for route in routes)
    return {name: target.engine_id for name, target in firsts if target.upstream is not None}


def listed_targets(routing: Routing, routes: Iterable[RouteConfig]) -> dict[str, Wanted]:
    """Every target at a URL that is somebody else's, and under what its price may be listed."""
    found: dict[str, Wanted] = {}
    for route in routes:
        for target in (*route.targets, *route.fallbacks):
            upstream = None if target.upstream is None else routing.upstreams[target.upstream]
            if upstream is not None and upstream.url is not None and upstream.machine is None:
                found[target.engine_id] = Wanted(upstream.url, target.model)
    return found


def remote_only(routing: Routing) -> Routing:
    """The routes that lead to upstreams at URLs alone: what any process may serve by itself."""

    def is_remote(name: str | None) -> bool:
        return name is not None and routing.upstreams[name].url is not None

    models = {
        name: route
        for name, route in routing.models.items()
        if all(is_remote(target.upstream) for target in (*route.targets, *route.fallbacks))
    }
    upstreams = {name: each for name, each in routing.upstreams.items() if is_remote(name)}
    return Routing(upstreams, models)


@asynccontextmanager
async def running(upstreams: Upstreams) -> AsyncGenerator[None]:
    """Upstreams that take calls; nobody waits for those that are processes and load long."""
    engines = upstreams.engines.values()
    starts = [asyncio.create_task(_start(engine)) for engine in engines]
    try:
        yield
    finally:
        for start in starts:
            start.cancel()
        await asyncio.gather(*starts, return_exceptions=True)
        await asyncio.gather(*(engine.stop() for engine in engines))


async def _start(engine: Engine) -> None:
    """Start it, however long that takes: what hinders it, a busy GPU say, may go away."""
    pause_s = _RETRY_S_FIRST
    while True:
        try:
            await engine.start()
        except HeadraceError as error:
            hint = f" ({error.hint})" if error.hint else ""
            _log.error(
                "%s: %s%s; tried again in %d s", engine.model.id, error.message, hint, pause_s
            )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _RETRY_S_MAX)
        else:
            return


def _remote(name: str, upstream: Upstream, hidden: set[str]) -> Remote:
    return Remote(
        name,
        upstream.dialect,
        upstream.url or _NOT_YET,
        Key(upstream.key, name, hidden),
        headers=upstream.headers,
        auth_header=upstream.auth_header,
        read_tool_calls=_or_near(upstream.read_tool_calls, upstream),
        extensions=_or_near(upstream.extensions, upstream),
    )


def _or_near(stated: bool | None, upstream: Upstream) -> bool:  # noqa: FBT001 - a setting
    return upstream.is_near() if stated is None else stated


def _process(remote: Remote, upstream: Upstream, data: Path, clock: Clock) -> ServerProcess:
    return ServerProcess(
        remote,
        upstream.command or (),
        health=upstream.health,
        start_s=upstream.start_s,
        pass_environment=upstream.pass_environment,
        log=data / "logs" / f"upstream-{remote.name.replace('/', '_')}.log",
        clock=clock,
    )
