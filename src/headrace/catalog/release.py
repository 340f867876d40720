"""Releases of models that come from elsewhere: adopted as soon as they are installed."""

import msgspec
from sqlalchemy import Connection

from headrace.catalog.card import Card
from headrace.core.clock import Clock
from headrace.core.ids import new_id
from headrace.core.models import Release
from headrace.core.scope import Scope
from headrace.store.releases import adopt_release


def adopt(connection: Connection, scope: Scope, card: Card, clock: Clock) -> Release:
    """The organisation's release of a model's exact files; made unless it is there already."""
    return adopt_release(
        connection,
        scope,
        new_id(clock),
        model_id=card.model_id,
        digest=card.digest,
        card_json=msgspec.json.encode(card).decode(),
        created_ns=clock.now_ns(),
    )
