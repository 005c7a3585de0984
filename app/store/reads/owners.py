"""To which data set a row belongs, by the name that its id bears in a path, a query or a body."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.models import (
    BulkCheck,
    Caption,
    Comment,
    DuplicateGroup,
    Image,
    Job,
    Mend,
    Model,
    Pair,
    Probe,
    Run,
    Snapshot,
    Suggestion,
    Verdict,
)

TABLES: dict[str, Any] = {
    "image_id": Image,
    "caption_id": Caption,
    "pair_id": Pair,
    "comment_id": Comment,
    "group_id": DuplicateGroup,
    "suggestion_id": Suggestion,
    "verdict_id": Verdict,
    "run_id": Run,
    "job_id": Job,
    "check_id": BulkCheck,
    "mend_id": Mend,
    "probe_id": Probe,
    "snapshot_id": Snapshot,
}
NAMES = frozenset({"data_set_id", "model_id", *TABLES})


def owner_of(session: Session, name: str, row_id: int) -> tuple[bool, int | None]:
    """Whether the row is there, and its data set; None: it belongs to the server (a base model)."""
    if name == "data_set_id":
        return True, row_id
    row = session.execute(_query(name, [row_id])).first()
    return row is not None, row[1] if row else None


def owners_of(session: Session, name: str, row_ids: Collection[int]) -> dict[int, int | None]:
    """Row id → data set, without the rows that are not there."""
    return {row[0]: row[1] for row in session.execute(_query(name, row_ids))} if row_ids else {}


def _query(name: str, row_ids: Collection[int]) -> Any:
    if name == "model_id":
        made = select(Model.id, Run.data_set_id).outerjoin(Run, Run.id == Model.run_id)
        return made.where(Model.id.in_(row_ids))
    table = TABLES[name]
    return select(table.id, table.data_set_id).where(table.id.in_(row_ids))
