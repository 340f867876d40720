"""Cache: what prompts whose beginnings were known already have saved."""

import msgspec
from sqlalchemy import Connection

from headrace.core.scope import Scope
from headrace.ledger.reports.span import Span, ratio
from headrace.ledger.reports.sums import ANY, Figures, Same, Step, over_time, step_of, sums

_BASIS_POINTS = 10_000


class CacheRow(msgspec.Struct, frozen=True, kw_only=True):
    """A model's input and what of it came from a prefix cache.

    `cached_bp` is that share in hundredths of a percent; `saved_nano` is what the cached tokens
    would have been charged in addition.
    """

    model_id: str
    calls: int
    input_tokens: int
    cached_tokens: int
    cached_bp: int | None
    price_nano: int
    saved_nano: int
    receipts: str


class CachePoint(msgspec.Struct, frozen=True):
    """A day or month."""

    day_ns: int
    input_tokens: int
    cached_tokens: int
    saved_nano: int


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """What prefix caches saved over whole days of UTC, the most first."""

    from_ns: int
    to_ns: int
    step: Step
    rows: tuple[CacheRow, ...]
    total: CacheRow
    series: tuple[CachePoint, ...]


def cache(connection: Connection, scope: Scope, span: Span, same: Same = ANY) -> Cache:
    """What `scope` may see of its organisation's savings: members see their own."""
    found = sums(connection, scope, span, ["model_id"], same)
    rows = [
        _row(key[0], one, span.receipts(**same.fields() | {"model_id": key[0]}))
        for key, one in found.items()
    ]
    total = Figures()
    for one in found.values():
        total = total.plus(one)
    columns = ("input_tokens", "cached_tokens", "saved_nano")
    points = over_time(connection, scope, span, (None, columns), same)
    return Cache(
        from_ns=span.from_ns,
        to_ns=span.to_ns,
        step=step_of(span),
        rows=tuple(sorted(rows, key=lambda row: (-row.saved_nano, row.model_id))),
        total=_row("", total, span.receipts(**same.fields())),
        series=tuple(CachePoint(day_ns, *values) for day_ns, _, values in points),
    )


def _row(model_id: str, one: Figures, receipts: str) -> CacheRow:
    return CacheRow(
        model_id=model_id,
        calls=one.calls,
        input_tokens=one.input_tokens,
        cached_tokens=one.cached_tokens,
        cached_bp=ratio(one.cached_tokens, _BASIS_POINTS, one.input_tokens),
        price_nano=one.price_nano,
        saved_nano=one.saved_nano,
        receipts=receipts,
    )
