"""Guarded bulk accept: the bound is exact, the sample is frozen, nothing opens before it, and one undo takes all back."""

import uuid

import pytest
from scipy.stats import beta
from sqlalchemy import func, select

from app.actions.bulk_accept import (
    Slice,
    apply_batch,
    close_sample,
    get_check,
    plan_check,
    result_of,
    start_check,
    unjudged,
)
from app.actions.decide import Decision, decide
from app.actions.error_bound import smallest_sample, upper_bound
from app.actions.undo import undo, undo_part
from app.errors import Conflict, NearmissError
from app.store.database import Database
from app.store.models import CurrentVerdict, Suggestion, Verdict

ALL = Slice("no_match")


@pytest.mark.parametrize(
    ("errors", "judged"), [(0, 1), (0, 60), (0, 300), (1, 60), (3, 100), (7, 20), (999, 1000)]
)
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_bound_is_clopper_and_pearsons(errors: int, judged: int, alpha: float) -> None:
    exact = beta.ppf(1 - alpha, errors + 1, judged - errors)
    assert upper_bound(errors, judged, alpha=alpha) == pytest.approx(exact, rel=1e-9)


def test_no_error_in_sixty_shows_five_percent_and_in_three_hundred_one() -> None:
    assert upper_bound(0, 60) == pytest.approx(0.0487, abs=1e-4)
    assert upper_bound(0, 300) < 0.01
    assert smallest_sample(0.05) == 59
    assert upper_bound(0, 58) > 0.05 >= upper_bound(0, 59)


def judge(database: Database, check_id: int, answers: list[str]) -> None:
    with database.transaction() as session:
        ids = unjudged(session, get_check(session, check_id))[: len(answers)]
        for suggestion_id, answer in zip(ids, answers):
            s = session.get_one(Suggestion, suggestion_id)
            decision = Decision(str(uuid.uuid4()), s.image_id, s.caption_id, answer, suggestion_id=s.id)  # type: ignore[arg-type]
            decide(session, decisions=[decision], person="ana", source="blind")
    with database.transaction() as session:
        close_sample(session, check_id)


def start(database: Database, target: float, wanted: Slice = ALL) -> int:
    with database.transaction() as session:
        return start_check(session, 1, wanted=wanted, person="ana", target_error=target, seed=3).id


def count(database: Database, what: object) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(what)) or 0  # type: ignore[arg-type]


def test_bulk_accept_is_refused_before_the_sample_and_allowed_by_the_bound(seeded: Database) -> None:
    check_id = start(seeded, 0.2)
    with seeded.transaction() as session:
        check = get_check(session, check_id)
        num_sample, num_slice = len(check.sample_ids), check.slice_size
        assert num_sample == smallest_sample(0.2) == 14
        assert result_of(session, check).bound is None
        with pytest.raises(Conflict, match="of the sample's 14, 14 are not judged"):
            apply_batch(session, check_id, person="ana")
    judge(seeded, check_id, ["no_match"] * 13)
    with seeded.reading() as session:
        peek = result_of(session, get_check(session, check_id))
        assert (peek.num_judged, peek.num_errors, peek.bound) == (13, None, None), "a peek spoils it"
    judge(seeded, check_id, ["no_match"])
    with seeded.transaction() as session:
        result = result_of(session, get_check(session, check_id))
        assert result.bound == pytest.approx(1 - 0.05 ** (1 / 14))
        assert result.may_apply
        assert result.num_remaining == num_slice - num_sample
        assert apply_batch(session, check_id, person="ana") == 0
    assert count(seeded, CurrentVerdict) == num_slice
    with seeded.reading() as session:
        bulk = session.scalars(select(Verdict).where(Verdict.source == "bulk")).all()
        assert len(bulk) == num_slice - num_sample
        assert {v.answer for v in bulk} == {"no_match"}
        assert len({v.bulk_id for v in bulk}) == 1


