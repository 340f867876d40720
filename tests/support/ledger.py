"""Calls and postings with money in them, as the meter and the refunds write them."""

from headrace.core.models import Usage
from headrace.core.scope import Scope
from headrace.ledger.journal import Journal
from headrace.ledger.records import (
    CLOSED,
    OPENED,
    POSTED,
    Entry,
    GenerationClosed,
    GenerationOpened,
    Posted,
)

HELD_NANO = 5_000
USAGE = Usage(input=12, cached=4, output=30, reasoning=5)
TABLES = (
    "generation",
    "spend_hour",
    "spend_day",
    "spend_day_caller",
    "spend_day_model",
    "spend_month",
    "spend_conversation",
    "balance",
    "posting",
    "audit",
    "outcome",
    "hardware_hour",
)
"""All that a projector writes from the journals."""


def begin(
    journal: Journal,
    identifier: str,
    scope: Scope,
    *,
    started_ns: int = 1,
    team_id: str | None = None,
    conversation_id: str | None = None,
    model_id: str = "tiny",
    purpose: str = "api",
    held_nano: int = HELD_NANO,
) -> GenerationOpened:
    """A call that begins."""
    opened = GenerationOpened(
        id=identifier,
        organisation_id=scope.organisation_id,
        account_id=scope.account_id,
        key_id=f"key-{scope.account_id}",
        purpose=purpose,
        model_id=model_id,
        release_digest="sha256:" + "0" * 64,
        engine="scripted",
        dialect="openai",
        started_ns=started_ns,
        team_id=team_id,
        conversation_id=conversation_id,
        held_nano=held_nano,
    )
    journal.append(OPENED, opened)
    return opened


def end(
    journal: Journal,
    opened: GenerationOpened,
    *,
    price_nano: int = 1_000,
    cost_nano: int = 400,
    stop: str = "end",
    machine: str | None = None,
) -> None:
    """The call ends, with balanced entries."""
    source = "payable:provider" if machine is None else f"capacity:{machine}"
    entries = (
        Entry(f"receivable:{opened.account_id}", price_nano),
        Entry(f"revenue:{opened.model_id}", -price_nano),
        Entry(f"cogs:{opened.model_id}", cost_nano),
        Entry(source, -cost_nano),
    )
    closed = GenerationClosed(
        id=opened.id,
        stop=stop,
        usage=USAGE,
        cost_nano=cost_nano,
        first_token_ms=40,
        duration_ms=540,
        price_nano=price_nano,
        saved_nano=70,
        machine_ns=0 if machine is None else 1_000_000,
        entries=entries,
    )
    journal.append(CLOSED, closed)


def call(journal: Journal, identifier: str, scope: Scope, price_nano: int = 1_000) -> None:
    """A whole call."""
    end(journal, begin(journal, identifier, scope), price_nano=price_nano)


def refund(journal: Journal, opened: GenerationOpened, nano: int, identifier: str = "r1") -> None:
    """Money is given back."""
    posted = Posted(
        id=identifier,
        organisation_id=opened.organisation_id,
        kind="refund",
        time_ns=opened.started_ns + 1,
        entries=(
            Entry(f"revenue:{opened.model_id}", nano),
            Entry(f"receivable:{opened.account_id}", -nano),
        ),
        generation_id=opened.id,
        actor_id="owner",
        detail={
            "team_id": opened.team_id,
            "account_id": opened.account_id,
            "key_id": opened.key_id,
            "started_ns": opened.started_ns,
        },
    )
    journal.append(POSTED, posted)
