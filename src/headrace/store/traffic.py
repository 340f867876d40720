"""What runs now and what came lately, of all processes: rows follow the journals closely."""

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, func, select

from headrace.core.scope import Scope
from headrace.store.schema import generation
from headrace.store.visibility import visible_to

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
# Calls longer than the ten minutes before are left out, as are all behind the newest so many.
_LOOKED_BACK_S = 600
_LOOKED_AT_MAX = 20_000


class Running(msgspec.Struct, frozen=True):
    """A model call that has not ended."""

    id: str
    account_id: str
    key_id: str
    model_id: str
    purpose: str
    started_ns: int


class Lately(msgspec.Struct, frozen=True):
    """The calls that ended in a span of time that ends now.

    Attributes:
        span_s: How long it is: shorter than asked for where there were very many calls.
        calls: How many ended.
        failed: How many of them failed.
        input_tokens: What they read.
        output_tokens: What they made.
    """

    span_s: float
    calls: int
    failed: int
    input_tokens: int
    output_tokens: int


def running(connection: Connection, scope: Scope, *, limit: int) -> tuple[Running, ...]:
    """The newest of the calls that run and that `scope` may see, newest first."""
    query = (
        select(*(generation.c[name] for name in Running.__struct_fields__))
        .where(generation.c.stop.is_(None), visible_to(scope, generation))
        .order_by(generation.c.id.desc())
        .limit(limit)
    )
    return tuple(Running(**row) for row in connection.execute(query).mappings())


def lately(connection: Connection, scope: Scope, *, now_ns: int, span_s: float) -> Lately:
    """The calls that `scope` may see and that ended within `span_s` seconds before `now_ns`."""
    newest = (
        select(generation)
        .where(
            visible_to(scope, generation),
            generation.c.id >= _first_id(now_ns - _LOOKED_BACK_S * _NS_PER_S),
        )
        .order_by(generation.c.id.desc())
        .limit(_LOOKED_AT_MAX)
        .subquery()
    )
    looked_at, oldest_ns = connection.execute(
        select(func.count(), func.min(newest.c.started_ns))
    ).one()
    if looked_at == _LOOKED_AT_MAX:
        span_s = min(span_s, max(1.0, (now_ns - oldest_ns) / _NS_PER_S))
    ended_ns = newest.c.started_ns + newest.c.duration_ms * _NS_PER_MS
    ended = and_(newest.c.stop.is_not(None), ended_ns > now_ns - round(span_s * _NS_PER_S))
    row = connection.execute(
        select(
            func.count(),
            _sum(case((newest.c.error_kind.is_not(None), 1), else_=0)),
            _sum(newest.c.input_tokens),
            _sum(newest.c.output_tokens),
        ).where(ended)
    ).one()
    return Lately(span_s, *(int(value) for value in row))


def _sum(what: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(what), 0)


def _first_id(time_ns: int) -> str:
    """What ids of this time and later sort behind."""
    text = f"{max(0, time_ns // _NS_PER_MS):012x}"
    return f"{text[:8]}-{text[8:]}"
