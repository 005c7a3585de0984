"""A person's own wording of what an image does not show: a caption in no pair, and the verdict that it does not match."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.decide import Decision, decide
from app.errors import NearmissError, NotFound
from app.store.insert import insert_missing
from app.store.models import Caption, Image, Pair, Verdict
from app.store.text import clean, text_hash
from clipcore.errors import ClipcoreError
from clipcore.mining.lexical import plain
from clipcore.mining.written import check_written

MAX_CHARACTERS = 1_000
STANDS = Pair.retired_at.is_(None)


def write_negative(
    session: Session, *, data_set_id: int, image_id: int, text: str, uuid: str, person: str
) -> Verdict:
    """The verdict; the same UUID again changes nothing. Training shows the caption to its own image only.

    Raises NotFound for an image of another data set, NearmissError for a wording that some pair's caption says already:
    it may be true of another image, and then it is a candidate to decide, not a negative to write.
    """
    image = session.get(Image, image_id)
    if image is None or image.data_set_id != data_set_id or image.erased_at is not None:
        raise NotFound(f"there is no image {image_id} in this data set; reload the page")
    text = clean(" ".join(text.split()) or text, what="wording", limit=MAX_CHARACTERS)
    own = session.scalars(select(Caption.text).join(Pair).where(Pair.image_id == image_id, STANDS))
    if plain(text) in {plain(caption) for caption in own}:
        raise NearmissError(f"{text!r} is this image's own caption; change what is not to be true of it")
    try:
        text = check_written(text, _like(session, data_set_id, text))
    except ClipcoreError as error:
        raise NearmissError(str(error)) from None
    row = {"data_set_id": data_set_id, "sha256": text_hash(text), "text": text}
    insert_missing(session, Caption, [row], key=["data_set_id", "sha256"])
    caption_id = session.scalars(
        select(Caption.id).where(Caption.data_set_id == data_set_id, Caption.sha256 == row["sha256"])
    ).one()
    decision = Decision(uuid=uuid, image_id=image_id, caption_id=caption_id, answer="no_match")
    return decide(session, decisions=[decision], person=person)[0]


def _like(session: Session, data_set_id: int, text: str) -> list[str]:
    """The captions of pairs that hold the wording's longest word: one that says the same words is among them."""
    paired = select(Pair.id).where(Pair.caption_id == Caption.id, STANDS).exists()
    query = select(Caption.text).where(Caption.data_set_id == data_set_id, paired)
    ascii_words = [word for word in plain(text).split() if word.isascii() and word.isalnum()]
    if ascii_words:  # SQLite folds the case of ASCII letters only
        query = query.where(Caption.text.icontains(max(ascii_words, key=len), autoescape=True))
    return list(session.scalars(query))
