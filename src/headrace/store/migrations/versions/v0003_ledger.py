"""The ledger: teams, credentials, prices, budgets, limits, books. Frozen once released."""

import sqlalchemy as sa
from alembic import op

from headrace.store.schema import FreeText

revision = "0003"
down_revision = "0002"

_FIGURES = (
    "calls",
    "failed",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "price_nano",
    "cost_nano",
    "loss_nano",
    "saved_nano",
    "machine_ns",
    "prefill_machine_ns",
)
_PLACES = (
    "team_id",
    "account_id",
    "key_id",
    "model_id",
    "release_digest",
    "purpose",
    "machine",
)
_CALLER = ("team_id", "account_id", "key_id")
_MODEL = ("team_id", "model_id", "release_digest", "purpose", "machine")


def upgrade() -> None:
    _columns()
    _team()
    _credential()
    _spend_hour()
    _spend("spend_day", "day_ns", _PLACES)
    _spend("spend_day_caller", "day_ns", _CALLER)
    _spend("spend_day_model", "day_ns", _MODEL)
    _spend("spend_month", "month_ns", _PLACES)
    _spend_conversation()
    _balance()
    _posting()
    _audit()
    _outcome()
    _budget()
    _budget_grant()
    _budget_notice()
    _rate_limit()
    _price()
    _hardware()
    _hardware_hour()
    _release_asset()
    _sums()


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _columns() -> None:
    op.add_column("account", sa.Column("team_id", sa.Text))
    op.add_column("sign_in_link", sa.Column("maker_id", sa.Text))
    for name in ("scopes", "former_hash"):
        op.add_column("api_key", sa.Column(name, sa.Text))
    op.add_column("api_key", sa.Column("former_until_ns", sa.BigInteger))
    op.add_column("generation", sa.Column("team_id", sa.Text))
    op.add_column("generation", sa.Column("conversation_id", sa.Text))
    op.add_column("generation", sa.Column("tier", sa.Text))
    op.add_column("generation", sa.Column("images", sa.BigInteger))
    op.add_column("generation", sa.Column("price_id", sa.Text))
    op.add_column("generation", sa.Column("held_nano", sa.BigInteger))
    op.add_column("generation", sa.Column("price_nano", sa.BigInteger))
    op.add_column("generation", sa.Column("loss_nano", sa.BigInteger))
    op.add_column("generation", sa.Column("saved_nano", sa.BigInteger))
    op.add_column("generation", sa.Column("estimated", sa.Integer))
    op.add_column("generation", sa.Column("machine_ns", sa.BigInteger))
    op.add_column("generation", sa.Column("prefill_machine_ns", sa.BigInteger))
    op.add_column("generation", sa.Column("machine", sa.Text))
    op.add_column("generation", sa.Column("unbilled_tokens", sa.BigInteger))
    op.add_column("generation", sa.Column("idempotency_id", sa.Text))
    for columns in (("organisation_id", "account_id"), ("organisation_id",)):
        op.drop_index(f"ix_generation_{'_'.join(columns)}_id", "generation")
        _index("generation", *columns, "started_ns")
    for name in ("conversation", "idempotency"):
        there = sa.text(f"{name}_id IS NOT NULL")
        op.create_index(
            f"ix_generation_{name}",
            "generation",
            [f"{name}_id"],
            sqlite_where=there,
            postgresql_where=there,
        )


def _team() -> None:
    op.create_table(
        "team",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", FreeText, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("closed_ns", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_team"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_team_organisation_id"
        ),
    )
    _index("team", "organisation_id", "id")


def _credential() -> None:
    op.create_table(
        "credential",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.Text, nullable=True),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("used_ns", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("kind", "subject", name="pk_credential"),
        sa.CheckConstraint("kind IN ('password', 'oidc')", name=op.f("ck_credential_kind")),
        sa.ForeignKeyConstraint(
            ["organisation_id", "account_id"],
            ["account.organisation_id", "account.id"],
            name="fk_credential_organisation_id_account_id",
        ),
        sa.CheckConstraint(
            "(kind = 'password') = (secret_hash IS NOT NULL)",
            name=op.f("ck_credential_secret_hash"),
        ),
    )
    _index("credential", "organisation_id", "account_id")


