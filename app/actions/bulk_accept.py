"""Accept the proposed verdict for a whole slice of the queue, once a blind random sample has bounded its error rate.

A check freezes its rule (proposed verdict, band of probability, images of the map's lasso), its seed and its sample
before anything is judged. The sample is judged by one person without proposal and score, each item by itself (an answer
spreads to no near duplicate, so every draw of the sample is looked at); an answer other than the proposed one, "can't
tell" included, is an error. Their number is written down when the sample is complete, before anybody sees it. The rest
of the slice may be accepted when Clopper and Pearson's upper bound is within the target. A further check that shares a
band and images with an earlier one is a further try, and try k is held to the level 0.05 / 2^(k-1).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4, uuid5

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.actions.decide import MAX_DECISIONS, Decision, decide
from app.actions.error_bound import smallest_sample, upper_bound
from app.counted import counted
from app.errors import Conflict, NearmissError, NotFound
from app.store.models import Answer, BulkCheck, Caption, Image, Job, Suggestion, Verdict
from app.store.reads.data_sets import IS_OPEN, get_data_set
from app.store.reads.slices import about

LEVEL = 0.05
MAX_SAMPLE = 1_000
BATCH = 2_000  # verdicts a transaction


@dataclass(frozen=True)
class Slice:
    """Open suggestions of one proposed verdict with min_probability ≤ probability < max_probability (1 included at 1).

    `images`: ids of the images that they are about; None: of all.
    """

    proposed: Answer
    min_probability: float = 0.0
    max_probability: float = 1.0
    images: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_probability < self.max_probability <= 1.0:
            raise NearmissError(
                f"the band {self.min_probability} … {self.max_probability} is empty; give 0 ≤ min < max ≤ 1"
            )


@dataclass(frozen=True)
class CheckResult:
    """How a check stands. `bound` is None until the whole sample is judged: a peek would spoil it."""

    num_judged: int
    num_errors: int | None
    bound: float | None
    num_remaining: int  # what applying would settle
    may_apply: bool


@dataclass(frozen=True)
class Plan:
    """What a check would take: open suggestions of the slice, the smallest sample, and the level of this try."""

    num_open: int
    sample_size: int
    attempt: int
    level: float


def plan_check(session: Session, data_set_id: int, *, wanted: Slice, target_error: float) -> Plan:
    """The plan of the next check on a slice. Raises NotFound, and NearmissError for a target out of range."""
    get_data_set(session, data_set_id)
    if not 0.001 <= target_error <= 0.5:
        raise NearmissError(f"the target error is {target_error}; give one from 0.001 to 0.5")
    attempt = 1 + _num_tries(session, data_set_id, wanted)
    alpha = LEVEL / 2 ** (attempt - 1)
    num = session.scalar(select(func.count()).select_from(_open_ids(data_set_id, wanted).subquery())) or 0
    return Plan(num, smallest_sample(target_error, alpha=alpha), attempt, 1.0 - alpha)


def start_check(
    session: Session,
    data_set_id: int,
    *,
    wanted: Slice,
    person: str,
    target_error: float = 0.05,
    sample_size: int | None = None,
    seed: int | None = None,
) -> BulkCheck:
    """A new check with its sample drawn; `sample_size` None takes the smallest that passes without an error.

    Raises NotFound, or NearmissError where the slice or the sample is too small to show anything.
    """
    plan = plan_check(session, data_set_id, wanted=wanted, target_error=target_error)
    attempt, least, size = plan.attempt, plan.sample_size, sample_size or plan.sample_size
    if size < least:
        raise NearmissError(
            f"a sample of {size} cannot show an error rate of {target_error:.1%} on try {attempt};"
            f" judge at least {least}"
        )
    ids = list(session.scalars(_open_ids(data_set_id, wanted)))
    if len(ids) < size or size > MAX_SAMPLE:
        raise NearmissError(
            f"the slice has {counted(len(ids), 'open suggestion')} and the sample would take {size}"
            f" (at most {MAX_SAMPLE}); choose a wider band or judge these one by one"
        )
    seed = random.SystemRandom().randrange(2**31) if seed is None else seed
    check = BulkCheck(
        data_set_id=data_set_id,
        proposed=wanted.proposed,
        min_probability=wanted.min_probability,
        max_probability=wanted.max_probability,
        image_ids=None if wanted.images is None else sorted(wanted.images),
        target_error=target_error,
        alpha=LEVEL / 2 ** (attempt - 1),
        attempt=attempt,
        seed=seed,
        person=person,
        last_suggestion_id=max(ids),
        last_verdict_id=session.scalar(select(func.max(Verdict.id))) or 0,
        slice_size=len(ids),
        sample_ids=random.Random(seed).sample(ids, size),  # nosec B311  # a sample, no secret
        bulk_id=str(uuid4()),
    )
    session.add(check)
    session.flush()
    return check


def result_of(session: Session, check: BulkCheck) -> CheckResult:
    """What the sample says; `close_sample` must have seen it complete before there is a bound."""
    answers = _answers(session, check)
    errors = check.num_errors
    judged = len(answers) if errors is None else len(check.sample_ids)
    bound = upper_bound(errors, judged, alpha=check.alpha) if errors is not None else None
    remaining = session.scalar(select(func.count()).select_from(_rest(check).subquery())) or 0
    return CheckResult(
        num_judged=judged,
        num_errors=errors,
        bound=bound,
        num_remaining=remaining,
        may_apply=bound is not None and bound <= check.target_error and check.state != "undone",
    )


def close_sample(session: Session, check_id: int) -> None:
    """Writes the number of errors down once the sample is complete; what is answered or undone later changes nothing."""
    check = get_check(session, check_id)
    answers = _answers(session, check)
    if check.num_errors is None and len(answers) == len(check.sample_ids):
        check.num_errors = sum(answer != check.proposed for answer in answers.values())
        session.flush()


def get_check(session: Session, check_id: int) -> BulkCheck:
    """Raises NotFound."""
    check = session.get(BulkCheck, check_id)
    if check is None:
        raise NotFound(f"there is no check {check_id}; reload the page")
    return check


def unjudged(session: Session, check: BulkCheck) -> list[int]:
    """The sample's suggestions that have no answer yet, in the order of the draw."""
    answered = _answers(session, check)
    return [i for i in check.sample_ids if i not in answered]


