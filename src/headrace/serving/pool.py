"""Pool: the engines of all served models, started when first asked for.

A model that does not fit beside the loaded ones takes the place of those that are idle longest.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from headrace.core.clock import Clock
from headrace.core.errors import EngineUnavailable, ModelNotFound
from headrace.serving.engine import Engine

_RETRY_AFTER_S = 5.0


class Place(msgspec.Struct):
    """One engine of the pool, and what it holds of the machine once loaded.

    `verify` runs in a thread before each load; it raises when the model's file is not what it
    should be.
    """

    engine: Engine
    memory_bytes: int = 0
    verify: Callable[[], None] | None = None
    started: bool = False
    loading: asyncio.Task[None] | None = None
    users: int = 0
    used_ns: int = 0


class Pool:
    """Engines by model id.

    Args:
        places: The engines, if any; the first one serves the default model.
        memory_bytes_max: What all loaded engines may hold together.
        clock: Tells which engine was idle longest.
    """

    def __init__(self, places: Sequence[Place], *, memory_bytes_max: int, clock: Clock) -> None:
        self._places = {place.engine.model.id: place for place in places}
        self._memory_bytes_max = memory_bytes_max
        self._clock = clock
        self._loading = asyncio.Lock()
        self._stopped = False

    def ready(self) -> bool:
        """Whether the default model would answer now, or another that has taken its place.

        A pool without engines, before upstreams alone, is always ready.
        """
        if not self._places:
            return True
        default = self._default()
        at_work = [default] if default.started else self._loaded()
        return any(place.engine.ready() for place in at_work)

    def loaded(self, model_id: str) -> bool:
        """Whether an engine is in memory."""
        return self._place(model_id).started

    async def start_default(self) -> None:
        """Load the default model, so that the first request need not wait for it."""
        if self._places:
            await self._start(self._default())

    @asynccontextmanager
    async def engine(self, model_id: str) -> AsyncGenerator[Engine]:
        """An engine that is loaded and stays so while the context lasts.

        Raises:
            ModelNotFound: No such model is served.
            EngineUnavailable: It cannot be loaded beside the models in use.
        """
        place = self._place(model_id)
        place.users += 1
        try:
            if not place.started:
                await self._start(place)
            yield place.engine
        finally:
            place.users -= 1
            place.used_ns = self._clock.monotonic_ns()

    async def stop(self) -> None:
        """Stop every engine, those that are being loaded too; none is loaded afterwards."""
        self._stopped = True
        loads = [place.loading for place in self._places.values() if place.loading is not None]
        for load in loads:
            load.cancel()
        if loads:
            await asyncio.wait(loads)
        await asyncio.gather(*(place.engine.stop() for place in self._places.values()))

    def _default(self) -> Place:
        return next(iter(self._places.values()))

    def _loaded(self) -> list[Place]:
        return [place for place in self._places.values() if place.started]

    def _place(self, model_id: str) -> Place:
        place = self._places.get(model_id)
        if place is None:
            names = ", ".join(self._places)
            raise ModelNotFound(f"the model {model_id!r} does not exist here; served: {names}")
        return place

    async def _start(self, place: Place) -> None:
        """Wait until it is loaded.

        The load belongs to no caller: one who hangs up must neither undo it for the others nor
        leave an engine half stopped.
        """
        if place.loading is None and not self._stopped:
            place.loading = asyncio.create_task(self._load(place))
            place.loading.add_done_callback(lambda load: _end_load(place, load))
        load = place.loading
        if load is not None:
            await asyncio.wait([load])
        if load is None or load.cancelled():
            raise EngineUnavailable("Headrace is stopping", retry_after_s=_RETRY_AFTER_S)
        load.result()

    async def _load(self, place: Place) -> None:
        # One load at a time: two at once could each fit and together not.
        async with self._loading:
            if place.verify is not None:
                await asyncio.to_thread(place.verify)
            await self._make_room(place)
            await place.engine.start()
            place.started = True

    async def _make_room(self, wanted: Place) -> None:
        loaded = self._loaded()
        idle = sorted((p for p in loaded if p.users == 0), key=lambda p: p.used_ns)
        held = sum(place.memory_bytes for place in loaded)
        while held + wanted.memory_bytes > self._memory_bytes_max and idle:
            leaving = idle.pop(0)
            leaving.started = False
            await leaving.engine.stop()
            held -= leaving.memory_bytes
        # A single model is tried even when the estimate says no: the estimate may be wrong.
        if held and held + wanted.memory_bytes > self._memory_bytes_max:
            raise EngineUnavailable(
                f"{wanted.engine.model.id} does not fit in memory beside the models in use",
                retry_after_s=_RETRY_AFTER_S,
            )


def _end_load(place: Place, load: asyncio.Task[None]) -> None:
    place.loading = None
    if not load.cancelled():
        load.exception()  # looked at: all who waited for it may have gone