def _spend_hour() -> None:
    op.create_table(
        "spend_hour",
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("hour_ns", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("charged_nano", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("node_id", "hour_ns", "worker", name="pk_spend_hour"),
        sqlite_with_rowid=False,
    )


def _spend(table: str, time: str, places: tuple[str, ...]) -> None:
    key = ("organisation_id", time, *places)
    op.create_table(
        table,
        *(
            sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False)
            if name == time
            else sa.Column(name, sa.Text, nullable=False)
            for name in key
        ),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _FIGURES),
        sa.PrimaryKeyConstraint(*key, name=f"pk_{table}"),
        sqlite_with_rowid=False,
    )


def _spend_conversation() -> None:
    op.create_table(
        "spend_conversation",
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("last_ns", sa.BigInteger, nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("price_nano", sa.BigInteger, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "conversation_id", name="pk_spend_conversation"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_spend_conversation_dearest",
        "spend_conversation",
        [
            "organisation_id",
            "last_ns",
            "price_nano",
            "cost_nano",
            "account_id",
            "purpose",
            "conversation_id",
        ],
    )


def _balance() -> None:
    op.create_table(
        "balance",
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("amount_nano", sa.BigInteger, nullable=False),
        sa.Column("entries", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "name", name="pk_balance"),
        sqlite_with_rowid=False,
    )


def _posting() -> None:
    op.create_table(
        "posting",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("time_ns", sa.BigInteger, nullable=False),
        sa.Column("generation_id", sa.Text, nullable=True),
        sa.Column("actor_id", sa.Text, nullable=True),
        sa.Column("entries", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_posting"),
    )
    _index("posting", "generation_id")
    _index("posting", "organisation_id", "kind", "id")


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("object_id", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("time_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    _index("audit", "organisation_id", "id")


def _outcome() -> None:
    op.create_table(
        "outcome",
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("team_id", sa.Text, nullable=True),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("time_ns", sa.BigInteger, nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("account_id", "id", name="pk_outcome"),
        sqlite_with_rowid=False,
    )
    _index("outcome", "organisation_id", "time_ns")


def _budget() -> None:
    op.create_table(
        "budget",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("node_kind", sa.Text, nullable=False),
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("limit_nano", sa.BigInteger, nullable=False),
        sa.Column("base_nano", sa.BigInteger, nullable=False),
        sa.Column("hard", sa.Integer, nullable=False),
        sa.Column("warn_percent", sa.Text, nullable=False),
        sa.Column("webhook_url", sa.Text, nullable=True),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("ended_ns", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_budget"),
        sa.CheckConstraint(
            "period IN ('hour', 'day', 'month', 'once')", name=op.f("ck_budget_period")
        ),
        sa.CheckConstraint(
            "node_kind IN ('organisation', 'team', 'account', 'key')",
            name=op.f("ck_budget_node_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_budget_organisation_id"
        ),
    )
    _index("budget", "organisation_id", "node_id")


def _budget_grant() -> None:
    op.create_table(
        "budget_grant",
        sa.Column("budget_id", sa.Text, nullable=False),
        sa.Column("window_ns", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("granted_nano", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("budget_id", "window_ns", "worker", name="pk_budget_grant"),
        sa.ForeignKeyConstraint(["budget_id"], ["budget.id"], name="fk_budget_grant_budget_id"),
    )


def _budget_notice() -> None:
    op.create_table(
        "budget_notice",
        sa.Column("budget_id", sa.Text, nullable=False),
        sa.Column("window_ns", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("percent", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("spent_nano", sa.BigInteger, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("delivered_ns", sa.BigInteger, nullable=True),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("budget_id", "window_ns", "percent", name="pk_budget_notice"),
        sa.ForeignKeyConstraint(["budget_id"], ["budget.id"], name="fk_budget_notice_budget_id"),
    )


def _rate_limit() -> None:
    op.create_table(
        "rate_limit",
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("node_kind", sa.Text, nullable=False),
        sa.Column("maximum", sa.BigInteger, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("node_id", "kind", "period", name="pk_rate_limit"),
        sa.CheckConstraint(
            "node_kind IN ('organisation', 'team', 'account', 'key')",
            name=op.f("ck_rate_limit_node_kind"),
        ),
        sa.CheckConstraint("period IN ('minute', 'day', 'now')", name=op.f("ck_rate_limit_period")),
        sa.CheckConstraint(
            "(kind = 'concurrent') = (period = 'now')", name=op.f("ck_rate_limit_concurrent")
        ),
        sa.CheckConstraint(
            "kind IN ('requests', 'input_tokens', 'output_tokens', 'concurrent')",
            name=op.f("ck_rate_limit_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_rate_limit_organisation_id"
        ),
    )
    _index("rate_limit", "organisation_id", "node_id")


def _price() -> None:
    op.create_table(
        "price",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("rates", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("effective_ns", sa.BigInteger, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_price"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_price_organisation_id"
        ),
        sa.CheckConstraint("side IN ('price', 'cost')", name=op.f("ck_price_side")),
    )
    _index("price", "organisation_id", "side", "target", "effective_ns")


def _hardware() -> None:
    op.create_table(
        "hardware",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("effective_ns", sa.BigInteger, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_hardware"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_hardware_organisation_id"
        ),
    )
    _index("hardware", "organisation_id", "name", "effective_ns")


def _hardware_hour() -> None:
    op.create_table(
        "hardware_hour",
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hour_ns", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("up_ns", sa.BigInteger, nullable=False),
        sa.Column("busy_ns", sa.BigInteger, nullable=False),
        sa.Column("energy_mj", sa.BigInteger, nullable=False),
        sa.Column("estimated_mj", sa.BigInteger, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.Column("idle_nano", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "name", "hour_ns", name="pk_hardware_hour"),
        sqlite_with_rowid=False,
    )


def _release_asset() -> None:
    op.create_table(
        "release_asset",
        sa.Column("release_digest", sa.Text, nullable=False),
        sa.Column("organisation_id", sa.Text, nullable=False),
        sa.Column("cost_nano", sa.BigInteger, nullable=False),
        sa.Column("planned_tokens", sa.BigInteger, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("release_digest", "organisation_id", name="pk_release_asset"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisation.id"], name="fk_release_asset_organisation_id"
        ),
    )


def _sums() -> None:
    """The sums of the calls that are there already, none of which was charged."""
    op.execute(
        f"""
        INSERT INTO spend_day (organisation_id, day_ns, {", ".join((*_PLACES, *_FIGURES))})
        SELECT organisation_id, started_ns - started_ns % 86400000000000, '', account_id,
            key_id, model_id, release_digest, purpose, '', COUNT(*),
            SUM(CASE WHEN stop IN ('failed', 'interrupted') THEN 1 ELSE 0 END),
            COALESCE(SUM(input_tokens), 0), COALESCE(SUM(cached_tokens), 0),
            COALESCE(SUM(output_tokens), 0), COALESCE(SUM(reasoning_tokens), 0),
            0, 0, 0, 0, 0, 0
        FROM generation
        WHERE stop IS NOT NULL
        GROUP BY 1, 2, 4, 5, 6, 7, 8
        """  # noqa: S608 - of the names above alone
    )
    for table, places in (("spend_day_caller", _CALLER), ("spend_day_model", _MODEL)):
        key = ", ".join(("organisation_id", "day_ns", *places))
        op.execute(
            f"""
            INSERT INTO {table} ({key}, {", ".join(_FIGURES)})
            SELECT {key}, {", ".join(f"SUM({name})" for name in _FIGURES)}
            FROM spend_day
            GROUP BY {key}
            """  # noqa: S608 - of the names above alone
        )
    month = {
        "sqlite": "CAST(strftime('%s', day_ns / 1000000000, 'unixepoch', 'start of month')"
        " AS INTEGER)",
        "postgresql": "CAST(EXTRACT(EPOCH FROM date_trunc('month',"
        " to_timestamp(day_ns / 1000000000) AT TIME ZONE 'UTC')) AS BIGINT)",
    }[op.get_bind().dialect.name]
    op.execute(
        f"""
        INSERT INTO spend_month (organisation_id, month_ns, {", ".join((*_PLACES, *_FIGURES))})
        SELECT organisation_id, {month} * 1000000000, {", ".join(_PLACES)},
            {", ".join(f"SUM({name})" for name in _FIGURES)}
        FROM spend_day
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
        """  # noqa: S608 - of the names above alone
    )
