"""Take verdicts over from a file of this or another tool: row by row, in batches, with a reason for each refusal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid5

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from app.actions.decide import Decision, decide
from app.errors import NearmissError
from app.sources.rows import Rejected
from app.sources.verdicts import SaidRow
from app.store.insert import CHUNK, insert_missing
from app.store.models import Caption, CurrentVerdict, Image, Pair, Verdict
from app.store.text import clean, text_hash

BATCH = CHUNK  # rows a transaction


@dataclass
class Taken:
    """How far an import is: verdicts that are new, that stood already, and refused rows with their reasons."""

    num_new: int = 0
    num_same: int = 0
    num_rejected: int = 0
    rejected: list[str] = field(default_factory=list)  # the first of them

    def refuse(self, where: str, reason: str) -> None:
        """Notes a refusal."""
        self.num_rejected += 1
        if len(self.rejected) < 100:
            self.rejected.append(f"{where}: {reason}")


@dataclass(frozen=True)
class _Known:
    """A row whose image and caption were found."""

    row: SaidRow
    image_id: int
    caption_id: int


def import_batch(
    session: Session,
    data_set_id: int,
    *,
    rows: Iterable[SaidRow | Rejected],
    person: str,
    bulk_id: str,
    taken: Taken,
) -> None:
    """Saves the verdicts of at most 500 rows with `source` import; `person` stands where the file names none.

    A caption that the data set has in no pair is kept, as a written one is. What stands already with the same answer,
    confidence, person and time is left as it is, so that a file can be imported again.
    """
    said: list[SaidRow] = []
    for row in rows:
        if isinstance(row, Rejected):
            taken.refuse(row.where, row.reason)
        else:
            said.append(row)
    known = _standing_differently(session, _known(session, data_set_id, said, taken), person, taken)
    by_person: dict[str, list[_Known]] = {}
    for one in known:
        by_person.setdefault(one.row.person or person, []).append(one)
    for name, some in by_person.items():
        decisions = [_decision(one, bulk_id) for one in some]
        saved = decide(session, decisions=decisions, person=name, source="import", bulk_id=bulk_id)
        for verdict, one in zip(saved, some, strict=True):
            if (time := _time(one.row.time)) is not None:
                verdict.created_at = time  # written in this transaction, so nobody has seen another
    taken.num_new += len(known)


def _known(session: Session, data_set_id: int, rows: Sequence[SaidRow], taken: Taken) -> list[_Known]:
    images = _images(session, data_set_id, {row.image for row in rows})
    texts = _clean_texts(rows, taken)
    captions = _captions(session, data_set_id, set(texts.values()))
    candidates: dict[tuple[int, int], _Known] = {}
    for row in rows:
        text = texts.get(row.caption)
        if text is None:
            continue
        if row.image not in images:
            taken.refuse(row.where, f"the data set has no image {row.image[:80]!r}; check the column")
            continue
        one = _Known(row, images[row.image], captions[text_hash(text)])
        candidates[one.image_id, one.caption_id] = one  # the last line of a file counts
    pairs = _pairs(session, list(candidates))
    return [one for both, one in candidates.items() if _may_stand(one, both in pairs, taken)]


def _may_stand(one: _Known, is_pair: bool, taken: Taken) -> bool:
    if one.row.verdict == "no_match" and is_pair:
        taken.refuse(one.row.where, "it says no_match of a pair of the data set; say broken_pair")
        return False
    if one.row.verdict == "broken_pair" and not is_pair:
        taken.refuse(one.row.where, "it says broken_pair of what is no pair; say no_match")
        return False
    return True


def _clean_texts(rows: Sequence[SaidRow], taken: Taken) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        try:
            found[row.caption] = clean(row.caption, what="caption")
            clean(row.person or "x", what="person", limit=200)
        except NearmissError as error:
            found.pop(row.caption, None)
            taken.refuse(row.where, str(error))
    return found


def _images(session: Session, data_set_id: int, keys: set[str]) -> dict[str, int]:
    living = (Image.data_set_id == data_set_id, Image.erased_at.is_(None))
    rows = session.execute(select(Image.key, Image.id).where(*living, Image.key.in_(keys)))
    return {row.key: row.id for row in rows}


def _captions(session: Session, data_set_id: int, texts: set[str]) -> dict[str, int]:
    """Hash → id, after adding the texts that are new."""
    hashes = {text_hash(text): text for text in sorted(texts)}
    rows = [{"data_set_id": data_set_id, "sha256": h, "text": text} for h, text in hashes.items()]
    insert_missing(session, Caption, rows, key=["data_set_id", "sha256"])
    here = (Caption.data_set_id == data_set_id, Caption.sha256.in_(list(hashes)))
    return {row.sha256: row.id for row in session.execute(select(Caption.sha256, Caption.id).where(*here))}


def _pairs(session: Session, candidates: list[tuple[int, int]]) -> set[tuple[int, int]]:
    own = select(Pair.image_id, Pair.caption_id).where(tuple_(Pair.image_id, Pair.caption_id).in_(candidates))
    return {(row.image_id, row.caption_id) for row in session.execute(own)} if candidates else set()


def _standing_differently(session: Session, known: list[_Known], person: str, taken: Taken) -> list[_Known]:
    query = (
        select(Verdict)
        .join(CurrentVerdict, CurrentVerdict.verdict_id == Verdict.id)
        .where(
            tuple_(CurrentVerdict.image_id, CurrentVerdict.caption_id).in_(
                [(one.image_id, one.caption_id) for one in known]
            )
        )
    )
    stands = {(v.image_id, v.caption_id): v for v in session.scalars(query)} if known else {}
    found = []
    for one in known:
        v = stands.get((one.image_id, one.caption_id))
        time = _time(one.row.time)
        same = v is not None and (v.answer, v.confidence, v.person) == (
            one.row.verdict,
            one.row.confidence,
            one.row.person or person,
        )
        if same and v is not None and time in (None, v.created_at):
            taken.num_same += 1
        else:
            found.append(one)
    return found


def _decision(one: _Known, bulk_id: str) -> Decision:
    name = str(uuid5(UUID(bulk_id), f"{one.image_id} {one.caption_id}"))
    answer = one.row.verdict
    return Decision(name, one.image_id, one.caption_id, answer, one.row.confidence)  # type: ignore[arg-type]  # read_verdicts checked


def _time(text: str) -> datetime | None:
    """A time in ISO 8601, UTC where it names no zone; None for anything else and for the future."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return time if time <= datetime.now(UTC) else None
