"""Live ranking: due after a hundred verdicts, learns from them, and never moves a slice under a blind sample."""

import uuid

import numpy as np
from sqlalchemy import select

from app.actions.add_model import add_model
from app.actions.add_rows import NewRow, add_rows
from app.actions.add_suggestions import NewSuggestion, add_suggestions
from app.actions.bulk_accept import Slice, apply_batch, close_sample, get_check, start_check, unjudged
from app.actions.decide import Decision, decide
from app.actions.desk_panel import desk_panel
from app.actions.start_ranking import is_ranking_due, start_ranking
from app.errors import Conflict
from app.store.models import DataSet, Suggestion
from clipcore.mining.signals import SIGNALS

NUM = 24


def fill(desk, rng) -> None:
    """Candidates whose truth the signal "overlap" tells, against the start's own opinion of "rarity"."""
    with desk.database.transaction() as session:
        session.add(DataSet(id=1, name="x"))
        session.flush()
        rows = [NewRow(f"{i}.png", f"{i:064x}", 8, 8, f"thing {i}", "train") for i in range(NUM)]
        add_rows(session, data_set_id=1, rows=rows)
        model = add_model(session, name="m", location="local-dir:m")
        found = []
        for i in range(1, NUM + 1):
            for j in range(1, NUM + 1):
                if i != j:
                    signals = dict.fromkeys(SIGNALS, 0.0) | {"rarity": float(rng.random() * 4)}
                    if (i + j) % 2:
                        del signals["word_fit"]  # mined by a version that did not have it
                    signals["overlap"] = float(truth(i, j)) + float(rng.normal(0, 0.1))
                    found.append(NewSuggestion(i, j, "no_match", 0.2, 0.5, 1.0, signals=signals))
        add_suggestions(session, data_set_id=1, model_id=model.id, suggestions=found)


def truth(image: int, caption: int) -> bool:
    return (image * 7 + caption * 3) % 5 == 0


def say(desk, suggestions, *, source: str = "manual") -> None:
    with desk.database.transaction() as session:
        for s in suggestions:
            answer = "match" if truth(s.image_id, s.caption_id) else "no_match"
            one = Decision(str(uuid.uuid4()), s.image_id, s.caption_id, answer, suggestion_id=s.id)
            decide(session, decisions=[one], person="ana", source=source)


def waiting(desk, limit: int | None = None) -> list[Suggestion]:
    with desk.database.reading() as session:
        query = select(Suggestion).where(Suggestion.state == "open").order_by(Suggestion.shuffle)
        return list(session.scalars(query.limit(limit)))


def test_a_hundred_verdicts_order_the_rest_anew_and_say_how_sure_that_is(both_desks) -> None:
    desk = both_desks
    fill(desk, np.random.default_rng(0))
    say(desk, waiting(desk, 99))
    with desk.database.transaction() as session:
        assert start_ranking(session, 1) is None, "a hundred are needed"
    say(desk, waiting(desk, 1))
    job = desk.do(lambda session: start_ranking(session, 1))
    assert job.state == "finished", job.reason
    left = sorted(waiting(desk), key=lambda s: -s.probability)
    top = left[: sum(truth(s.image_id, s.caption_id) for s in left)]
    right = sum(truth(s.image_id, s.caption_id) for s in top)
    assert right > 0.9 * len(top), f"{right} of the first {len(top)}"
    assert all(s.proposed == ("match" if s.probability >= 0.5 else "no_match") for s in left)
    with desk.database.transaction() as session:
        ranking = desk_panel(session, 1, person="ana").ranking
        assert ranking is not None and ranking["learned"] and ranking["verdicts"] == 100
        assert 0 <= ranking["quality"]["calibration_error"] < 0.2
        assert start_ranking(session, 1) is None, "not before the next hundred"
    say(desk, waiting(desk, 1))
    with desk.database.transaction() as session:
        assert not is_ranking_due(session, 1, every=1), "half a minute lies between two"
        assert is_ranking_due(session, 1, every=1, gap_s=0.0)


def test_scoring_again_waits_for_a_blind_sample_and_voids_one_that_it_met(desk) -> None:
    fill(desk, np.random.default_rng(0))
    say(desk, waiting(desk, 100))
    with desk.database.transaction() as session:
        check_id = start_check(session, 1, wanted=Slice("no_match"), person="ana", target_error=0.5).id
        assert start_ranking(session, 1) is None, "a sample is under way"
    with desk.database.reading() as session:
        sample = [session.get_one(Suggestion, i) for i in unjudged(session, get_check(session, check_id))]
    say(desk, sample, source="blind")
    with desk.database.transaction() as session:
        close_sample(session, check_id)
        check = get_check(session, check_id)
        check.num_errors = 0
        try:
            apply_batch(session, check_id, person="bo")
            raise AssertionError("another person applied it")
        except Conflict as refused:
            assert "ana judged this sample" in str(refused)
        check.created_at = check.created_at.replace(year=2020)  # days ago: a new ranking may come
    assert desk.do(lambda session: start_ranking(session, 1)).state == "finished"
    with desk.database.transaction() as session:
        try:
            apply_batch(session, check_id, person="ana")
            raise AssertionError("the band holds others now")
        except Conflict as refused:
            assert "scored again since" in str(refused)
