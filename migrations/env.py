"""Alembic's entrance. The connection comes from `app.store.schema`, or from the settings on the command line."""

from alembic import context

from app.settings import get_settings
from app.store.models import Table


def run() -> None:
    """Apply the migrations on the connection that the caller brought, or on one of our own."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _upgrade(connection)
        return
    from sqlalchemy import create_engine

    with create_engine(get_settings().resolved_database_url).begin() as connection:
        _upgrade(connection)


def _upgrade(connection: object) -> None:
    context.configure(connection=connection, target_metadata=Table.metadata)  # type: ignore[arg-type]
    with context.begin_transaction():
        context.run_migrations()


run()
