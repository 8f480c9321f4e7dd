"""Alembic runs this file; it migrates over the connection that `store.database` gives it."""

from alembic import context

from ws_subprocess.store.jobs_table import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