def apply_batch(session: Session, check_id: int, *, person: str) -> int:
    """Accept the proposal for the next suggestions of the slice; how many are left after them.

    Raises Conflict while the sample is not judged or does not bear the target, for anybody but the one who judged it,
    and when the suggestions were scored again since: the band then holds others than the sample spoke for.
    """
    check = get_check(session, check_id)
    result = result_of(session, check)
    if check.person != person:
        raise Conflict(f"{check.person} judged this sample, so only they may apply it; draw one of your own")
    if result.may_apply and scored_since(session, check):
        raise Conflict("the suggestions were scored again since this sample was drawn; draw a new one")
    if not result.may_apply:
        raise Conflict(_refusal(check, result))
    session.execute(update(BulkCheck).where(BulkCheck.id == check_id).values(state="applied"))
    rows = session.execute(_rest(check).limit(BATCH)).all()
    for start in range(0, len(rows), MAX_DECISIONS):
        decisions = [
            Decision(
                str(uuid5(UUID(check.bulk_id), f"{row.image_id} {row.caption_id}")),
                row.image_id,
                row.caption_id,
                check.proposed,  # type: ignore[arg-type]  # the table holds answers only
                suggestion_id=row.id,
            )
            for row in rows[start : start + MAX_DECISIONS]
        ]
        decide(session, decisions=decisions, person=person, source="bulk", bulk_id=check.bulk_id)
    return session.scalar(select(func.count()).select_from(_rest(check).subquery())) or 0


def scored_since(session: Session, check: BulkCheck) -> bool:
    """Whether mining or a new ranking has run on the data set since the sample was drawn, or runs now."""
    scored = select(Job.id).where(
        Job.data_set_id == check.data_set_id,
        Job.kind.in_(("mine", "rank")),
        Job.started_at.is_not(None),
        or_(Job.finished_at.is_(None), Job.finished_at >= check.created_at),
    )
    return session.scalar(scored.limit(1)) is not None


