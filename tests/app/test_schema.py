"""The migrations build what the models say; a newer schema is refused."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from app.errors import NearmissError
from app.store.database import Database
from app.store.models import Table
from app.store.schema import check, migrate


def test_migrated_schema_equals_the_models(database: Database) -> None:
    def ours(name: str | None, _type: str, _parents: object) -> bool:
        return not (name or "").startswith("caption_words")  # full text: each database's own kind of table

    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": ours})
        assert compare_metadata(context, Table.metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    migrate(database.engine)
    check(database.engine)


def test_a_newer_schema_is_refused_with_the_remedy(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    for act in (migrate, check):
        with pytest.raises(NearmissError, match=r"9999.*install the newer Nearmiss"):
            act(database.engine)
