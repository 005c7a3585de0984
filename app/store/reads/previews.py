"""A run's probes: results before and now, what got fixed or broken, and the verdicts that share their items."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.store.models import Caption, CurrentVerdict, Pair, Preview, Probe, Run

Mark = Literal["fixed", "broken", "unchanged"]


@dataclass(frozen=True)
class Result:
    """One result: a caption of an image probe, or an image (with a caption of its own) of a text probe."""

    id: int
    image_id: int | None
    caption: str
    score: float
    relevant: bool


@dataclass(frozen=True)
class MovedResult(Result):
    """A present result beside its rank before (from 1; None: it was not shown)."""

    rank_before: int | None
    mark: Mark


@dataclass(frozen=True)
class SharedVerdict:
    """A standing verdict on the probe's query and one of its results."""

    image_id: int
    caption_id: int
    answer: str


@dataclass(frozen=True)
class ProbeView:
    """One watched query."""

    id: int
    text: str | None
    image_id: int | None
    relevant: list[int]
    before: list[Result]
    now: list[MovedResult]
    mark: Mark
    verdicts: list[SharedVerdict]


@dataclass(frozen=True)
class Previews:
    """All probes of a run at its latest preview."""

    probes: list[ProbeView]
    step: int | None


def previews(session: Session, run: Run) -> Previews:
    """What the probes return before the first step and at the latest preview of `run`."""
    steps = select(func.min(Preview.step), func.max(Preview.step)).where(Preview.run_id == run.id)
    first, last = session.execute(steps).one()
    if first is None:
        return Previews(probes=[], step=None)
    query = (
        select(Preview, Probe)
        .join(Probe, Probe.id == Preview.probe_id)
        .where(Preview.run_id == run.id, Preview.step.in_([first, last]))
        .order_by(Probe.id, Preview.step)
    )
    by_probe: dict[Probe, list[Preview]] = {}
    for preview, probe in session.execute(query):
        by_probe.setdefault(probe, []).append(preview)
    return Previews(probes=[_view(session, probe, seen) for probe, seen in by_probe.items()], step=last)


def _view(session: Session, probe: Probe, seen: list[Preview]) -> ProbeView:
    before, now = seen[0], seen[-1]
    caption_id = _caption_of(session, probe)
    relevant = _relevant(session, probe, caption_id)
    names = _names(session, probe, [*before.result_ids, *now.result_ids])
    results_before = [_result(probe, names, relevant, *pair) for pair in _pairs_of(before)]
    results_now = _moved(before, now, [_result(probe, names, relevant, *pair) for pair in _pairs_of(now)])
    return ProbeView(
        id=probe.id,
        text=probe.text,
        image_id=probe.image_id,
        relevant=sorted(relevant),
        before=results_before,
        now=results_now,
        mark=_mark(_num_right(results_before, relevant), _num_right(results_now, relevant)),
        verdicts=_verdicts(session, probe, caption_id, set(names)),
    )


def _pairs_of(preview: Preview) -> list[tuple[int, float]]:
    return list(zip(preview.result_ids, preview.scores, strict=True))


def _caption_of(session: Session, probe: Probe) -> int | None:
    if probe.text is None:
        return None
    same = select(Caption.id).where(Caption.data_set_id == probe.data_set_id, Caption.text == probe.text)
    return session.scalar(same.limit(1))


def _relevant(session: Session, probe: Probe, caption_id: int | None) -> set[int]:
    """Ids that are right: the data set's own partners and those that a person called a match."""
    if probe.image_id is not None:
        own = select(Pair.caption_id).where(Pair.image_id == probe.image_id)
        said = select(CurrentVerdict.caption_id).where(CurrentVerdict.image_id == probe.image_id)
    else:
        own = select(Pair.image_id).where(Pair.caption_id == caption_id)
        said = select(CurrentVerdict.image_id).where(CurrentVerdict.caption_id == caption_id)
    matches = session.scalars(said.where(CurrentVerdict.answer == "match"))
    return {*session.scalars(own), *matches}


def _names(session: Session, probe: Probe, ids: Sequence[int]) -> dict[int, str]:
    """Result id → the caption to show with it."""
    if probe.image_id is not None:
        query = select(Caption.id, Caption.text).where(Caption.id.in_(ids), Caption.erased_at.is_(None))
    else:
        query = (
            select(Pair.image_id, Caption.text)
            .join(Caption, Caption.id == Pair.caption_id)
            .where(Pair.image_id.in_(ids), Caption.erased_at.is_(None))
            .order_by(Pair.id.desc())
        )
    return {row[0]: row[1] for row in session.execute(query)}


def _result(probe: Probe, names: dict[int, str], relevant: set[int], id_: int, score: float) -> Result:
    image_id = id_ if probe.image_id is None else None
    return Result(
        id=id_, image_id=image_id, caption=names.get(id_, ""), score=score, relevant=id_ in relevant
    )


def _moved(before: Preview, now: Preview, results: list[Result]) -> list[MovedResult]:
    ranks = {id_: rank for rank, id_ in enumerate(before.result_ids, 1)}
    moved = []
    for rank, result in enumerate(results, 1):
        was = ranks.get(result.id)
        risen = (was or len(ranks) + 1) - rank if result.relevant else 0
        moved.append(MovedResult(**vars(result), rank_before=was, mark=_mark(0, risen)))
    return moved


def _num_right(results: Sequence[Result], relevant: set[int]) -> int:
    """R-precision's numerator: right ones among the first R, R being how many there are."""
    return sum(result.relevant for result in results[: max(len(relevant), 1)])


def _mark(before: int, now: int) -> Mark:
    return "fixed" if now > before else "broken" if now < before else "unchanged"


def _verdicts(session: Session, probe: Probe, caption_id: int | None, shown: set[int]) -> list[SharedVerdict]:
    query = select(CurrentVerdict.image_id, CurrentVerdict.caption_id, CurrentVerdict.answer)
    if probe.image_id is not None:
        query = query.where(CurrentVerdict.image_id == probe.image_id, CurrentVerdict.caption_id.in_(shown))
    else:
        query = query.where(CurrentVerdict.caption_id == caption_id, CurrentVerdict.image_id.in_(shown))
    return [SharedVerdict(*row) for row in session.execute(query)]
