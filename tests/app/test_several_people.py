"""Several people at one queue: leases, second votes, what stands, agreement, disagreements, controls, mending."""

import threading
import uuid

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, func, select, update

from app.actions.controls import ControlAnswer, answer_controls, draw_control
from app.actions.decide import Decision, decide
from app.actions.desk_panel import desk_panel
from app.actions.lease_items import lease_items
from app.actions.make_labels import make_labels
from app.actions.mend_pair import mend_pair, take_back_mend
from app.actions.second_votes import is_asked_twice
from app.actions.take_snapshot import pair_columns, verdict_columns
from app.actions.take_turn import take_boards, take_queue
from app.actions.undo import undo
from app.api import create_app
from app.errors import Conflict, NearmissError
from app.store.database import Database
from app.store.models import (
    Control,
    CurrentVerdict,
    DataSet,
    ItemLease,
    Pair,
    SecondVote,
    Suggestion,
    Verdict,
)
from app.store.reads.agreement import agreements, decided_meanwhile, disputes, kappa
from app.store.reads.boards import next_boards
from app.store.reads.queue import QueueItem, next_items
from app.store.reads.random_share import random_share
from clipcore.config import LabelsConfig


def key() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def twice(seeded: Database) -> Database:
    """Every image is asked twice, and no controls come."""
    with seeded.transaction() as session:
        session.execute(update(DataSet).values(overlap=1.0, control_share=0.0))
    return seeded


@pytest.fixture
def once(seeded: Database) -> Database:
    """Nothing is asked twice, and no controls come."""
    with seeded.transaction() as session:
        session.execute(update(DataSet).values(overlap=0.0, control_share=0.0))
    return seeded


def take(database: Database, person: str, limit: int = 5) -> list[QueueItem]:
    with database.reading() as session:
        queue = next_items(session, 1, limit=limit, person=person)
    with database.transaction() as session:
        return take_queue(session, 1, queue, person=person).items


def answer(database: Database, item: QueueItem, said: str, person: str, **more: object) -> str:
    name = key()
    decision = Decision(name, item.image_id, item.caption_id, said, suggestion_id=item.suggestion_id)  # type: ignore[arg-type]
    with database.transaction() as session:
        decide(session, decisions=[decision], person=person, **more)  # type: ignore[arg-type]
    return name


def standing(database: Database, item: QueueItem) -> tuple[str, str] | None:
    with database.reading() as session:
        row = session.get(CurrentVerdict, (item.image_id, item.caption_id))
        return (row.answer, session.get_one(Verdict, row.verdict_id).person) if row else None


def ids(items: list[QueueItem]) -> set[int]:
    return {item.suggestion_id for item in items}


def test_two_people_get_different_items_and_a_lease_ends_by_itself(once: Database) -> None:
    ana, bo = take(once, "ana", 20), take(once, "bo", 20)
    assert len(ana) == len(bo) == 20
    assert not ids(ana) & ids(bo)
    assert ids(take(once, "ana", 20)) == ids(ana), "a reload brings the own items back"
    with once.transaction() as session:
        session.execute(update(ItemLease).where(ItemLease.person == "ana").values(until=0.0))
    assert ids(take(once, "bo", 40)) & ids(ana), "ten minutes are over"


def test_a_lease_lasts_ten_minutes_of_the_databases_clock(once: Database) -> None:
    with once.transaction() as session:
        assert lease_items(session, suggestion_ids=[1, 2], person="ana") == {1, 2}
        assert lease_items(session, suggestion_ids=[1, 2, 3], person="bo") == {3}
        from app.store.database import epoch_s

        left = session.scalar(select(func.min(ItemLease.until) - epoch_s()))
        assert 590 < left <= 600


