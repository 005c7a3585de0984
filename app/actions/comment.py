"""Note something about an image, or about one of its captions; take an own note away again."""

from sqlalchemy.orm import Session

from app.errors import NearmissError, NotFound
from app.store.models import Caption, Comment, Image
from app.store.text import clean

MAX_CHARACTERS = 2_000


def comment(
    session: Session, *, image_id: int, text: str, person: str, caption_id: int | None = None
) -> Comment:
    """Raises NotFound, and NearmissError for what is no text or too long."""
    image = session.get(Image, image_id)
    if image is None or image.erased_at is not None:
        raise NotFound(f"there is no image {image_id}, or it was erased; go back and reload")
    if caption_id is not None:
        caption = session.get(Caption, caption_id)
        if caption is None or caption.data_set_id != image.data_set_id:
            raise NotFound(f"there is no caption {caption_id} in this data set; reload the page")
    cleaned = clean(text, what="comment", limit=MAX_CHARACTERS)
    made = Comment(
        data_set_id=image.data_set_id, image_id=image_id, caption_id=caption_id, text=cleaned, person=person
    )
    session.add(made)
    session.flush()
    return made


def delete_comment(session: Session, comment_id: int, *, person: str) -> int:
    """The image that it was about. Raises NotFound, and NearmissError for another person's."""
    found = session.get(Comment, comment_id)
    if found is None:
        raise NotFound(f"there is no comment {comment_id}; reload the page")
    if found.person != person:
        raise NearmissError(f"this comment is {found.person}'s; only they can delete it")
    session.delete(found)
    return found.image_id
