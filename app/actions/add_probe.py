"""Watch a query: its results are shown before and during every run on the data set."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NearmissError, NotFound
from app.store.models import Caption, DataSet, Image, Pair, Probe
from app.store.text import clean


def add_probe(
    session: Session, *, data_set_id: int, text: str | None = None, image_id: int | None = None
) -> Probe:
    """The probe; the same query again is the same probe. Raises NotFound, or NearmissError for no query."""
    if (text is None) == (image_id is None):
        raise NearmissError("a probe is a text or an image: give exactly one of them")
    if session.get(DataSet, data_set_id) is None:
        raise NotFound(f"there is no data set {data_set_id}; reload the page")
    if text is not None:
        text = clean(text, what="text of the probe", limit=500)
    else:
        image = session.get(Image, image_id)
        if image is None or image.data_set_id != data_set_id or image.erased_at is not None:
            raise NotFound(f"there is no image {image_id} in data set {data_set_id}; reload the page")
    same = select(Probe).where(
        Probe.data_set_id == data_set_id, Probe.text == text, Probe.image_id == image_id
    )
    probe = session.scalars(same.limit(1)).one_or_none()
    if probe is None:
        probe = Probe(data_set_id=data_set_id, text=text, image_id=image_id)
        session.add(probe)
        session.flush()
    return probe


def pick_probes(
    session: Session, *, data_set_id: int, num_texts: int = 6, num_images: int = 2
) -> list[Probe]:
    """The data set's probes; where it has none, some held-out captions and images, always the same ones."""
    probes = list(session.scalars(select(Probe).where(Probe.data_set_id == data_set_id).order_by(Probe.id)))
    if probes:
        return probes
    for split in ("held_out", "train"):
        pairs = (
            select(Pair.image_id, Caption.text)
            .join(Caption, Caption.id == Pair.caption_id)
            .where(Pair.data_set_id == data_set_id, Pair.split == split, Caption.erased_at.is_(None))
            .order_by(Pair.id)
        )
        rows = session.execute(pairs.limit(10_000)).all()
        if rows:
            spread = [rows[i * len(rows) // (num_texts + num_images)] for i in range(num_texts + num_images)]
            texts = [{"text": row.text} for row in spread[:num_texts]]
            images = [{"image_id": row.image_id} for row in spread[num_texts:]]
            found = [add_probe(session, data_set_id=data_set_id, **query) for query in texts + images]
            return list(dict.fromkeys(found))
    return []
