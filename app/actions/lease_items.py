"""Lease suggestions to one person's desk, so that two people are not asked the same at once; they come back by themselves."""

from collections.abc import Sequence

from sqlalchemy import delete, or_
from sqlalchemy.orm import Session

from app.store.database import epoch_s
from app.store.insert import CHUNK, insert
from app.store.models import ItemLease

ITEM_LEASE_S = 600.0


def lease_items(
    session: Session, *, suggestion_ids: Sequence[int], person: str, lives_s: float = ITEM_LEASE_S
) -> set[int]:
    """The ids that are this person's for `lives_s` seconds; those that somebody else holds are left out.

    One statement decides, so two people who ask at the same moment never both get an item.
    """
    mine: set[int] = set()
    wanted = sorted(set(suggestion_ids))  # one order for everybody: no deadlock
    for start in range(0, len(wanted), CHUNK):
        rows = [
            {"suggestion_id": i, "person": person, "until": epoch_s() + lives_s}
            for i in wanted[start : start + CHUNK]
        ]
        statement = insert(session, ItemLease).values(rows)
        taken = statement.on_conflict_do_update(
            index_elements=["suggestion_id"],
            set_={"person": statement.excluded.person, "until": statement.excluded.until},
            where=or_(ItemLease.person == person, ItemLease.until < epoch_s()),
        )
        mine |= set(session.scalars(taken.returning(ItemLease.suggestion_id)))
    return mine


def release_items(session: Session, *, suggestion_ids: Sequence[int]) -> None:
    """Ends the leases of suggestions that are answered."""
    if suggestion_ids:
        session.execute(delete(ItemLease).where(ItemLease.suggestion_id.in_(suggestion_ids)))
