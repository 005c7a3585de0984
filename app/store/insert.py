"""INSERT ... ON CONFLICT in the one spelling that SQLite and Postgres share."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Insert, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.store.models import Table

CHUNK = 500  # rows a statement: SQLite takes at most 32,766 values


def insert(session: Session, table: type[Table]) -> Any:
    """The dialect's own INSERT, which knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    dialect = session.get_bind().dialect.name
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def insert_missing(
    session: Session, table: type[Table], rows: Sequence[dict[str, Any]], *, key: Sequence[str]
) -> int:
    """Insert the rows whose unique `key` columns are new, in the order given; how many were."""
    if not rows:
        return 0
    statement: Insert = insert(session, table).on_conflict_do_nothing(index_elements=list(key))
    num = 0
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        result = session.execute(statement.values(chunk).returning(inspect(table).primary_key[0]))
        num += len(result.all())
    return num
