"""Rows on their way in: a temporary table that each database fills its fastest way, and is then spread from.

Postgres takes COPY, SQLite an executemany; spreading is one statement a table, so that a million rows cost neither a
round trip nor a Python object each.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

# hashes fall anywhere in their indexes: the pages of 5,000 rows stay in memory and reach the file once, not every commit
WHILE_IMPORTING = ("cache_size = -65536", "wal_autocheckpoint = 16000")  # 64 MB of each, of this connection
COLUMNS = ("n", "key", "sha256", "width", "height", "text", "text_sha256", "split", "new_key", "new_text")
TABLE = (
    "CREATE TEMP TABLE IF NOT EXISTS incoming (n INTEGER PRIMARY KEY, key TEXT, sha256 TEXT, width INTEGER,"
    " height INTEGER, text TEXT, text_sha256 TEXT, split TEXT, new_key INTEGER, new_text INTEGER)"
)
IMAGES = text(
    "INSERT INTO images (data_set_id, key, sha256, width, height)"
    " SELECT :data_set_id, key, sha256, width, height FROM incoming WHERE new_key = 1 ORDER BY n"
    " ON CONFLICT (data_set_id, key) DO NOTHING"
)
CAPTIONS = text(
    "INSERT INTO captions (data_set_id, text, sha256)"
    " SELECT :data_set_id, text, text_sha256 FROM incoming WHERE new_text = 1 ORDER BY n"
    " ON CONFLICT (data_set_id, sha256) DO NOTHING"
)
JOINED = (
    " FROM incoming i JOIN images m ON m.data_set_id = :data_set_id AND m.key = i.key"
    " JOIN captions c ON c.data_set_id = :data_set_id AND c.sha256 = i.text_sha256"
)
PAIRS = text(
    "INSERT INTO pairs (data_set_id, image_id, caption_id, split)"
    f" SELECT :data_set_id, m.id, c.id, i.split{JOINED} WHERE true ORDER BY i.n"
    " ON CONFLICT (image_id, caption_id) DO NOTHING"
)
PLACES = text(
    f"SELECT i.n, m.id, c.id, p.id{JOINED} JOIN pairs p ON p.image_id = m.id AND p.caption_id = c.id ORDER BY i.n"
)
CHANGED = text(
    "SELECT DISTINCT m.id FROM incoming i JOIN images m ON m.data_set_id = :data_set_id AND m.key = i.key"
    " WHERE i.new_key = 1 AND m.sha256 <> i.sha256"
)
RENEW = text(
    "UPDATE images SET sha256 = i.sha256, width = i.width, height = i.height FROM incoming i"
    " WHERE i.new_key = 1 AND images.data_set_id = :data_set_id AND images.key = i.key AND images.sha256 <> i.sha256"
)
STANDING = (
    " FROM incoming i, images m, captions c WHERE m.data_set_id = :data_set_id AND m.key = i.key"
    " AND c.data_set_id = :data_set_id AND c.sha256 = i.text_sha256"
    " AND pairs.image_id = m.id AND pairs.caption_id = c.id"
)
# the source still has the caption that a person has corrected since
MENDED = "EXISTS (SELECT 1 FROM mends WHERE mends.old_pair_id = pairs.id AND mends.undone_at IS NULL)"
# bandit's B608 is about words of others; these statements are made of our own only
RETURNED = text(
    f"UPDATE pairs SET retired_at = NULL{STANDING} AND pairs.retired_at IS NOT NULL AND NOT {MENDED}"  # nosec B608
)
MOVED = text(f"UPDATE pairs SET split = i.split{STANDING} AND pairs.split <> i.split")  # nosec B608


def load(session: Session, rows: Iterable[tuple[Any, ...]]) -> None:
    """Put rows (in the order of COLUMNS) into this connection's table `incoming`, emptied before.

    `new_key` and `new_text` are 1 where these rows name a picture or a text for the first time: Postgres would spend
    a number on each conflict, and ids would differ from SQLite's.
    """
    connection = session.connection()
    names = ", ".join(COLUMNS)
    if connection.dialect.name == "postgresql":
        _copy(connection, names, rows)
        return
    for setting in WHILE_IMPORTING:
        connection.exec_driver_sql(f"PRAGMA {setting}")
    connection.exec_driver_sql(TABLE)
    connection.exec_driver_sql("DELETE FROM incoming")
    marks = ", ".join("?" * len(COLUMNS))
    statement = f"INSERT INTO incoming ({names}) VALUES ({marks})"  # nosec B608  # our own columns
    connection.exec_driver_sql(statement, list(rows))


def spread(session: Session, data_set_id: int) -> tuple[int, int, int]:
    """Insert what is missing of images, captions and pairs: how many of each were new."""
    images, captions = (run(session, one, data_set_id).rowcount for one in (IMAGES, CAPTIONS))
    if session.connection().dialect.name == "postgresql":
        _count_small_tables(session.connection())
    pairs = run(session, PAIRS, data_set_id).rowcount
    return images, captions, pairs


def run(session: Session, statement: Any, data_set_id: int) -> Any:
    """One of the statements above."""
    return session.connection().execute(statement, {"data_set_id": data_set_id})


def _count_small_tables(connection: Connection) -> None:
    """While Postgres believes a table empty, any of its indexes looks good: the first 10,000 rows took 3 s."""
    known = text(
        "SELECT min(reltuples) FROM pg_class WHERE oid IN ('images'::regclass, 'captions'::regclass)"
    )
    if (connection.execute(known).scalar() or 0) < 10_000:
        connection.exec_driver_sql("ANALYZE images, captions")


def _copy(connection: Connection, names: str, rows: Iterable[tuple[Any, ...]]) -> None:
    # without statistics the planner would read a million rows for each five thousand that come
    off = [f"enable_{way} = off" for way in ("hashjoin", "mergejoin", "seqscan")]
    for setting in ("client_min_messages = warning", *off):
        connection.exec_driver_sql(f"SET LOCAL {setting}")
    connection.exec_driver_sql(f"{TABLE} ON COMMIT DELETE ROWS")
    connection.exec_driver_sql("TRUNCATE incoming")
    cursor = connection.connection.cursor()
    with cursor.copy(f"COPY incoming ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
