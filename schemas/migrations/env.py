"""Alembic's entry point. schemas.database opens the connection and holds the lock; this only runs the migrations."""

from alembic import context

from schemas.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    version_table=context.config.attributes["version_table"],
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
