"""The item page and its comments."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.actions.comment import MAX_CHARACTERS, comment, delete_comment
from app.api.access import MAX_ID, Db, Id, Person
from app.store.reads.items import Item, Note, comments_on, item_page

router = APIRouter(prefix="/api")


class NewComment(BaseModel):
    """About the image, or about one caption of the data set in its light."""

    text: Annotated[str, Field(max_length=MAX_CHARACTERS * 2)]
    caption_id: Annotated[int, Field(ge=1, le=MAX_ID)] | None = None


@router.get("/items/{image_id}")
def item(image_id: Id, database: Db) -> Item:
    """An image with everything that is known about it."""
    with database.reading() as session:
        return item_page(session, image_id)


@router.post("/items/{image_id}/comments")
def add(image_id: Id, body: NewComment, database: Db, person: Person) -> list[Note]:
    """Add a comment; answers with all."""
    with database.transaction() as session:
        comment(session, image_id=image_id, text=body.text, caption_id=body.caption_id, person=person)
    with database.reading() as session:
        return comments_on(session, image_id)


@router.delete("/comments/{comment_id}")
def delete(comment_id: Id, database: Db, person: Person) -> list[Note]:
    """Delete an own comment; answers with those that are left on its image."""
    with database.transaction() as session:
        image_id = delete_comment(session, comment_id, person=person)
    with database.reading() as session:
        return comments_on(session, image_id)