def test_two_who_ask_at_the_same_moment_never_both_get_an_item(once: Database) -> None:
    got: dict[str, set[int]] = {}
    gate = threading.Barrier(6)

    def ask(person: str) -> None:
        gate.wait()
        got[person] = ids(take(once, person, 20))

    threads = [threading.Thread(target=ask, args=(f"p{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [i for mine in got.values() for i in mine]
    assert len(everything) == len(set(everything)) > 0


@pytest.mark.parametrize(("path", "look"), [("queue", "next_items"), ("boards", "next_boards")])
def test_who_is_overtaken_at_every_item_looks_again_instead_of_hearing_that_nothing_is_left(
    once: Database, monkeypatch: pytest.MonkeyPatch, path: str, look: str
) -> None:
    from app.api import desk

    plain, overtaken = getattr(desk, look), []

    def overtaking(session: object, data_set_id: int, **more: object) -> object:
        found = plain(session, data_set_id, **more)
        if len(overtaken) < 2:
            boards = found.boards if path == "boards" else [found]
            held = [i.suggestion_id for board in boards for i in board.items]
            with once.transaction() as other:
                lease_items(other, suggestion_ids=held, person=f"quicker {len(overtaken)}")
            overtaken.append(held)
        return found

    monkeypatch.setattr(desk, look, overtaking)
    headers = {"X-Nearmiss": "1"}
    with TestClient(create_app(once.settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        found = client.post(f"/api/data-sets/1/{path}", json={"limit": 3}).json()
    assert all(overtaken) and len(overtaken) == 2
    assert len(found["items" if path == "queue" else "boards"]) == 3


def test_boards_are_leased_too_and_the_rest_is_said_to_lie_with_others(once: Database) -> None:
    with once.reading() as session:
        boards = next_boards(session, 1, limit=10, person="ana")
    with once.transaction() as session:
        mine = take_boards(session, 1, boards, person="ana")
        every = session.scalars(select(Suggestion.id)).all()
        lease_items(session, suggestion_ids=every, person="ana")
    assert len(mine.boards) == len(boards.boards) > 3
    with once.reading() as session:
        found = next_items(session, 1, person="bo")
        assert (found.items, found.num_leased) == ([], 132)


def test_a_late_answer_is_a_second_vote_and_what_stands_stays_until_somebody_replaces_it(
    once: Database,
) -> None:
    item = take(once, "ana")[0]
    answer(once, item, "no_match", "ana")
    late = answer(once, item, "match", "bo")
    assert standing(once, item) == ("no_match", "ana")
    with once.reading() as session:
        told = decided_meanwhile(session, [late])
        assert [(o.person, o.answer, o.yours) for o in told] == [("ana", "no_match", "match")]
        assert [(d.first.person, d.second.person) for d in disputes(session, 1)] == [("ana", "bo")]
        assert len(disputes(session, 1, images=[item.image_id])) == 1
        assert disputes(session, 1, images=[item.image_id + 1]) == []
    replace = Decision(key(), item.image_id, item.caption_id, "match")
    with once.transaction() as session:
        decide(session, decisions=[replace], person="bo")
    assert standing(once, item) == ("match", "bo")
    with once.transaction() as session:
        assert disputes(session, 1) == []
        undo(session, new_uuid=key(), person="bo")
    assert standing(once, item) == ("no_match", "ana")
    with once.transaction() as session:
        assert len(disputes(session, 1)) == 1
        undo(session, new_uuid=key(), person="bo")  # the second vote itself
        assert disputes(session, 1) == []
    assert standing(once, item) == ("no_match", "ana")


def test_a_late_answer_that_agrees_asks_nothing(once: Database) -> None:
    item = take(once, "ana")[0]
    answer(once, item, "match", "ana")
    late = answer(once, item, "match", "bo")
    with once.reading() as session:
        assert decided_meanwhile(session, [late]) == []
        assert disputes(session, 1) == []
        assert agreements(session, 1)[0].observed == 1.0


def test_a_second_person_is_asked_blind_what_the_first_decided(twice: Database) -> None:
    item = take(twice, "ana")[0]
    answer(twice, item, "match", "ana")
    assert item.suggestion_id not in ids(take(twice, "ana", 100)), "nobody is asked twice alone"
    again = take(twice, "bo", 100)
    assert item.suggestion_id in ids(again)
    mine = next(i for i in again if i.suggestion_id == item.suggestion_id)
    assert mine.reasons == item.reasons and mine.proposed == item.proposed
    second = answer(twice, mine, "no_match", "bo")
    assert standing(twice, item) == ("match", "ana")
    assert item.suggestion_id not in ids(take(twice, "cy", 100)), "two are enough"
    with twice.transaction() as session:
        assert decided_meanwhile(session, [second]) == [], "what was asked on purpose is not told"
        assert len(disputes(session, 1)) == 1
        undo(session, new_uuid=key(), person="bo")
        assert session.scalars(select(SecondVote.state)).all() == ["waiting"]
    with twice.transaction() as session:
        undo(session, new_uuid=key(), person="ana")
        assert session.scalars(select(SecondVote.state)).all() == []
    assert standing(twice, item) is None


def test_the_first_person_may_think_again_and_the_votes_are_compared_anew(twice: Database) -> None:
    item = take(twice, "ana")[0]
    answer(twice, item, "match", "ana")
    answer(twice, item, "no_match", "bo")
    answer(twice, item, "no_match", "ana")
    with twice.reading() as session:
        assert session.scalars(select(SecondVote.state)).all() == ["agreed"]
    answer(twice, item, "match", "bo")
    with twice.reading() as session:
        assert session.scalars(select(SecondVote.state)).all() == ["disputed"]


def test_a_tenth_of_the_images_is_asked_twice() -> None:
    chosen = sum(is_asked_twice(i, 0.1) for i in range(20_000))
    assert 1_800 < chosen < 2_200
    assert not any(is_asked_twice(i, 0.0) for i in range(1_000))


def test_kappa_is_cohens() -> None:
    both = [("match", "match")] * 20 + [("match", "no_match")] * 5 + [("no_match", "match")] * 10
    both += [("no_match", "no_match")] * 15
    assert kappa(both) == pytest.approx(0.4)  # the worked example of Cohen's paper as usually given
    assert kappa([("match", "match")] * 5) is None
    assert kappa([]) is None


def test_agreement_is_of_pairs_of_people_whoever_came_first(twice: Database) -> None:
    items = take(twice, "ana", 8)
    for place, item in enumerate(items):
        first, second = ("ana", "bo") if place % 2 else ("bo", "ana")
        answer(twice, item, "match" if place < 4 else "no_match", first)
        answer(twice, item, "match" if place < 2 else "no_match", second)
    with twice.reading() as session:
        (row,) = agreements(session, 1)
        panel = desk_panel(session, 1, person="ana")
    assert (row.people, row.num, row.observed) == (("ana", "bo"), 8, 0.75)
    assert row.kappa is not None and 0 < row.kappa < 1
    assert panel.num_disputed == 2


def test_controls_measure_and_never_teach(once: Database) -> None:
    with once.transaction() as session:
        before = session.scalar(select(func.count()).select_from(Verdict))
        known = draw_control(session, 1, person="ana", known=True)
        assert known is not None and known.expected == "match"
        assert session.scalar(select(Pair.id).where(Pair.image_id == known.image_id)) is not None
        # every candidate of this data set is suggested, so none is left for a random pair
        assert draw_control(session, 1, person="ana", known=False) is None
        session.execute(delete(Suggestion).where(Suggestion.image_id == 5))
        drawn = [draw_control(session, 1, person="ana", known=False) for _ in range(20)]
        assert {(c.image_id, c.expected) for c in drawn if c} == {(5, "no_match")}
    with once.transaction() as session:
        answer_controls(session, [ControlAnswer(key(), known.id, "no_match")], person="bo")
        assert session.get_one(Control, known.id).answer is None, "another's control"
        answer_controls(session, [ControlAnswer(key(), known.id, "no_match")], person="ana")
        assert session.scalar(select(func.count()).select_from(Verdict)) == before
        assert session.scalar(select(func.count()).select_from(CurrentVerdict)) == 0
        care = {row.person: row.controls for row in desk_panel(session, 1, person="ana").people}
        assert (care["ana"].num, care["ana"].out_of) == (0, 1)
        labels = make_labels(pair_columns(session, 1), verdict_columns(session, 1), config=LabelsConfig())
    assert not labels.labels


def test_controls_come_in_their_share_and_look_like_suggestions(seeded: Database) -> None:
    with seeded.transaction() as session:
        session.execute(update(DataSet).values(control_share=0.2))
    controls = [i for n in range(10) for i in take(seeded, f"p{n}", 10) if i.suggestion_id < 0]
    assert 5 <= len(controls) <= 40
    for item in controls:
        assert item.caption not in item.own_captions and item.image_id not in item.own_images
        assert item.proposed in ("match", "no_match") and item.reasons is not None


def test_routes_take_answer_and_take_back_a_control(seeded: Database) -> None:
    with seeded.transaction() as session:
        session.execute(update(DataSet).values(control_share=0.2))
    headers = {"X-Nearmiss": "1"}
    with TestClient(create_app(seeded.settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        items: list[dict[str, object]] = []
        while not any(i["suggestion_id"] < 0 for i in items):  # type: ignore[operator]
            items = client.post("/api/data-sets/1/queue", json={"limit": 30}).json()["items"]
        control = next(i for i in items if i["suggestion_id"] < 0)  # type: ignore[operator]
        named = {n: control[n] for n in ("image_id", "caption_id", "suggestion_id")}
        body = {"uuid": key(), "answer": "match", **named}
        for _ in range(2):
            saved = client.post("/api/verdicts", json={"verdicts": [body]}).json()
            assert saved["saved"] == [body["uuid"]]
        assert client.get("/api/data-sets/1/progress").json()["decided"]["match"] == 0
        panel = client.get("/api/data-sets/1/desk").json()
        assert panel["people"][0]["controls"]["out_of"] == 1
        back = client.post("/api/verdicts/undo", json={"uuid": key(), "retracts": body["uuid"]})
        assert back.json()["retracted"]["uuid"] == body["uuid"]
        assert client.get("/api/data-sets/1/desk").json()["people"] == []
        assert client.post("/api/data-sets/1/desk", json={"overlap": 2}).status_code == 400
        assert client.post("/api/data-sets/1/desk", json={"overlap": 0.5}).json()["overlap"] == 0.5
        boards = client.post("/api/data-sets/1/boards", json={"limit": 2, "exclude": [-3, 1]}).json()[
            "boards"
        ]
        assert len(boards) == 2 and all(len(board["items"]) <= 9 for board in boards)


def test_random_share_is_what_lies_below_the_first_open_number(once: Database) -> None:
    with once.reading() as session:
        by_number = session.scalars(select(Suggestion).order_by(Suggestion.shuffle)).all()
        candidates = [(s.id, s.image_id, s.caption_id) for s in by_number]
    said = ["match", "no_match", "unsure", "match", None, "match"]
    with once.transaction() as session:
        for (suggestion, image, caption), given in zip(candidates, said):
            if given is not None:
                one = Decision(key(), image, caption, given, suggestion_id=suggestion)  # type: ignore[arg-type]
                decide(session, decisions=[one], person="ana")
        drawn = random_share(session, 1)
    assert (drawn.num_judged, drawn.num_match) == (4, 2), "the sixth was not reached by chance"
    with once.transaction() as session:
        suggestion, image, caption = candidates[4]
        one = Decision(key(), image, caption, "match", suggestion_id=suggestion)
        decide(session, decisions=[one], person="ana", source="bulk", bulk_id=key())
        drawn = random_share(session, 1)
    assert (drawn.num_judged, drawn.num_match) == (5, 3), "nobody looked at what a bulk accept settled"


def test_panel_asks_to_stop_after_fifty_without_a_match(once: Database) -> None:
    items = take(once, "ana", 60)
    for item in items[:50]:
        answer(once, item, "no_match", "ana")
    with once.reading() as session:
        panel = desk_panel(session, 1, person="ana")
    assert panel.streak == 50
    assert panel.stop_bound == pytest.approx(1 - 0.05 ** (1 / 50))
    answer(once, items[51], "match", "ana")
    with once.reading() as session:
        assert desk_panel(session, 1, person="ana").streak == 0


def test_a_corrected_caption_takes_the_broken_pairs_place_in_snapshots(seeded: Database) -> None:
    with seeded.transaction() as session:
        old = session.get_one(Pair, 3)
        decide(
            session,
            decisions=[Decision(key(), old.image_id, old.caption_id, "broken_pair")],
            person="ana",
        )
        mend = mend_pair(session, 3, caption="  a corrected thing ", person="ana")
        mend_id = mend.id
    with seeded.reading() as session:
        pairs = pair_columns(session, 1)
        assert "a corrected thing" in pairs["caption"] and "thing 2" not in pairs["caption"]
        assert len(pairs["caption"]) == 12
        assert session.get_one(Pair, 3).retired_at is not None, "the old revision stays"
        make_labels(pairs, verdict_columns(session, 1), config=LabelsConfig())
    with seeded.transaction() as session, pytest.raises(Conflict, match="corrected or retired already"):
        mend_pair(session, 3, caption="another", person="ana")
    with seeded.transaction() as session:
        take_back_mend(session, mend_id)
        assert "thing 2" in pair_columns(session, 1)["caption"]
        assert "a corrected thing" not in pair_columns(session, 1)["caption"]
    with seeded.transaction() as session, pytest.raises(Conflict, match="taken back already"):
        take_back_mend(session, mend_id)
    for text, why in (("", "empty"), ("thing 2", "the same as before"), ("a\0b", "no text")):
        with seeded.transaction() as session, pytest.raises(NearmissError, match=why):
            mend_pair(session, 3, caption=text, person="ana")
