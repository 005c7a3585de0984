"""Controls: questions whose answer is known, mixed into the queue, so that each person's care can be measured.

A known pair must be answered yes, a random pair no. The page cannot tell them from suggestions: where a suggestion has
its id, a control has the negative of its own, and it wears the proposal, right or wrong, of a suggestion beside it.
Answers stay in `controls`: they are no verdicts, so nothing learns from them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from app.store.models import Answer, Caption, Control, CurrentVerdict, Image, Pair, Suggestion

TRIES = 8  # random rows looked at before giving up


@dataclass(frozen=True)
class ControlAnswer:
    """A person's answer to a control; `uuid` makes a retry harmless."""

    uuid: str
    control_id: int
    answer: Answer


def draw_control(
    session: Session,
    data_set_id: int,
    *,
    person: str,
    image_id: int | None = None,
    caption_id: int | None = None,
    known: bool | None = None,
) -> Control | None:
    """A question for this person: a known pair or a random one, by chance unless `known` says which.

    With `image_id` it is about that image: a caption at random, or one of its own where it has several; with
    `caption_id` about that caption and an image at random. None where nothing suitable was found.
    """
    rng = random.SystemRandom()
    wants_known = (rng.random() < 0.5 if known is None else known) and caption_id is None
    both = _known(session, data_set_id, image_id, rng) if wants_known else None
    expected = "match" if both else "no_match"
    both = both or (_random(session, data_set_id, image_id, caption_id, rng) if known is not True else None)
    if both is None:
        return None
    control = Control(
        data_set_id=data_set_id, image_id=both[0], caption_id=both[1], expected=expected, person=person
    )
    session.add(control)
    session.flush()
    return control


def answer_controls(session: Session, answers: Sequence[ControlAnswer], *, person: str) -> list[str]:
    """Keep the answers to this person's controls; the UUIDs that are safe now (others' and unknown ones too: a stale
    page must not be blocked by them)."""
    for given in answers:
        session.execute(
            update(Control)
            .where(Control.id == given.control_id, Control.person == person)
            .values(answer=given.answer, uuid=given.uuid)
        )
    return [given.uuid for given in answers]


def take_back_control(session: Session, uuid: str, *, person: str) -> Control | None:
    """Opens the control that was answered under this UUID again; None where there is none."""
    control = session.scalar(select(Control).where(Control.uuid == uuid, Control.person == person))
    if control is not None:
        control.answer = None
        session.flush()
    return control


def _known(
    session: Session, data_set_id: int, image_id: int | None, rng: random.Random
) -> tuple[int, int] | None:
    """A pair of the data set that nobody doubts; on a given image only where another own caption is left to show."""
    query = (
        select(Pair.image_id, Pair.caption_id)
        .join(Image, Image.id == Pair.image_id)
        .join(Caption, Caption.id == Pair.caption_id)
        .where(Pair.data_set_id == data_set_id, Pair.retired_at.is_(None))
        .where(Image.erased_at.is_(None), Caption.erased_at.is_(None))
        .where(~_is_judged(Pair.image_id, Pair.caption_id))
    )
    if image_id is not None:
        rows = session.execute(query.where(Pair.image_id == image_id)).all()
        return tuple(rng.choice(rows)) if len(rows) > 1 else None  # type: ignore[return-value]
    start = _somewhere(session, Pair, data_set_id, rng)
    row = session.execute(query.where(Pair.id >= start).order_by(Pair.id).limit(1)).first()
    return (row.image_id, row.caption_id) if row else None


def _random(
    session: Session, data_set_id: int, image_id: int | None, caption_id: int | None, rng: random.Random
) -> tuple[int, int] | None:
    """An image and a caption that meet in no pair, suggestion or verdict."""
    for _ in range(TRIES):
        image = image_id or _living(session, Image, data_set_id, rng)
        caption = caption_id or _living(session, Caption, data_set_id, rng)
        if image is None or caption is None:
            return None
        met = [select(t.image_id).where(t.image_id == image, t.caption_id == caption) for t in MEETINGS]
        in_pair = select(Pair.id).where(Pair.caption_id == caption, Pair.retired_at.is_(None))
        if session.scalar(in_pair.limit(1)) and not any(session.scalar(one.limit(1)) for one in met):
            return image, caption
    return None


MEETINGS = (Pair, Suggestion, CurrentVerdict)


def _is_judged(image_id: Any, caption_id: Any) -> ColumnElement[bool]:
    """A verdict stands on the pair, or its being broken is proposed."""
    said = select(CurrentVerdict.verdict_id).where(
        CurrentVerdict.image_id == image_id, CurrentVerdict.caption_id == caption_id
    )
    doubted = select(Suggestion.id).where(
        Suggestion.image_id == image_id, Suggestion.caption_id == caption_id
    )
    return or_(said.exists(), doubted.exists())


def _living(
    session: Session, table: type[Image] | type[Caption], data_set_id: int, rng: random.Random
) -> int | None:
    start = _somewhere(session, table, data_set_id, rng)
    query = select(table.id).where(
        table.data_set_id == data_set_id, table.erased_at.is_(None), table.id >= start
    )
    return session.scalar(query.order_by(table.id).limit(1))


def _somewhere(session: Session, table: type, data_set_id: int, rng: random.Random) -> int:
    """A random id between a data set's smallest and largest: numbered in one go by an import, so nearly uniform."""
    mine = table.data_set_id == data_set_id  # type: ignore[attr-defined]
    low, high = session.execute(select(func.min(table.id), func.max(table.id)).where(mine)).one()  # type: ignore[attr-defined]
    return rng.randint(low, high) if low is not None else 0