def is_sampling(session: Session, data_set_id: int) -> bool:
    """Whether a blind sample is under way, or waits to be applied: no time to score again."""
    day_ago = datetime.now(UTC) - timedelta(days=1)
    query = select(BulkCheck.id).where(BulkCheck.data_set_id == data_set_id, BulkCheck.state == "open")
    return session.scalar(query.where(BulkCheck.created_at > day_ago).limit(1)) is not None


def _refusal(check: BulkCheck, result: CheckResult) -> str:
    if check.state == "undone":
        return "this bulk accept was taken back; start a new check"
    if result.bound is None:
        left = len(check.sample_ids) - result.num_judged
        return f"of the sample's {len(check.sample_ids)}, {counted(left, 'is', 'are')} not judged yet; judge the rest first"
    return (
        f"{result.num_errors} of {result.num_judged} {'was' if result.num_errors == 1 else 'were'} against the proposal, so up to {result.bound:.1%} of the"
        f" slice may be wrong and the target is {check.target_error:.1%}; narrow the band or judge one by one"
    )


def _answers(session: Session, check: BulkCheck) -> dict[int, str]:
    """Suggestion id → the latest standing blind answer that the check's person gave since it began."""
    found: dict[int, str] = {}
    retraction = aliased(Verdict)
    for start in range(0, len(check.sample_ids), 500):
        query = (
            select(Suggestion.id, Verdict.answer)
            .join(
                Verdict,
                (Verdict.image_id == Suggestion.image_id) & (Verdict.caption_id == Suggestion.caption_id),
            )
            .where(Suggestion.id.in_(check.sample_ids[start : start + 500]))
            .where(Verdict.id > check.last_verdict_id, Verdict.person == check.person)
            .where(Verdict.source == "blind", Verdict.answer.is_not(None))
            .where(~select(retraction.id).where(retraction.retracts_id == Verdict.id).exists())
            .order_by(Verdict.id)
        )
        found |= {row.id: row.answer for row in session.execute(query)}
    return found


def _num_tries(session: Session, data_set_id: int, wanted: Slice) -> int:
    """Earlier checks that looked at a part of this slice."""
    query = select(BulkCheck.image_ids).where(
        BulkCheck.data_set_id == data_set_id,
        BulkCheck.proposed == wanted.proposed,
        BulkCheck.min_probability < wanted.max_probability,
        BulkCheck.max_probability > wanted.min_probability,
    )
    return sum(
        ids is None or wanted.images is None or not wanted.images.isdisjoint(ids)
        for ids in session.scalars(query)
    )


def _in_slice(data_set_id: int, wanted: Slice) -> Sequence[ColumnElement[bool]]:
    top = Suggestion.probability <= 1.0 if wanted.max_probability == 1.0 else None
    below = Suggestion.probability < wanted.max_probability if top is None else top
    return (
        Suggestion.data_set_id == data_set_id,
        IS_OPEN,
        Suggestion.proposed == wanted.proposed,
        Suggestion.probability >= wanted.min_probability,
        below,
        *about(wanted.images),
    )


def _open_ids(data_set_id: int, wanted: Slice):  # type: ignore[no-untyped-def]
    return (
        select(Suggestion.id)
        .join(Image, Image.id == Suggestion.image_id)
        .join(Caption, Caption.id == Suggestion.caption_id)
        .where(*_in_slice(data_set_id, wanted), Image.erased_at.is_(None), Caption.erased_at.is_(None))
        .order_by(Suggestion.id)
    )


def _rest(check: BulkCheck):  # type: ignore[no-untyped-def]
    """The open suggestions of the slice as it was when the sample was drawn, without the sample."""
    images = None if check.image_ids is None else frozenset(check.image_ids)
    wanted = Slice(check.proposed, check.min_probability, check.max_probability, images)  # type: ignore[arg-type]
    return (
        _open_ids(check.data_set_id, wanted)
        .add_columns(Suggestion.image_id, Suggestion.caption_id)
        .where(Suggestion.id <= check.last_suggestion_id, Suggestion.id.not_in(check.sample_ids))
    )
