"""What the journal holds, by kind. Opaque ids only: names of people never enter the chain.

Fields are only ever added, with defaults, so that old records stay readable for ever; readers
skip kinds they do not know and versions newer than their own.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from headrace.core.errors import StoreError
from headrace.core.models import Usage
from headrace.ledger import chain
from headrace.ledger.chain import Record

OPENED: Final = "generation.opened"
CLOSED: Final = "generation.closed"
POSTED: Final = "posted"
AUDITED: Final = "audited"
OUTCOME: Final = "outcome"
INTERRUPTED: Final = "interrupted"

PostingKind = Literal["refund", "accrual", "asset", "adjustment"]


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of a transaction: debits are positive, and a transaction's lines sum to zero.

    `account` is a name of the ledger's chart (ARCHITECTURE.md): `receivable:ACCOUNT`,
    `revenue:MODEL`, `loss:unbilled`, `cogs:MODEL`, `payable:UPSTREAM`, `capacity:MACHINE`,
    `idle:MACHINE`, `hardware:MACHINE`, `energy:MACHINE`, `asset:DIGEST`, `training:DIGEST`.
    """

    account: str
    amount_nano: int


def balanced(entries: Iterable[Entry]) -> bool:
    """Whether debits and credits of a transaction are the same."""
    return not sum(entry.amount_nano for entry in entries)


class GenerationOpened(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A model call begins, and holds the worst that it may cost its account.

    `idempotency_id` is the HMAC of the caller's Idempotency-Key.
    """

    id: str
    organisation_id: str
    account_id: str
    key_id: str
    purpose: str
    model_id: str
    release_digest: str
    engine: str
    dialect: str
    started_ns: int
    parent_id: str | None = None
    team_id: str | None = None
    conversation_id: str | None = None
    idempotency_id: str | None = None
    tier: str | None = None
    price_id: str | None = None
    held_nano: int = 0


class GenerationClosed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A model call ended, however it ended; the first such record of a call settles it.

    `usage` and `duration_ms` are None when the process died and nobody can know them; such a
    call is charged nothing. `release_digest` and `engine` are set where another target answered
    than the call was opened with. `price_nano` is charged and never more than was held;
    `loss_nano` is what was worth more than that, or was made for nobody; `cost_nano` is what the
    call cost us; `saved_nano` is what its cached input would have been charged in addition.
    `entries` say the same as one balanced transaction.
    """

    id: str
    stop: str
    usage: Usage | None = None
    cost_nano: int = 0
    first_token_ms: int | None = None
    duration_ms: int | None = None
    error_kind: str | None = None
    release_digest: str | None = None
    engine: str | None = None
    price_nano: int = 0
    loss_nano: int = 0
    saved_nano: int = 0
    entries: tuple[Entry, ...] = ()
    estimated: bool = False
    images: int = 0
    machine_ns: int = 0
    prefill_machine_ns: int = 0
    unbilled_tokens: int = 0


class Posted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A transaction that is not a call's own; the first of an id counts.

    A refund names the call it gives back, and lowers what the budgets of that call's window
    have spent. `detail` holds figures that explain an accrual or an asset.
    """

    id: str
    organisation_id: str
    kind: PostingKind
    time_ns: int
    entries: tuple[Entry, ...]
    generation_id: str | None = None
    actor_id: str | None = None
    detail: dict[str, Any] = {}


class Audited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody changed something. `detail` never holds names or addresses of people."""

    id: str
    organisation_id: str
    actor_id: str
    action: str
    object_id: str
    time_ns: int
    detail: dict[str, Any] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of answers, as their client tells, such as an accepted change of code.

    `id` may be the client's own; the first of an account's id counts.
    """

    id: str
    organisation_id: str
    account_id: str
    team_id: str | None
    model_id: str
    kind: str
    count: int
    time_ns: int
    conversation_id: str | None = None


Said = GenerationOpened | GenerationClosed | Posted | Audited | Outcome

_decoders = {
    OPENED: msgspec.json.Decoder(GenerationOpened),
    CLOSED: msgspec.json.Decoder(GenerationClosed),
    POSTED: msgspec.json.Decoder(Posted),
    AUDITED: msgspec.json.Decoder(Audited),
    OUTCOME: msgspec.json.Decoder(Outcome),
}


def decode(record: Record) -> Said | None:
    """What a record says; None for kinds and versions that this code does not know.

    Raises:
        StoreError: A known kind does not have its fields.
    """
    decoder = _decoders.get(record.kind)
    if decoder is None or record.v > chain.VERSION:
        return None
    try:
        return decoder.decode(record.data)
    except msgspec.MsgspecError as error:
        raise StoreError(f"journal record {record.seq} is not a {record.kind}: {error}") from None
