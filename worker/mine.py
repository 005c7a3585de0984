"""Mining as a job: vectors, clipcore.mining, rows. Verdicts so far teach the proposal; decided candidates stay out,
save those that the newer model disputes."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.add_suggestions import NewSuggestion, add_suggestions, retire_suggestions
from app.actions.add_written import add_written
from app.counted import counted
from app.store.models import Caption, CurrentVerdict, Image, Job, Model, Pair, Verdict
from clipcore.mining import Suggestions, lexicon_of, mine, write_negatives
from clipcore.mining.mine import num_across
from clipcore.mining.rates import expected_collisions
from worker.context import JobContext
from worker.duplicates import duplicates_of, write_duplicates
from worker.embed import Results, Vectors, vectors_of
from worker.fingerprints import fingerprints_of
from worker.models import has_towers
from worker.neighbours import neighbours_of, scratch_folder

BATCH = 1_000  # suggestions a transaction: an annotator never waits longer than these take
MAX_WRITTEN = 500  # written negatives a job: the queue is for what the data set already has


@dataclass(frozen=True)
class Facts:
    """What the database knows of a data set, by place in `vectors` (captions in no pair left out)."""

    vectors: Vectors
    pairs: list[tuple[int, int]]
    captions: list[str]
    image_hashes: list[str]
    image_split: list[str]
    caption_split: list[str]
    decided: list[tuple[int, int]]
    verdicts: list[tuple[int, int, bool]]
    of_this_model: set[tuple[int, int]]  # verdicts given to suggestions of this model: it cannot dispute them
    captions_of: dict[str, set[int]]  # image hash → captions that its pairs give it, broken ones left out


def mine_data_set(context: JobContext, job: Job) -> Results:
    """Finds candidates of `request["data_set_id"]` with `request["model_id"]` and writes them as suggestions."""
    data_set_id, model_id = int(job.request["data_set_id"]), int(job.request["model_id"])
    with context.database.reading() as session:
        model = session.scalars(select(Model).where(Model.id == model_id)).one()
    vectors = vectors_of(context, data_set_id, model)
    context.check()
    with context.database.reading() as session:
        facts = read_facts(session, data_set_id, model_id, vectors)
    prints = fingerprints_of(context, facts.image_hashes)
    found = _mine(context, facts, job, prints)
    _keep_duplicates(context, facts, prints, data_set_id)
    disputed = _disputed(facts, found)
    wanted = _rows(facts, found)
    num_told, total = len(found) - len(wanted), len(wanted) + len(disputed)
    rows, done = iter([*wanted, *disputed]), 0
    while batch := list(islice(rows, BATCH)):
        context.database_write(
            partial(add_suggestions, data_set_id=data_set_id, model_id=model_id, suggestions=batch)
        )
        done += len(batch)
        context.progress(done, total, "suggestions")
        context.check()
    written = _written(facts, str(job.request.get("language", "auto"))) if has_towers(model) else []
    context.database_write(partial(add_written, data_set_id=data_set_id, model_id=model_id, written=written))
    vectors_of(context, data_set_id, model)  # the written captions' too, so that a run need not compute them
    context.report("mined", _numbers(facts, found) | {"disputed": len(disputed), "written": len(written)})
    told = f"{counted(len(wanted), 'suggestion')}; the proposal has seen {counted(found.num_verdicts, 'verdict')}"
    if num_told:
        told += f"; {counted(num_told, 'more is', 'more are')} not asked, because training treats pictures of the same bytes as one"
    context.report("log", {"text": told})
    shutil.rmtree(scratch_folder(context), ignore_errors=True)
    return lambda session: retire_suggestions(session, data_set_id=data_set_id, keep_model_id=model_id)


def read_facts(session: Session, data_set_id: int, model_id: int, vectors: Vectors) -> Facts:
    """Everything that mining asks of the database."""
    pairs = session.execute(
        select(Pair.image_id, Pair.caption_id, Pair.split).where(
            Pair.data_set_id == data_set_id, Pair.retired_at.is_(None)
        )
    ).all()
    hashes = _named(session, Image.id, Image.sha256, Image.data_set_id == data_set_id)
    texts = _named(session, Caption.id, Caption.text, Caption.data_set_id == data_set_id)
    said = session.execute(
        select(CurrentVerdict.image_id, CurrentVerdict.caption_id, CurrentVerdict.answer, Verdict.model_id)
        .join(Verdict, Verdict.id == CurrentVerdict.verdict_id)
        .where(CurrentVerdict.data_set_id == data_set_id)
        .order_by(CurrentVerdict.verdict_id)
    ).all()
    vectors = vectors.of([p.image_id for p in pairs], [p.caption_id for p in pairs])
    image_at = {int(id_): place for place, id_ in enumerate(vectors.image_ids_I)}
    caption_at = {int(id_): place for place, id_ in enumerate(vectors.caption_ids_C)}
    own = _places(pairs, image_at, caption_at)
    known = [v for v in said if v.image_id in image_at and v.caption_id in caption_at]
    at = _places(known, image_at, caption_at)
    both = list(zip(at, known, strict=True))
    is_pair = set(own)
    broken = {p for p, v in both if v.answer == "broken_pair"}
    image_hashes = [hashes[int(id_)] for id_ in vectors.image_ids_I]
    captions_of: dict[str, set[int]] = {}
    for image, caption in is_pair - broken:
        captions_of.setdefault(image_hashes[image], set()).add(caption)
    teach = [(p, v) for p, v in both if v.answer in ("match", "no_match") and p not in is_pair]
    return Facts(
        vectors=vectors,
        pairs=own,
        captions=[texts[int(id_)] for id_ in vectors.caption_ids_C],
        image_hashes=image_hashes,
        image_split=_splits({p.image_id: p.split for p in pairs}, vectors.image_ids_I),
        caption_split=_splits({p.caption_id: p.split for p in pairs}, vectors.caption_ids_C),
        decided=at,
        verdicts=[(*p, v.answer == "match") for p, v in teach],
        of_this_model={p for p, v in both if v.model_id == model_id},
        captions_of=captions_of,
    )


def _keep_duplicates(context: JobContext, facts: Facts, prints: Any, data_set_id: int) -> None:
    image_ids, caption_ids = facts.vectors.image_ids_I.tolist(), facts.vectors.caption_ids_C.tolist()
    images, captions = duplicates_of(image_ids, facts.image_hashes, prints, caption_ids, facts.captions)
    context.database_write(lambda session: write_duplicates(session, data_set_id, images, captions))


def _mine(context: JobContext, facts: Facts, job: Job, prints: Any) -> Suggestions:
    data_set_id, model_id = int(job.request["data_set_id"]), int(job.request["model_id"])
    k = num_across(facts.pairs)
    near = neighbours_of(context, data_set_id, model_id, facts.vectors, k=k) if facts.pairs else None
    return mine(
        facts.vectors.image_ID,
        facts.vectors.caption_CD,
        pairs=facts.pairs,
        captions=facts.captions,
        image_hashes=facts.image_hashes,
        fingerprints=prints,
        image_split=facts.image_split,
        caption_split=facts.caption_split,
        decided=facts.decided,
        verdicts=facts.verdicts,
        neighbours=near,
    )


def _named(session: Session, key: Any, value: Any, where: Any) -> dict[int, str]:
    return {row[0]: row[1] for row in session.execute(select(key, value).where(where))}


def _places(
    rows: Sequence[Any], image_at: dict[int, int], caption_at: dict[int, int]
) -> list[tuple[int, int]]:
    known = [r for r in rows if r.image_id in image_at and r.caption_id in caption_at]
    return [(image_at[r.image_id], caption_at[r.caption_id]) for r in known]


def _splits(split_of: dict[int, str], ids: Any) -> list[str]:
    return [split_of.get(int(id_), "train") for id_ in ids]


def _rows(facts: Facts, found: Suggestions) -> list[NewSuggestion]:
    return [
        NewSuggestion(
            image_id=int(facts.vectors.image_ids_I[found.image[i]]),
            caption_id=int(facts.vectors.caption_ids_C[found.caption[i]]),
            proposed=found.proposed[i],  # type: ignore[arg-type]
            probability=round(float(found.probability[i]), 4),
            score=round(float(found.score[i]), 4),
            impact=round(float(found.impact[i]), 5),
            group_key=found.group[i],
            signals={name: round(float(values[i]), 4) for name, values in found.signals.items()},
            reasons=found.reasons[i],
        )
        for i in range(len(found))
        if not _is_told(facts, found, i)
    ]


def _is_told(facts: Facts, found: Suggestions, at: int) -> bool:
    """Whether the data says already that the candidate matches: the caption's own image is of the same bytes."""
    told = facts.captions_of.get(facts.image_hashes[found.image[at]], ())
    return found.proposed[at] != "broken_pair" and int(found.caption[at]) in told