def test_one_error_closes_the_slice_and_a_second_try_needs_more(seeded: Database) -> None:
    check_id = start(seeded, 0.2)
    judge(seeded, check_id, ["match"] + ["no_match"] * 13)
    with seeded.transaction() as session:
        result = result_of(session, get_check(session, check_id))
        assert (result.num_errors, result.may_apply) == (1, False)
        with pytest.raises(Conflict, match="1 of 14 was against the proposal"):
            apply_batch(session, check_id, person="ana")
    with seeded.reading() as session:
        second = start_check(session, 1, wanted=ALL, person="ana", target_error=0.2, seed=4)
        assert (second.attempt, second.alpha) == (2, 0.025)
        assert len(second.sample_ids) == smallest_sample(0.2, alpha=0.025) > 14
        other = Slice("match")
        with pytest.raises(NearmissError, match="the slice has 0 open suggestions"):
            start_check(session, 1, wanted=other, person="ana", target_error=0.2)


def test_a_check_of_some_images_speaks_for_them_alone(seeded: Database) -> None:
    some = Slice("no_match", images=frozenset(range(1, 6)))
    check_id = start(seeded, 0.2, some)
    with seeded.transaction() as session:
        check = get_check(session, check_id)
        assert (check.slice_size, check.attempt) == (5 * 11, 1)
        for images, attempt in (({5, 6}, 2), ({6, 7, 8}, 1), (None, 2)):
            wanted = Slice("no_match", images=frozenset(images) if images else None)
            plan = plan_check(session, 1, wanted=wanted, target_error=0.2)
            assert plan.attempt == attempt, f"a further look at {images}"
    judge(seeded, check_id, ["no_match"] * 14)
    with seeded.transaction() as session:
        assert result_of(session, get_check(session, check_id)).num_remaining == 5 * 11 - 14
        apply_batch(session, check_id, person="ana")
    with seeded.reading() as session:
        settled = session.scalars(select(CurrentVerdict.image_id)).all()
        assert len(settled) == 5 * 11 and set(settled) == some.images


def test_cant_tell_counts_as_an_error(seeded: Database) -> None:
    check_id = start(seeded, 0.2)
    judge(seeded, check_id, ["unsure"] + ["no_match"] * 13)
    with seeded.reading() as session:
        assert result_of(session, get_check(session, check_id)).num_errors == 1


def test_one_undo_takes_the_whole_bulk_back_and_nothing_else(seeded: Database) -> None:
    before = count(seeded, CurrentVerdict)
    check_id = start(seeded, 0.2)
    judge(seeded, check_id, ["no_match"] * 14)
    with seeded.transaction() as session:
        apply_batch(session, check_id, person="ana")
    name = str(uuid.uuid4())
    with seeded.transaction() as session:
        undo(session, new_uuid=name, person="ana")
    with seeded.transaction() as session:
        undo(session, new_uuid=name, person="ana")  # a retry of the same request
    assert count(seeded, CurrentVerdict) == before + 14
    with seeded.reading() as session:
        check = get_check(session, check_id)
        assert check.state == "undone"
        assert result_of(session, check).num_remaining == check.slice_size - 14
        assert not result_of(session, check).may_apply


def test_a_long_undo_goes_part_by_part_and_goes_on_after_a_death_in_its_middle(
    seeded: Database, monkeypatch
) -> None:
    monkeypatch.setattr("app.actions.undo.PART", 5)
    before = count(seeded, CurrentVerdict)
    check_id = start(seeded, 0.2)
    judge(seeded, check_id, ["no_match"] * 14)
    with seeded.transaction() as session:
        num = get_check(session, check_id).slice_size - 14
        apply_batch(session, check_id, person="ana")
    name = str(uuid.uuid4())
    with seeded.transaction() as session:
        first = undo_part(session, new_uuid=name, person="ana")
    assert first.num_left == num - 5 > 5
    with (
        seeded.transaction() as session
    ):  # the page asks again by the same name, without knowing the verdict's
        again = undo_part(session, new_uuid=name, person="ana")
    assert again.verdict.uuid == first.verdict.uuid and again.num_left == num - 10
    with seeded.transaction() as session:
        assert undo(session, new_uuid=name, person="ana").uuid == first.verdict.uuid
    assert count(seeded, CurrentVerdict) == before + 14
    with seeded.transaction() as session:
        assert undo_part(session, new_uuid=name, person="ana").num_left == 0  # a retry of the whole


