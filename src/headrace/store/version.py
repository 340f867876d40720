"""Which schema a database has: the cheap check of every start."""

from sqlalchemy import Connection, inspect, text

from headrace.core.errors import StoreError
from headrace.store import schema


def current_version(connection: Connection) -> str | None:
    """The schema version a database is at, None before its first migration.

    Raises:
        StoreError: It is newer than this code.
    """
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if version is not None and version > schema.VERSION:
        raise StoreError(
            f"the database has schema {version}; this Headrace knows schemas up to"
            f" {schema.VERSION}",
            hint="Install the newer Headrace that wrote it, or restore a file of the data"
            " folder's backups/ in its place.",
        )
    return version