def _disputed(facts: Facts, found: Suggestions) -> list[NewSuggestion]:
    """Standing verdicts that this model contradicts, unless they were given to this model's own suggestions."""
    stands = {(i, c): match for i, c, match in facts.verdicts}
    return [
        NewSuggestion(
            image_id=int(facts.vectors.image_ids_I[i]),
            caption_id=int(facts.vectors.caption_ids_C[c]),
            proposed="match" if p >= 0.5 else "no_match",
            probability=round(p, 4),
            score=round(float(facts.vectors.image_ID[i].astype(float) @ facts.vectors.caption_CD[c]), 4),
            impact=3.0,
            reasons=[f"the newer model disputes the verdict that stands: {_said(stands[i, c])}"],
            ask_again=True,
        )
        for i, c, p in found.disputed
        if (i, c) not in facts.of_this_model
    ]


def _said(is_match: bool) -> str:
    return "it matches" if is_match else "it does not match"


def _written(facts: Facts, language: str) -> list[tuple[int, str, str]]:
    """(image id, text, reason) of minimal edits of training captions, each for its own image only."""
    train = [c for _, c in facts.pairs if facts.caption_split[c] != "held_out"]
    owner = {c: i for i, c in facts.pairs}
    lexicon = lexicon_of(language, facts.captions)
    edits = write_negatives(facts.captions, lexicon=lexicon, num_negatives=1, only=sorted(set(train)))
    step = max(1, len(edits) // MAX_WRITTEN)
    return [
        (int(facts.vectors.image_ids_I[owner[w.caption]]), w.text, f"written: {w.was} became {w.now}")
        for w in edits[::step][:MAX_WRITTEN]
    ]


def _numbers(facts: Facts, found: Suggestions) -> dict[str, Any]:
    """What a person wants to know before any work, for the page."""
    rate = found.rate
    body: dict[str, Any] = {"suggestions": len(found), "verdicts": found.num_verdicts}
    if rate is not None:
        collisions = expected_collisions(rate.count, num_pairs=len(facts.pairs))
        body |= {
            "false_negatives": {"rate": rate.rate, "low": rate.low, "high": rate.high, "count": rate.count},
            "collisions_per_epoch": {str(size): round(num, 1) for size, num in collisions.items()},
        }
    if found.quality is not None:
        body["quality"] = found.quality.as_dict()
    return body