def test_the_sample_is_drawn_by_its_seed(seeded: Database) -> None:
    samples = []
    for seed in (9, 9, 10):
        with seeded.reading() as session:  # thrown away, so each is a first try
            check = start_check(session, 1, wanted=ALL, person="ana", target_error=0.2, seed=seed)
            samples.append(check.sample_ids)
    assert samples[0] == samples[1] != samples[2]


def test_a_sample_too_small_for_the_target_is_refused_with_the_number(seeded: Database) -> None:
    with seeded.reading() as session, pytest.raises(NearmissError, match="judge at least 59"):
        start_check(session, 1, wanted=ALL, person="ana", target_error=0.05, sample_size=10)


def test_a_refused_sample_cannot_be_talked_open(seeded: Database) -> None:
    check_id = start(seeded, 0.2)
    judge(seeded, check_id, ["match"] * 3 + ["no_match"] * 11)
    with seeded.transaction() as session:
        for suggestion_id in get_check(session, check_id).sample_ids[:3]:
            s = session.get_one(Suggestion, suggestion_id)
            again = Decision(str(uuid.uuid4()), s.image_id, s.caption_id, "no_match")
            decide(session, decisions=[again], person="ana")
        close_sample(session, check_id)
        result = result_of(session, get_check(session, check_id))
        assert (result.num_errors, result.may_apply) == (3, False)


def test_another_persons_answers_do_not_count_for_the_sample(seeded: Database) -> None:
    check_id = start(seeded, 0.2)
    with seeded.transaction() as session:
        s = session.get_one(Suggestion, get_check(session, check_id).sample_ids[0])
        other = Decision(str(uuid.uuid4()), s.image_id, s.caption_id, "no_match")
        decide(session, decisions=[other], person="bo")
        assert result_of(session, get_check(session, check_id)).num_judged == 0


def test_a_bulk_accept_stays_within_its_slice_though_near_duplicates_leave_it(seeded: Database) -> None:
    low = Slice("no_match", 0.0, 0.4)
    with seeded.transaction() as session:
        everything = session.scalars(select(Suggestion).order_by(Suggestion.id)).all()
        inside = [s for s in everything if s.probability < 0.4]
        for s in (inside[0], *(x for x in everything if x.probability >= 0.4)):
            s.group_key = "alike"
    check_id = start(seeded, 0.2, low)
    judge_without_groups(seeded, check_id)
    with seeded.transaction() as session:
        apply_batch(session, check_id, person="ana")
    with seeded.reading() as session:
        bulk = session.scalars(select(Verdict).where(Verdict.source == "bulk")).all()
        probability = {(s.image_id, s.caption_id): s.probability for s in session.scalars(select(Suggestion))}
        assert bulk and all(probability[v.image_id, v.caption_id] < 0.4 for v in bulk)


def judge_without_groups(database: Database, check_id: int) -> None:
    """The sample's own members of the group stay out, so that only the accept could leave the slice."""
    with database.transaction() as session:
        check = get_check(session, check_id)
        for s in session.scalars(select(Suggestion).where(Suggestion.id.in_(check.sample_ids))):
            s.group_key = ""
    judge(database, check_id, ["no_match"] * len(get_sample(database, check_id)))


def get_sample(database: Database, check_id: int) -> list[int]:
    with database.reading() as session:
        return get_check(session, check_id).sample_ids
