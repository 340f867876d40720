"""Unit costs: what a thousand tokens and an accepted change of code come to."""

import msgspec
from sqlalchemy import Connection, func, select

from headrace.core.scope import Scope
from headrace.ledger.reports.span import Span, check_sees_figures, ratio
from headrace.ledger.reports.sums import ANY, Figures, Same, sums
from headrace.store.schema_ledger import outcome

CODE = "code"
"""The purpose of keys whose calls change code."""

ACCEPTED = "code_change_accepted"
_THOUSAND = 1_000


class ModelUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A model's tokens, input and output together, and what a thousand of them come to."""

    model_id: str
    calls: int
    tokens: int
    input_tokens: int
    output_tokens: int
    price_nano: int
    cost_nano: int
    price_per_thousand_nano: int | None
    cost_per_thousand_nano: int | None
    receipts: str


class ChangeUnit(msgspec.Struct, frozen=True, kw_only=True):
    """Calls with the purpose `code`, and the changes that came of them; None without changes.

    `model_id` is empty for all models together.
    """

    model_id: str
    accepted: int
    calls: int
    price_nano: int
    cost_nano: int
    price_per_change_nano: int | None
    cost_per_change_nano: int | None
    receipts: str


class Units(msgspec.Struct, frozen=True, kw_only=True):
    """What a unit of use comes to, over whole days of UTC."""

    from_ns: int
    to_ns: int
    models: tuple[ModelUnit, ...]
    changes: tuple[ChangeUnit, ...]
    all_changes: ChangeUnit


def units(connection: Connection, scope: Scope, span: Span, same: Same = ANY) -> Units:
    """The unit costs of the scope's organisation.

    Raises:
        Forbidden: `scope` may see its own calls only.
    """
    check_sees_figures(connection, scope)
    by_model = sums(connection, scope, span, ["model_id"], same)
    models = [_model(key[0], one, span, same) for key, one in sorted(by_model.items())]
    code = msgspec.structs.replace(same, purpose=CODE)
    spent = {key[0]: one for key, one in sums(connection, scope, span, ["model_id"], code).items()}
    accepted = _accepted(connection, scope, span, same)
    changes = [
        _change(one, accepted.get(one, 0), spent.get(one, Figures()), span, code)
        for one in sorted(spent.keys() | accepted.keys())
    ]
    total = Figures()
    for figures in spent.values():
        total = total.plus(figures)
    return Units(
        from_ns=span.from_ns,
        to_ns=span.to_ns,
        models=tuple(models),
        changes=tuple(changes),
        all_changes=_change("", sum(accepted.values()), total, span, code),
    )


def _model(model_id: str, one: Figures, span: Span, same: Same) -> ModelUnit:
    tokens = one.input_tokens + one.output_tokens
    return ModelUnit(
        model_id=model_id,
        calls=one.calls,
        tokens=tokens,
        input_tokens=one.input_tokens,
        output_tokens=one.output_tokens,
        price_nano=one.price_nano,
        cost_nano=one.cost_nano,
        price_per_thousand_nano=ratio(one.price_nano, _THOUSAND, tokens),
        cost_per_thousand_nano=ratio(one.cost_nano, _THOUSAND, tokens),
        receipts=span.receipts(**same.fields() | {"model_id": model_id}),
    )


def _change(model_id: str, accepted: int, one: Figures, span: Span, same: Same) -> ChangeUnit:
    of_model = {"model_id": model_id} if model_id else {}
    return ChangeUnit(
        model_id=model_id,
        accepted=accepted,
        calls=one.calls,
        price_nano=one.price_nano,
        cost_nano=one.cost_nano,
        price_per_change_nano=ratio(one.price_nano, 1, accepted),
        cost_per_change_nano=ratio(one.cost_nano, 1, accepted),
        receipts=span.receipts(**same.fields() | of_model),
    )


def _accepted(connection: Connection, scope: Scope, span: Span, same: Same) -> dict[str, int]:
    """How many changes were accepted, by model."""
    table = outcome
    told = {"team_id", "account_id", "model_id"}
    query = (
        select(table.c.model_id, func.sum(table.c.count))
        .where(
            table.c.organisation_id == scope.organisation_id,
            table.c.time_ns >= span.from_ns,
            table.c.time_ns < span.to_ns,
            table.c.kind == ACCEPTED,
            *(
                table.c[name] == (value or None)
                for name, value in same.fields().items()
                if name in told
            ),
        )
        .group_by(table.c.model_id)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}
