"""Register a model: an open_clip name, a local folder, or what a run produced."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.store.models import Model
from app.store.text import clean


def add_model(
    session: Session,
    *,
    name: str,
    location: str,
    pretrained: str = "",
    licence: str = "",
    run_id: int | None = None,
    parent_id: int | None = None,
) -> Model:
    """The model; the same name with the same location is the same model. Raises Conflict otherwise."""
    name, location = clean(name, what="name", limit=200), clean(location, what="location")
    known = session.scalar(select(Model).where(Model.name == name))
    if known is not None:
        if (known.location, known.pretrained) == (location, pretrained):
            return known
        raise Conflict(f"a model named {name!r} exists already, at {known.location}; choose another name")
    model = Model(
        name=name,
        location=location,
        pretrained=pretrained,
        licence=licence,
        run_id=run_id,
        parent_id=parent_id,
    )
    session.add(model)
    session.flush()
    return model
