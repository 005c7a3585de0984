"""All rows of all tables as JSON lines, and back: the same for SQLite and Postgres, so that one can become the other."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, func, insert, select, text

VERSION_TABLE = "alembic_version"
ROWS_AT_ONCE = 1000


def tables_of(connection: Connection) -> list[Table]:
    """The tables as they are in the database, those that others refer to first."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != VERSION_TABLE]


def dump(connection: Connection, table: Table) -> Iterator[str]:
    """One line a row, in the order of the key."""
    query = select(table).order_by(*table.primary_key.columns)
    for row in connection.execute(query.execution_options(yield_per=ROWS_AT_ONCE)).mappings():
        yield json.dumps({name: _said(value) for name, value in row.items()}, ensure_ascii=False) + "\n"


def load(connection: Connection, table: Table, lines: Iterable[str]) -> int:
    """Inserts the rows; how many there were."""
    times = {column.name for column in table.columns if _is_time(column.type)}
    num_rows, batch = 0, []
    for line in lines:
        row = json.loads(line)
        batch.append({name: _time(value) if name in times else value for name, value in row.items()})
        num_rows += 1
        if len(batch) == ROWS_AT_ONCE:
            connection.execute(insert(table), batch)
            batch = []
    if batch:
        connection.execute(insert(table), batch)
    return num_rows


def count_on(connection: Connection, table: Table) -> None:
    """Postgres numbers its rows by a sequence: it must go on behind the highest id."""
    if connection.dialect.name != "postgresql" or "id" not in table.columns:
        return
    sequence = connection.scalar(text("select pg_get_serial_sequence(:table, 'id')"), {"table": table.name})
    highest = connection.scalar(select(func.max(table.c.id)))
    if sequence and highest:
        connection.execute(
            text("select setval(:sequence, :highest)"), {"sequence": sequence, "highest": highest}
        )


def snapshot(engine: Engine) -> Connection:
    """A connection that sees one state, whatever others write meanwhile; close it."""
    if engine.dialect.name == "postgresql":
        return engine.connect().execution_options(isolation_level="REPEATABLE READ")
    return engine.connect()


def _said(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    return value


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _is_time(type_: Any) -> bool:
    try:
        return type_.python_type is datetime
    except NotImplementedError:
        return False
