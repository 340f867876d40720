"""Payback: what releases that were trained for money have earned, and what they still must."""

import msgspec
from sqlalchemy import Connection, func, select

from headrace.core.scope import Scope
from headrace.ledger.reports.names import names
from headrace.ledger.reports.span import Span, check_sees_figures, ratio, receipts_path
from headrace.ledger.reports.sums import Figures, Same, sums
from headrace.store import assets
from headrace.store.assets import Asset
from headrace.store.schema_ledger import spend_month
from headrace.store.spend import DAY_NS

_RATE_DAYS = 30
_MILLION = 1_000_000


class PaybackRow(msgspec.Struct, frozen=True, kw_only=True):
    """A release and its training.

    `earned_nano` is what its calls were charged, less what they cost without the share of the
    training (`written_off_nano`, already booked) and less losses. `left_nano` is what it must
    still earn, and `left_per_million_tokens_nano` how much that is for each million of the tokens
    still planned. `per_day_nano` is what it earned a day in the last thirty days, and `days_left`
    how long it takes at that rate: None where it earns nothing, 0 once it is paid back.
    """

    release_digest: str
    name: str
    created_ns: int
    cost_nano: int
    planned_tokens: int
    served_tokens: int
    price_nano: int
    running_cost_nano: int
    loss_nano: int
    written_off_nano: int
    earned_nano: int
    left_nano: int
    left_per_million_tokens_nano: int | None
    per_day_nano: int
    days_left: int | None
    receipts: str


class Payback(msgspec.Struct, frozen=True, kw_only=True):
    """All releases with a price of training, oldest first, up to now."""

    now_ns: int
    rows: tuple[PaybackRow, ...]


def payback(connection: Connection, scope: Scope, now_ns: int) -> Payback:
    """How the training of the scope's organisation pays back.

    Raises:
        Forbidden: `scope` may see its own calls only.
    """
    check_sees_figures(connection, scope)
    found = assets.every(connection, scope)
    unpaid = assets.unpaid_nano(connection, scope)
    named = names(connection, scope, "release", [one.release_digest for one in found])
    end_ns = now_ns + 1 + -(now_ns + 1) % DAY_NS
    lately = Span(end_ns - _RATE_DAYS * DAY_NS, end_ns)
    rows = [
        _row(
            asset,
            named[asset.release_digest],
            _ever(connection, scope, asset.release_digest),
            asset.cost_nano - unpaid.get(asset.release_digest, asset.cost_nano),
            _of(connection, scope, lately, asset.release_digest),
        )
        for asset in found
    ]
    return Payback(now_ns=now_ns, rows=tuple(rows))


def _row(asset: Asset, name: str, ever: Figures, written_off: int, lately: Figures) -> PaybackRow:
    served = ever.input_tokens + ever.output_tokens
    earned = ever.price_nano - ever.cost_nano - ever.loss_nano + written_off
    left = max(0, asset.cost_nano - earned)
    share = ratio(asset.cost_nano, lately.input_tokens + lately.output_tokens, asset.planned_tokens)
    recent = lately.price_nano - lately.cost_nano - lately.loss_nano + (share or 0)
    per_day = recent // _RATE_DAYS
    return PaybackRow(
        release_digest=asset.release_digest,
        name=name,
        created_ns=asset.created_ns,
        cost_nano=asset.cost_nano,
        planned_tokens=asset.planned_tokens,
        served_tokens=served,
        price_nano=ever.price_nano,
        running_cost_nano=ever.cost_nano - written_off,
        loss_nano=ever.loss_nano,
        written_off_nano=written_off,
        earned_nano=earned,
        left_nano=left,
        left_per_million_tokens_nano=ratio(left, _MILLION, asset.planned_tokens - served),
        per_day_nano=per_day,
        days_left=-(-left // per_day) if per_day > 0 else (None if left else 0),
        receipts=receipts_path({"release_digest": asset.release_digest}),
    )


def _ever(connection: Connection, scope: Scope, digest: str) -> Figures:
    """What the release ever did, from the sums of months."""
    first, last = connection.execute(
        select(func.min(spend_month.c.month_ns), func.max(spend_month.c.month_ns)).where(
            spend_month.c.organisation_id == scope.organisation_id,
        )
    ).one()
    if first is None:
        return Figures()
    return _of(connection, scope, Span(first, last + 31 * DAY_NS), digest)


def _of(connection: Connection, scope: Scope, span: Span, digest: str) -> Figures:
    return sums(connection, scope, span, [], Same(release_digest=digest)).get((), Figures())
