"""Words of captions, found by an index that follows the captions by the highest id it holds: imports never wait for it.

SQLite keeps it in FTS5, Postgres in a tsvector under GIN. The words are cut here, so that both find the same:
letters and digits, case and accents aside, each Chinese or Japanese character a word of its own. A deleted or erased
caption leaves the index by a trigger.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, column, func, literal, select, table, text
from sqlalchemy.orm import Session

from app.store.models import Caption

BATCH = 5_000  # captions a transaction
OVERLAP = 20_000  # ids: on Postgres a smaller id may be committed after a larger one
LONGEST = 60  # characters of a word that count
MOST = 12  # words of a query that count
FEW = 5_000  # captions that are looked up at once
WORD = re.compile(r"[^\W_]+")
ALONE = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
LOCK = 0x6E6D_776F  # any number: one indexer at a time on Postgres

FTS5 = table("caption_words", column("rowid"), column("caption_words"))
TSVECTOR = table("caption_words", column("caption_id"), column("data_set_id"), column("words"))


def words_of(caption: str) -> list[str]:
    """The words of a text as the index holds them."""
    plain = unicodedata.normalize("NFKD", ALONE.sub(r" \1 ", caption).casefold())
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return [word[:LONGEST] for word in WORD.findall(bare)]


def index_words(session: Session, *, limit: int = BATCH) -> int:
    """Take the next `limit` captions into the index; how many there were, so 0 when it is complete."""
    return _index_postgres(session, limit) if _is_postgres(session) else _index_sqlite(session, limit)


@dataclass(frozen=True)
class WordSearch:
    """The index, its caption id, the condition that all words begin a word of the caption, and along what to walk it."""

    index: FromClause
    caption_id: ColumnElement[int]
    holds: ColumnElement[bool]
    along: ColumnElement[bool]


def search_words(session: Session, data_set_id: int, query: str) -> WordSearch:
    """Captions with all words of `query`, each as a whole word or as its beginning; none where it holds no word."""
    words = words_of(query)[:MOST]
    if _is_postgres(session):
        return _search_postgres(session, data_set_id, words)
    starts = " ".join(f'"{word}"*' for word in words)
    asked = f'scope : "{data_set_id}" AND words : ({starts})' if words else 'scope : "-"'
    holds = FTS5.c.caption_words.op("MATCH", is_comparison=True)(literal(asked))
    return WordSearch(FTS5, FTS5.c.rowid, holds, holds)


def _search_postgres(session: Session, data_set_id: int, words: list[str]) -> WordSearch:
    """Few captions are looked up through GIN beforehand; what many captions hold is met soon in the order of ids.

    The planner cannot tell these apart: it takes the same share for any word that may go on.
    """
    here = TSVECTOR.c.data_set_id == data_set_id
    if not words:
        return WordSearch(TSVECTOR, TSVECTOR.c.caption_id, TSVECTOR.c.caption_id < 0, here)
    asked = " & ".join(f"'{word}':*" for word in words)
    holds = and_(
        here, TSVECTOR.c.words.op("@@", is_comparison=True)(func.to_tsquery(text("'simple'"), asked))
    )
    session.execute(text("SET LOCAL enable_seqscan = off"))
    session.execute(text("SET LOCAL enable_indexscan = off"))
    few = session.scalars(select(TSVECTOR.c.caption_id).where(holds).limit(FEW + 1)).all()
    session.execute(text("SET LOCAL enable_indexscan = on"))
    if len(few) <= FEW:
        found = TSVECTOR.c.caption_id.in_(few)
        return WordSearch(TSVECTOR, TSVECTOR.c.caption_id, found, found)
    session.execute(text("SET LOCAL enable_bitmapscan = off"))
    return WordSearch(TSVECTOR, TSVECTOR.c.caption_id, holds, here)


def _is_postgres(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def _index_sqlite(session: Session, limit: int) -> int:
    connection = session.connection()
    last = connection.exec_driver_sql("SELECT rowid FROM caption_words ORDER BY rowid DESC LIMIT 1").scalar()
    rows = session.execute(_captions(last or 0, limit)).all()
    values = [(row.id, " ".join(_living(row)), str(row.data_set_id)) for row in rows]
    if values:
        connection.exec_driver_sql("INSERT INTO caption_words (rowid, words, scope) VALUES (?, ?, ?)", values)
    return len(values)


def _index_postgres(session: Session, limit: int) -> int:
    connection = session.connection()
    known = select(func.max(TSVECTOR.c.caption_id)).scalar_subquery()
    newest = session.execute(select(func.coalesce(known, 0), func.coalesce(func.max(Caption.id), 0))).one()
    if (
        newest[0] == newest[1]
        or not connection.execute(select(func.pg_try_advisory_xact_lock(LOCK))).scalar()
    ):
        return 0
    missing = ~select(TSVECTOR.c.caption_id).where(TSVECTOR.c.caption_id == Caption.id).exists()
    rows = session.execute(_captions(newest[0] - OVERLAP, limit).where(missing)).all()
    values = {
        "ids": [row.id for row in rows],
        "sets": [row.data_set_id for row in rows],
        "words": [" ".join(_living(row)) for row in rows],
    }
    if rows:
        connection.execute(
            text(
                "INSERT INTO caption_words SELECT i, s, array_to_tsvector(string_to_array(w, ' '))"
                " FROM unnest(cast(:ids as bigint[]), cast(:sets as bigint[]), cast(:words as text[])) AS t(i, s, w)"
            ),
            values,
        )
    return len(rows)


def _captions(after: int, limit: int) -> Any:
    columns = (Caption.id, Caption.data_set_id, Caption.text, Caption.erased_at)
    return select(*columns).where(Caption.id > after).order_by(Caption.id).limit(limit)


def _living(row: Any) -> list[str]:
    return words_of(row.text) if row.erased_at is None else []
