"""All rows of all tables as JSON lines, and back: the same for SQLite and Postgres, so that one can become the other."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, func, insert, select, text

from app.store import models

ROWS_AT_ONCE = 1000


def tables_of(connection: Connection) -> list[Table]:
    """The tables of the models as they are in the database, those that others refer to first.

    What is not a model, such as the words of captions, is made again from them by itself.
    """
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name in models.Table.metadata.tables)
    return found.sorted_tables


def dump(connection: Connection, table: Table) -> Iterator[str]:
    """One line a row, in the order of the key."""
    query = select(table).order_by(*table.primary_key.columns)
    for row in connection.execute(query.execution_options(yield_per=ROWS_AT_ONCE)).mappings():
        yield json.dumps({name: _said(value) for name, value in row.items()}, ensure_ascii=False) + "\n"


def load(connection: Connection, table: Table, lines: Iterable[str]) -> int:
    """Inserts the rows; how many there were."""
    times = {column.name for column in table.columns if _holds(column.type, datetime)}
    blobs = {column.name for column in table.columns if _holds(column.type, bytes)}
    num_rows, batch = 0, []
    for line in lines:
        row = json.loads(line)
        row |= {name: datetime.fromisoformat(row[name]) for name in times & row.keys() if row[name]}
        row |= {name: b64decode(row[name]) for name in blobs & row.keys() if row[name] is not None}
        batch.append(row)
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
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _holds(type_: Any, python_type: type) -> bool:
    try:
        return type_.python_type is python_type
    except NotImplementedError:
        return False
