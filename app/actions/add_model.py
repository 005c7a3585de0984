"""Register a model: an open_clip name, a local folder, or what a run produced."""

import re
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.import_roots import import_roots
from app.errors import Conflict, NearmissError
from app.store.models import Model
from app.store.text import clean

LOCAL = "local-dir:"
OF_RUNS = ("media:", "vectors:")
TAG = re.compile(r"[\w-]*")  # all of open_clip's are of this form; anything else is a file of weights


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


def demand_place(session: Session, *, location: str, pretrained: str) -> None:
    """What page and API may name: files only below the folders that may be imported. Raises NearmissError."""
    if location.startswith(OF_RUNS):
        raise NearmissError(
            f"{location[:200]!r} is how a run or an import writes its own model; give open_clip's name, hf-hub:… or local-dir:…"
        )
    if location.startswith(LOCAL):
        _demand_below(session, location.removeprefix(LOCAL))
    if not TAG.fullmatch(pretrained):
        _demand_below(session, pretrained)


def _demand_below(session: Session, path: str) -> None:
    roots = import_roots(session)
    try:
        real = Path(path).expanduser().resolve()
    except (OSError, ValueError, RuntimeError):
        real = None
    if real is None or not any(real.is_relative_to(root) for root in roots):
        below = ", ".join(map(str, roots))
        raise NearmissError(
            f"{path[:200]!r} lies outside the folders of this server that may be read; move the model below {below},"
            " or run `nearmiss add-model` on the server"
        )
