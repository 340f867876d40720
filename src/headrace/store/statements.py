"""Statements written out, for what every model call pays: SQLAlchemy's share is the largest there.

They are spelled as SQLite wants them, with `?` for a parameter.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

_SQLITE = "sqlite"


def run_many(connection: Connection, text: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run one statement for each of `rows`."""
    connection.exec_driver_sql(_spelled(text, connection.dialect.name), list(rows))


def select_among(
    connection: Connection,
    query: str,
    identifiers: Sequence[str],
    *,
    where: str = "",
    by: str = "id",
) -> list[Any]:
    """The rows of `query`, a SELECT without conditions, whose column `by` is one of these."""
    if not identifiers:
        return []
    dialect = connection.dialect.name
    more = f" AND {where}" if where else ""
    if dialect == _SQLITE:
        text = f"{query} WHERE {by} IN (SELECT value FROM json_each(?)){more}"  # noqa: S608 - our own words
        return list(connection.exec_driver_sql(text, (json.dumps(identifiers),)))
    text = _spelled(f"{query} WHERE {by} = ANY(?){more}", dialect)
    return list(connection.exec_driver_sql(text, (list(identifiers),)))


def insert_of(connection: Connection) -> "type[sqlite.Insert | postgresql.Insert]":
    """An INSERT that can say what to do where a row is there already, in this SQL."""
    # Nobody needs the dialect of the other database.
    if connection.dialect.name == _SQLITE:
        from sqlalchemy.dialects.sqlite import Insert  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.postgresql import Insert  # noqa: PLC0415
    return Insert


@cache
def _spelled(text: str, dialect: str) -> str:
    return text if dialect == _SQLITE else text.replace("?", "%s")
