r"""Every table of the house, and the schema version this code speaks.

Rules: ids are UUIDv7 text; times are UTC nanoseconds since 1970; money is integer
nano-dollars. Every owned row carries `organisation_id` and `account_id`, and the database
itself refuses an account of another organisation. JSON stands in text columns, so that an
escaped NUL (`\u0000`) survives on PostgreSQL as well; other free text is `FreeText`.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

VERSION = "0003"
"""The newest migration; a database at this version needs no upgrade."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ESCAPE = "\x1a"


class FreeText(TypeDecorator[str]):
    """Text as people write it, NUL included.

    PostgreSQL refuses NUL in text and SQLite's functions stop at it. So NUL is stored as
    SUBSTITUTE followed by `0`, and SUBSTITUTE itself, which nobody types, as SUBSTITUTE
    followed by `1`; all other text is stored as it is.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape on the way in."""
        del dialect
        if value is None:
            return None
        return value.replace(_ESCAPE, _ESCAPE + "1").replace("\x00", _ESCAPE + "0")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Undo it on the way out."""
        del dialect
        if value is None or _ESCAPE not in value:
            return value
        return value.replace(_ESCAPE + "0", "\x00").replace(_ESCAPE + "1", _ESCAPE)


def _owner() -> tuple[Column[Any], Column[Any], ForeignKeyConstraint]:
    """The two scope columns; their pair must name an account of that organisation."""
    return (
        Column("organisation_id", Text, nullable=False),
        Column("account_id", Text, nullable=False),
        ForeignKeyConstraint(
            ["organisation_id", "account_id"], ["account.organisation_id", "account.id"]
        ),
    )


organisation = Table(
    "organisation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", FreeText, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
)

account = Table(
    "account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisation.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("role", Text, nullable=False),
    # The name of a service ("chat"); a person's name stands in the erasable row instead.
    Column("service", Text),
    # No foreign key: SQLite would have to copy the table to get one.
    Column("team_id", Text),
    Column("created_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger),
    UniqueConstraint("organisation_id", "id"),
    UniqueConstraint("organisation_id", "service"),
    CheckConstraint("kind IN ('person', 'service')", name="kind"),
    CheckConstraint("role IN ('owner', 'admin', 'member', 'viewer')", name="role"),
    CheckConstraint("(kind = 'service') = (service IS NOT NULL)", name="service"),
)

# The erasable row: names and addresses of people stand here and nowhere else.
person = Table(
    "person",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("name", FreeText, nullable=False),
    Column("email", FreeText),
    ForeignKeyConstraint(
        ["organisation_id", "account_id"], ["account.organisation_id", "account.id"]
    ),
)

team = Table(
    "team",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisation.id"), nullable=False),
    Column("name", FreeText, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger),
    Index(None, "organisation_id", "id"),
)

# How a person proves who he is; erasable like the row that names him. `subject` is the address
# in lower case for a password, `ISSUER SUBJECT` for OpenID Connect.
credential = Table(
    "credential",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    *_owner(),
    Column("secret_hash", Text),
    Column("created_ns", BigInteger, nullable=False),
    Column("used_ns", BigInteger),
    CheckConstraint("kind IN ('password', 'oidc')", name="kind"),
    CheckConstraint("(kind = 'password') = (secret_hash IS NOT NULL)", name="secret_hash"),
    Index(None, "organisation_id", "account_id"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    *_owner(),
    Column("name", FreeText, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("last4", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger),
    Column("revoked_ns", BigInteger),
    Column("last_used_ns", BigInteger),
    # JSON: what it may be used for; NULL: everything its account may.
    Column("scopes", Text),
    # After a rotation the secret before it opens as well, until then.
    Column("former_hash", Text),
    Column("former_until_ns", BigInteger),
    Index(None, "organisation_id", "account_id"),
)

session = Table(
    "session",
    metadata,
    Column("hash", Text, primary_key=True),
    *_owner(),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False, index=True),
)

sign_in_link = Table(
    "sign_in_link",
    metadata,
    Column("hash", Text, primary_key=True),
    *_owner(),
    Column("expires_ns", BigInteger, nullable=False, index=True),
    Column("used_ns", BigInteger),
    Column("maker_id", Text),
)

release = Table(
    "release",
    metadata,
    Column("id", Text, primary_key=True),
    *_owner(),
    Column("model_id", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("card", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    UniqueConstraint("organisation_id", "digest"),
)

# A projection of the journal: it can be thrown away and replayed, also into a database that
# no longer knows the accounts. So it has no foreign keys.
generation = Table(
    "generation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("account_id", Text, nullable=False),
    # The journal that holds its records; only that journal's writer may close it.
    Column("worker", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("release_digest", Text, nullable=False),
    Column("engine", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("cache_written_tokens", BigInteger),
    Column("cache_written_long_tokens", BigInteger),
    Column("cost_nano", BigInteger),
    Column("started_ns", BigInteger, nullable=False),
    Column("first_token_ms", BigInteger),
    Column("duration_ms", BigInteger),
    # NULL while the generation runs.
    Column("stop", Text),
    Column("error_kind", Text),
    Column("parent_id", Text),
    Column("team_id", Text),
    Column("conversation_id", Text),
    Column("tier", Text),
    Column("images", BigInteger),
    # The price version that it was charged by, and what was held, charged and lost.
    Column("price_id", Text),
    Column("held_nano", BigInteger),
    Column("price_nano", BigInteger),
    Column("loss_nano", BigInteger),
    # What cached input would have cost in addition.
    Column("saved_nano", BigInteger),
    # 1 where tokens or cost are our own estimate.
    Column("estimated", Integer),
    # Its share of the machine's time, in all and up to its first token.
    Column("machine_ns", BigInteger),
    Column("prefill_machine_ns", BigInteger),
    # The machine of our own that it ran on.
    Column("machine", Text),
    # Decoded after the caller had gone.
    Column("unbilled_tokens", BigInteger),
    # HMAC of the caller's Idempotency-Key, where there was one.
    Column("idempotency_id", Text),
    # By time, as reports ask for spans of it; few, since each costs every call.
    Index(None, "organisation_id", "account_id", "started_ns"),
    Index(None, "organisation_id", "started_ns"),
)
Index(
    "ix_generation_conversation",
    generation.c.conversation_id,
    sqlite_where=generation.c.conversation_id.is_not(None),
    postgresql_where=generation.c.conversation_id.is_not(None),
)
Index(
    "ix_generation_idempotency",
    generation.c.idempotency_id,
    sqlite_where=generation.c.idempotency_id.is_not(None),
    postgresql_where=generation.c.idempotency_id.is_not(None),
)
Index(
    "ix_generation_open",
    generation.c.worker,
    sqlite_where=generation.c.stop.is_(None),
    postgresql_where=generation.c.stop.is_(None),
)

# How far each projection has read: `name` is "generation:<worker>", `position` JSON.
projection = Table(
    "projection",
    metadata,
    Column("name", Text, primary_key=True),
    Column("position", Text, nullable=False),
)

conversation = Table(
    "conversation",
    metadata,
    Column("id", Text, primary_key=True),
    *_owner(),
    Column("title", FreeText, nullable=False),
    Column("model_id", Text, nullable=False),
    # The leaf shown; no foreign key, because messages point at their conversation already.
    Column("head_id", Text),
    Column("created_ns", BigInteger, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    Index(None, "organisation_id", "account_id", "updated_ns", "id"),
)

message = Table(
    "message",
    metadata,
    Column("id", Text, primary_key=True),
    *_owner(),
    Column(
        "conversation_id", Text, ForeignKey("conversation.id", ondelete="CASCADE"), nullable=False
    ),
    Column("parent_id", Text, ForeignKey("message.id"), index=True),
    Column("role", Text, nullable=False),
    Column("model_id", Text),
    Column("status", Text, nullable=False),
    Column("parts", Text, nullable=False),
    # The last live event that `parts` covers.
    Column("seq", Integer, nullable=False),
    Column("generation_id", Text),
    Column("receipt", Text),
    Column("error", Text),
    Column("created_ns", BigInteger, nullable=False),
    CheckConstraint("role IN ('system', 'developer', 'user', 'assistant')", name="role"),
    CheckConstraint(
        "status IN ('running', 'done', 'interrupted', 'stopped', 'error')", name="status"
    ),
    Index(None, "conversation_id", "parent_id", "created_ns", "id"),
)
Index(
    "ix_message_running",
    message.c.conversation_id,
    sqlite_where=message.c.status == "running",
    postgresql_where=message.c.status == "running",
)

# Live events of a running reply; deleted once the message is final.
reply_event = Table(
    "reply_event",
    metadata,
    Column("message_id", Text, ForeignKey("message.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    *_owner(),
    Column("payload", Text, nullable=False),
)

# What clients uploaded or batches wrote; the bytes stand on disk.
file = Table(
    "file",
    metadata,
    Column("id", Text, primary_key=True),
    *_owner(),
    Column("purpose", Text, nullable=False),
    Column("filename", FreeText, nullable=False),
    Column("media_type", FreeText, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, index=True),
    Index(None, "organisation_id", "account_id", "id"),
)

batch = Table(
    "batch",
    metadata,
    Column("id", Text, primary_key=True),
    *_owner(),
    # Each line is a call of this key, as if it had come alone.
    Column("key_id", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    # JSON: the headers that say how its lines are to be read, such as the API version.
    Column("headers", Text, nullable=False),
    Column("input_file_id", Text),
    Column("output_file_id", Text),
    Column("error_file_id", Text),
    # How long the files that it writes are kept; NULL: as long as any of their purpose.
    Column("output_expires_s", Integer),
    Column("metadata", Text),
    Column("status", Text, nullable=False),
    # JSON: why it could not be taken.
    Column("errors", Text),
    # JSON, written at its end: lines by status, and tokens.
    Column("counts", Text),
    Column("usage", Text),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Column("started_ns", BigInteger),
    Column("finalizing_ns", BigInteger),
    Column("cancelling_ns", BigInteger),
    Column("ended_ns", BigInteger),
    Index(None, "organisation_id", "account_id", "id"),
    Index(None, "status", "id"),
)

batch_line = Table(
    "batch_line",
    metadata,
    Column("batch_id", Text, ForeignKey("batch.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    *_owner(),
    Column("custom_id", FreeText, nullable=False),
    # JSON, as it was sent.
    Column("body", Text, nullable=False),
    Column("status", Text, nullable=False),
    # JSON: the line of its answer or error, as the batch's dialect spells it.
    Column("result", Text),
    # JSON: tokens.
    Column("usage", Text),
    Column("generation_id", Text),
    CheckConstraint(
        "status IN ('pending', 'succeeded', 'errored', 'canceled', 'expired')",
        name="status",
    ),
    Index(None, "batch_id", "status", "number"),
)

# Responses that clients asked to be kept, and those that run in the background.
stored_response = Table(
    "stored_response",
    metadata,
    Column("id", Text, primary_key=True),
    *_owner(),
    # What it was built on. No foreign key: that one may be deleted before it.
    Column("previous_id", Text, index=True),
    Column("status", Text, nullable=False),
    Column("background", Integer, nullable=False),
    # JSON: its own input items with their ids, the response object.
    Column("input", Text, nullable=False),
    Column("response", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("expires_ns", BigInteger, nullable=False, index=True),
    Index(None, "organisation_id", "account_id", "id"),
    Index(None, "status", "id"),
)

# Stream events of responses in the background, for clients that come back for them.
response_event = Table(
    "response_event",
    metadata,
    Column(
        "response_id", Text, ForeignKey("stored_response.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    *_owner(),
    Column("payload", Text, nullable=False),
)

# What a call with an Idempotency-Key was answered; `id` is an HMAC of that key and the caller's.
idempotent_reply = Table(
    "idempotent_reply",
    metadata,
    Column("id", Text, primary_key=True),
    *_owner(),
    Column("body_sha256", Text, nullable=False),
    # NULL while the first call runs.
    Column("status_code", Integer),
    Column("headers", Text),
    Column("body", LargeBinary),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False, index=True),
)
