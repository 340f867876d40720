"""The first tables. Frozen once released; changes come as further migrations."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from headrace.store.schema import FreeText

revision = "0001"
down_revision = None


def upgrade() -> None:
    _organisations()
    _doors()
    _ledger()
    _conversations()
    _messages()
    _reply_events()


def _owner() -> list[sa.Column[Any]]:
    return [
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
    ]


def _owned_by(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organisation_id", "account_id"],
        ["account.organisation_id", "account.id"],
        name=f"fk_{table}_organisation_id_account_id",
    )


def _organisations() -> None:
    op.create_table(
        "organisation",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", FreeText, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organisation"),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("service", sa.Text),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("closed_ns", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_account_organisation_id"
        ),
        sa.UniqueConstraint("organisation_id", "id", name="uq_account_organisation_id_id"),
        sa.UniqueConstraint(
            "organisation_id", "service", name="uq_account_organisation_id_service"
        ),
        sa.CheckConstraint("kind IN ('person', 'service')", name="ck_account_kind"),
        sa.CheckConstraint(
            "role IN ('owner', 'admin', 'member', 'viewer')", name="ck_account_role"
        ),
        sa.CheckConstraint("(kind = 'service') = (service IS NOT NULL)", name="ck_account_service"),
    )
    op.create_table(
        "person",
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", FreeText, nullable=False),
        sa.Column("email", FreeText),
        sa.PrimaryKeyConstraint("account_id", name="pk_person"),
        _owned_by("person"),
    )


def _doors() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text, nullable=False),
        *_owner(),
        sa.Column("name", FreeText, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("last4", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger),
        sa.Column("revoked_ns", sa.BigInteger),
        sa.Column("last_used_ns", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_api_key"),
        sa.UniqueConstraint("hash", name="uq_api_key_hash"),
        _owned_by("api_key"),
    )
    op.create_index(
        "ix_api_key_organisation_id_account_id", "api_key", ["organisation_id", "account_id"]
    )
    op.create_table(
        "session",
        sa.Column("hash", sa.Text, nullable=False),
        *_owner(),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_session"),
        _owned_by("session"),
    )
    op.create_index("ix_session_expires_ns", "session", ["expires_ns"])
    op.create_table(
        "sign_in_link",
        sa.Column("hash", sa.Text, nullable=False),
        *_owner(),
        sa.Column("expires_ns", sa.BigInteger, nullable=False),
        sa.Column("used_ns", sa.BigInteger),
        sa.PrimaryKeyConstraint("hash", name="pk_sign_in_link"),
        _owned_by("sign_in_link"),
    )
    op.create_index("ix_sign_in_link_expires_ns", "sign_in_link", ["expires_ns"])


def _ledger() -> None:
    op.create_table(
        "release",
        sa.Column("id", sa.Text, nullable=False),
        *_owner(),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("card", sa.Text, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_release"),
        sa.UniqueConstraint("organisation_id", "digest", name="uq_release_organisation_id_digest"),
        _owned_by("release"),
    )
    op.create_table(
        "generation",
        sa.Column("id", sa.Text, nullable=False),
        *_owner(),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("release_digest", sa.Text, nullable=False),
        sa.Column("engine", sa.Text, nullable=False),
        sa.Column("dialect", sa.Text, nullable=False),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("cached_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("reasoning_tokens", sa.BigInteger),
        sa.Column("cost_nano", sa.BigInteger),
        sa.Column("started_ns", sa.BigInteger, nullable=False),
        sa.Column("first_token_ms", sa.BigInteger),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("stop", sa.Text),
        sa.Column("error_kind", sa.Text),
        sa.Column("parent_id", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_generation"),
    )
    op.create_index(
        "ix_generation_organisation_id_account_id_id",
        "generation",
        ["organisation_id", "account_id", "id"],
    )
    op.create_index("ix_generation_organisation_id_id", "generation", ["organisation_id", "id"])
    op.create_index(
        "ix_generation_open",
        "generation",
        ["worker"],
        sqlite_where=sa.text("stop IS NULL"),
        postgresql_where=sa.text("stop IS NULL"),
    )
    op.create_table(
        "projection",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("position", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_projection"),
    )


def _conversations() -> None:
    op.create_table(
        "conversation",
        sa.Column("id", sa.Text, nullable=False),
        *_owner(),
        sa.Column("title", FreeText, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("head_id", sa.Text),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("updated_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_conversation"),
        _owned_by("conversation"),
    )
    op.create_index(
        "ix_conversation_organisation_id_account_id_updated_ns_id",
        "conversation",
        ["organisation_id", "account_id", "updated_ns", "id"],
    )


def _messages() -> None:
    op.create_table(
        "message",
        sa.Column("id", sa.Text, nullable=False),
        *_owner(),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("parent_id", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("model_id", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("generation_id", sa.Text),
        sa.Column("receipt", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
        _owned_by("message"),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversation.id"],
            name="fk_message_conversation_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["message.id"], name="fk_message_parent_id"),
        sa.CheckConstraint(
            "role IN ('system', 'developer', 'user', 'assistant')", name="ck_message_role"
        ),
        sa.CheckConstraint(
            "status IN ('running', 'done', 'interrupted', 'stopped', 'error')",
            name="ck_message_status",
        ),
    )
    op.create_index("ix_message_parent_id", "message", ["parent_id"])
    op.create_index(
        "ix_message_conversation_id_parent_id_created_ns_id",
        "message",
        ["conversation_id", "parent_id", "created_ns", "id"],
    )
    op.create_index(
        "ix_message_running",
        "message",
        ["conversation_id"],
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    )


def _reply_events() -> None:
    op.create_table(
        "reply_event",
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("seq", sa.Integer, autoincrement=False, nullable=False),
        *_owner(),
        sa.Column("payload", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("message_id", "seq", name="pk_reply_event"),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name="fk_reply_event_message_id", ondelete="CASCADE"
        ),
        _owned_by("reply_event"),
    )
