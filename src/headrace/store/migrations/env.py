"""Runs migrations on the connection that `Database.migrate` hands over, in its transaction."""

from alembic import context

from headrace.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
)
context.run_migrations()
