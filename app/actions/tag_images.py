"""Put a tag on images or take it off, any number of them in one step that is undone as one."""

from collections.abc import Collection

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.store.insert import insert
from app.store.models import Image, ImageTag, Tag
from app.store.reads.data_sets import get_data_set
from app.store.text import clean

CHUNK = 500
MAX_CHARACTERS = 100


def tag_images(
    session: Session, data_set_id: int, *, image_ids: Collection[int], name: str, person: str, bulk_id: str
) -> int:
    """How many of the images had not borne the tag. Raises NotFound, NearmissError for what is no name of a tag."""
    tag_id = _tag(session, data_set_id, name)
    num = 0
    for ids in _chunks(image_ids):
        known = select(Image.id).where(Image.id.in_(ids), Image.data_set_id == data_set_id)
        bears = select(ImageTag.image_id).where(
            ImageTag.tag_id == tag_id, ImageTag.image_id.in_(ids), ImageTag.removed_bulk_id.is_(None)
        )
        fresh = session.scalars(known.where(Image.id.not_in(bears)).order_by(Image.id)).all()
        row = {"tag_id": tag_id, "person": person, "bulk_id": bulk_id}
        if fresh:
            session.execute(
                insert(session, ImageTag)
                .values([row | {"image_id": image_id} for image_id in fresh])
                .on_conflict_do_nothing()
            )
        num += len(fresh)
    return num


def untag_images(
    session: Session, data_set_id: int, *, image_ids: Collection[int], name: str, bulk_id: str
) -> int:
    """How many of the images had borne the tag; it stays in the history."""
    tag_id = select(Tag.id).where(Tag.data_set_id == data_set_id, Tag.name == name).scalar_subquery()
    num = 0
    for ids in _chunks(image_ids):
        stands = (
            ImageTag.tag_id == tag_id,
            ImageTag.image_id.in_(ids),
            ImageTag.removed_bulk_id.is_(None),
        )
        done = session.execute(
            update(ImageTag).where(*stands).values(removed_bulk_id=bulk_id),
            execution_options={"synchronize_session": False},
        )
        num += done.rowcount  # type: ignore[attr-defined]  # an UPDATE's result has it
    return num


def undo_tagging(session: Session, data_set_id: int, *, bulk_id: str, undo_id: str) -> int:
    """What one step put on goes off, what it took off comes back: how many; 0 when it was undone before."""
    ours = ImageTag.tag_id.in_(select(Tag.id).where(Tag.data_set_id == data_set_id))
    off = session.execute(
        update(ImageTag)
        .where(ours, ImageTag.bulk_id == bulk_id, ImageTag.removed_bulk_id.is_(None))
        .values(removed_bulk_id=undo_id),
        execution_options={"synchronize_session": False},
    ).rowcount  # type: ignore[attr-defined]
    standing = select(ImageTag.tag_id, ImageTag.image_id).where(ImageTag.removed_bulk_id.is_(None)).subquery()
    again = (
        select(standing.c.image_id)
        .where(standing.c.tag_id == ImageTag.tag_id, standing.c.image_id == ImageTag.image_id)
        .exists()
    )
    back = session.execute(
        update(ImageTag)
        .where(ours, ImageTag.removed_bulk_id == bulk_id, ImageTag.bulk_id != bulk_id, ~again)
        .values(removed_bulk_id=None),
        execution_options={"synchronize_session": False},
    ).rowcount  # type: ignore[attr-defined]
    return int(off + back)


def _tag(session: Session, data_set_id: int, name: str) -> int:
    get_data_set(session, data_set_id)
    name = clean(name, what="tag", limit=MAX_CHARACTERS)
    if "\n" in name:
        raise NearmissError("a tag is one line; leave the line break out")
    session.execute(insert(session, Tag).values(data_set_id=data_set_id, name=name).on_conflict_do_nothing())
    return session.scalars(select(Tag.id).where(Tag.data_set_id == data_set_id, Tag.name == name)).one()


def _chunks(image_ids: Collection[int]) -> list[list[int]]:
    ids = sorted(set(image_ids))
    return [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
