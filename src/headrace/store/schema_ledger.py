"""Tables of the ledger beside the receipts: sums, books, budgets, limits, prices and machines.

Money is integer nano-dollars, times are UTC nanoseconds since 1970. `spend_…`, `balance`,
`posting`, `audit`, `outcome` and `hardware_hour` are projections of the journal, without
foreign keys as the receipts are.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text

from headrace.store.schema import metadata

SPEND_DIMENSIONS = (
    "team_id",
    "account_id",
    "key_id",
    "model_id",
    "release_digest",
    "purpose",
    "machine",
)
"""What spending is told apart by, besides time; `team_id` is empty for calls of no team, `machine`
for those that ran on none of our own."""

CALLER_DIMENSIONS = ("team_id", "account_id", "key_id")
MODEL_DIMENSIONS = ("team_id", "model_id", "release_digest", "purpose", "machine")
"""Those that the smaller sums of days tell apart: by who called, and by what was called."""

SPEND_FIGURES = (
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
"""What is summed up."""

# SQLite: the key is the table, not an index beside it.
_CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}

# Sums of `generation`, written with its rows: by node of the account tree and hour for budgets
# (`node_id` is an organisation, a team, an account or a key) …
spend_hour = Table(
    "spend_hour",
    metadata,
    Column("node_id", Text, primary_key=True),
    Column("hour_ns", BigInteger, primary_key=True, autoincrement=False),
    # Whose journal holds the calls: each worker keeps to its own part of a budget.
    Column("worker", Text, primary_key=True),
    Column("charged_nano", BigInteger, nullable=False),
    **_CLUSTERED,
)


def _spend(name: str, time: str, dimensions: Sequence[str] = SPEND_DIMENSIONS) -> Table:
    return Table(
        name,
        metadata,
        Column("organisation_id", Text, primary_key=True),
        Column(time, BigInteger, primary_key=True, autoincrement=False),
        *(Column(each, Text, primary_key=True) for each in dimensions),
        *(Column(each, BigInteger, nullable=False) for each in SPEND_FIGURES),
        **_CLUSTERED,
    )


# … by day and by month (UTC, of the call's beginning) and everything that reports ask for; days
# also by who called and by what was called alone, a fifth of the rows each …
spend_day = _spend("spend_day", "day_ns")
spend_day_caller = _spend("spend_day_caller", "day_ns", CALLER_DIMENSIONS)
spend_day_model = _spend("spend_day_model", "day_ns", MODEL_DIMENSIONS)
spend_month = _spend("spend_month", "month_ns")

# … and by conversation.
spend_conversation = Table(
    "spend_conversation",
    metadata,
    Column("organisation_id", Text, primary_key=True),
    Column("conversation_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("last_ns", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("price_nano", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    # All that is needed to find the dearest of a span, which may be a million.
    Index(
        "ix_spend_conversation_dearest",
        "organisation_id",
        "last_ns",
        "price_nano",
        "cost_nano",
        "account_id",
        "purpose",
        "conversation_id",
    ),
    **_CLUSTERED,
)

# The books: what all entries of an account of the ledger come to. Debits are positive.
balance = Table(
    "balance",
    metadata,
    Column("organisation_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("amount_nano", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),
    **_CLUSTERED,
)

# Entries that are not those of a call: refunds, hours of hardware, assets.
posting = Table(
    "posting",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("generation_id", Text, index=True),
    Column("actor_id", Text),
    # JSON: the entries, and figures that explain them.
    Column("entries", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "organisation_id", "kind", "id"),
)

# Who changed what, projected from the journal.
audit = Table(
    "audit",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    # JSON, without names of people.
    Column("detail", Text, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Index(None, "organisation_id", "id"),
)

# What clients say became of answers, such as a code change that was accepted. `id` may be the
# client's own, so that its retries count once.
outcome = Table(
    "outcome",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, nullable=False),
    Column("team_id", Text),
    Column("model_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("conversation_id", Text),
    Index(None, "organisation_id", "time_ns"),
    **_CLUSTERED,
)

budget = Table(
    "budget",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisation.id"), nullable=False),
    Column("node_kind", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("limit_nano", BigInteger, nullable=False),
    # What its node had been charged in all when it was made: where "once" begins to count.
    Column("base_nano", BigInteger, nullable=False),
    Column("hard", Integer, nullable=False),
    # JSON: shares in percent at which somebody is told, and where.
    Column("warn_percent", Text, nullable=False),
    Column("webhook_url", Text),
    Column("created_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    CheckConstraint("node_kind IN ('organisation', 'team', 'account', 'key')", name="node_kind"),
    CheckConstraint("period IN ('hour', 'day', 'month', 'once')", name="period"),
    Index(None, "organisation_id", "node_id"),
)

# Slices of hard budgets that workers hold: their sum never passes the limit.
budget_grant = Table(
    "budget_grant",
    metadata,
    Column("budget_id", Text, ForeignKey("budget.id"), primary_key=True),
    Column("window_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("worker", Text, primary_key=True),
    Column("granted_nano", BigInteger, nullable=False),
)

# Warnings that are due or were given, once for each share of each window.
budget_notice = Table(
    "budget_notice",
    metadata,
    Column("budget_id", Text, ForeignKey("budget.id"), primary_key=True),
    Column("window_ns", BigInteger, primary_key=True, autoincrement=False),
    Column("percent", Integer, primary_key=True, autoincrement=False),
    Column("spent_nano", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("delivered_ns", BigInteger),
    Column("tries", Integer, nullable=False),
)

rate_limit = Table(
    "rate_limit",
    metadata,
    Column("node_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisation.id"), nullable=False),
    Column("node_kind", Text, nullable=False),
    Column("maximum", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    CheckConstraint("node_kind IN ('organisation', 'team', 'account', 'key')", name="node_kind"),
    CheckConstraint(
        "kind IN ('requests', 'input_tokens', 'output_tokens', 'concurrent')", name="kind"
    ),
    CheckConstraint("period IN ('minute', 'day', 'now')", name="period"),
    CheckConstraint("(kind = 'concurrent') = (period = 'now')", name="concurrent"),
    Index(None, "organisation_id", "node_id"),
)

# What is charged (`side` price, `target` a model) and what upstreams charge us (`side` cost,
# `target` UPSTREAM/MODEL). Never changed: a new version takes effect at its time.
price = Table(
    "price",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisation.id"), nullable=False),
    Column("side", Text, nullable=False),
    Column("target", Text, nullable=False),
    # JSON: nano-dollars per million tokens, by kind.
    Column("rates", Text, nullable=False),
    # Where it comes from: "list" or "set".
    Column("origin", Text, nullable=False),
    Column("effective_ns", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    CheckConstraint("side IN ('price', 'cost')", name="side"),
    Index(None, "organisation_id", "side", "target", "effective_ns"),
)

# What a machine of our own costs; `name` is "local" or that of the file's upstream.
hardware = Table(
    "hardware",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisation.id"), nullable=False),
    Column("name", Text, nullable=False),
    # JSON: rent or purchase, power and its price.
    Column("terms", Text, nullable=False),
    Column("effective_ns", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Index(None, "organisation_id", "name", "effective_ns"),
)

# How each machine was used in each hour, projected from its accruals.
hardware_hour = Table(
    "hardware_hour",
    metadata,
    Column("organisation_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("hour_ns", BigInteger, primary_key=True, autoincrement=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("up_ns", "busy_ns", "energy_mj", "estimated_mj", "cost_nano", "idle_nano")
    ),
    **_CLUSTERED,
)

# A release that was trained for money, paid back by the tokens it serves.
release_asset = Table(
    "release_asset",
    metadata,
    Column("release_digest", Text, primary_key=True),
    Column("organisation_id", Text, ForeignKey("organisation.id"), primary_key=True),
    Column("cost_nano", BigInteger, nullable=False),
    Column("planned_tokens", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
)
