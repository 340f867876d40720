"""The child process that upgrades a database: `python -m headrace.store.upgrade_child`.

The database's URL comes on standard input, since it may hold a password; an error goes out as one
JSON line. Alembic would stay in the memory of a server for good, 9 MB that it needs once.
"""

import logging
import sys

import msgspec

from headrace.core.clock import SystemClock
from headrace.core.errors import HeadraceError
from headrace.store.database import Database, Refused


def main() -> int:
    """Upgrade it; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        database = Database(sys.stdin.read())
        try:
            database.migrate(SystemClock())
        finally:
            database.close()
    except HeadraceError as error:
        print(msgspec.json.encode(Refused(error.message, error.hint)).decode())  # noqa: T201 - its answer
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
