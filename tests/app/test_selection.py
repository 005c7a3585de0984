"""What is done with a selection: whatever its size it is one step, and one undo takes it back."""

import uuid
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from app.actions.add_model import add_model
from app.actions.duplicates import keep_groups
from app.actions.erase import erase_caption, erase_image
from app.api import create_app
from app.api import explore as route
from app.store.database import Database
from app.store.models import Comment, CurrentVerdict, Embedding, Image, Suggestion, Verdict
from app.store.reads.embeddings import newest_embedding

HERE = "/api/data-sets/1/explore"


@pytest.fixture
def client(seeded: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(route, "STEP", 5)  # a step of many parts
    headers = {"X-Nearmiss": "1"}
    with TestClient(create_app(seeded.settings), base_url="http://127.0.0.1:7860", headers=headers) as client:
        yield client


def whole_step(client: TestClient, what: str, query: str, body: dict) -> tuple[int, str]:
    """All parts of a step: how many it changed, and its name."""
    num, part = 0, {"bulk_id": None, "next": None}
    while True:
        sent = body | {"bulk_id": part["bulk_id"], "after": part["next"]}
        part = client.post(f"{HERE}/{what}?{query}", json=sent).raise_for_status().json()
        num += part["num"]
        if part["next"] is None:
            return num, part["bulk_id"]


def ids_of(client: TestClient, query: str) -> set[int]:
    return {card["image_id"] for card in client.get(f"{HERE}?limit=200&{query}").json()["items"]}


def test_a_tag_on_all_that_match_is_put_on_taken_off_and_undone_as_one(client: TestClient) -> None:
    num, put = whole_step(client, "tag", "split=train", {"tag": "to check"})
    assert num == 10 and ids_of(client, "tag=to check") == set(range(1, 11))
    assert client.get(f"{HERE}/choices").json()["tags"] == ["to check"]
    again, _ = whole_step(client, "tag", "split=train", {"tag": "to check"})
    assert again == 0, "who bears it already is not counted"
    off, taken = whole_step(client, "tag", "q=thing 3", {"tag": "to check", "remove": True})
    assert off == 1 and 4 not in ids_of(client, "tag=to check")
    assert client.post(f"{HERE}/undo", json={"bulk_id": taken}).json()["num"] == 1
    assert ids_of(client, "tag=to check") == set(range(1, 11))
    assert client.post(f"{HERE}/undo", json={"bulk_id": put}).json()["num"] == 10
    assert ids_of(client, "tag=to check") == set()
    assert client.post(f"{HERE}/undo", json={"bulk_id": put}).status_code == 409


def test_cards_by_name_are_tagged_alone(client: TestClient) -> None:
    body = {"tag": "mine", "items": [[2, 2], [3, 3], [3, 99]]}
    assert client.post(f"{HERE}/tag", json=body).json()["num"] == 2
    assert ids_of(client, "tag=mine") == {2, 3}
    assert client.post(f"{HERE}/tag", json={"tag": "a\nb", "items": [[2, 2]]}).status_code == 400


def test_a_verdict_on_all_that_match_is_one_step_without_near_duplicates(
    client: TestClient, seeded: Database
) -> None:
    num, step = whole_step(client, "verdicts", "show=suggestions&q=thing 3", {"answer": "no_match"})
    assert num == 11
    with seeded.reading() as session:
        assert session.scalar(select(func.count()).select_from(CurrentVerdict)) == 11
        assert set(session.scalars(select(Verdict.source))) == {"bulk"}
        assert set(session.scalars(select(CurrentVerdict.caption_id))) == {4}
    assert client.post(f"{HERE}/undo", json={"bulk_id": step}).status_code == 200
    with seeded.reading() as session:
        assert session.scalar(select(func.count()).select_from(CurrentVerdict)) == 0
        open_ones = select(func.count()).select_from(Suggestion).where(Suggestion.state == "open")
        assert session.scalar(open_ones) == 12 * 11


def test_no_on_a_pair_means_broken_and_broken_on_no_pair_is_refused(client: TestClient) -> None:
    assert client.post(f"{HERE}/verdicts", json={"answer": "no_match", "items": [[1, 1]]}).json()["num"] == 1
    assert ids_of(client, "answer=broken_pair") == {1}
    wish = {"answer": "broken_pair", "items": [[1, 2]]}
    answer = client.post(f"{HERE}/verdicts?show=suggestions", json=wish)
    assert answer.status_code == 400 and "only a pair can be broken" in answer.json()["error"]


def test_a_part_that_is_sent_twice_changes_nothing(client: TestClient, seeded: Database) -> None:
    body = {"answer": "unsure", "items": [[1, 2], [1, 3]], "bulk_id": str(uuid.uuid4())}
    for _ in range(2):
        client.post(f"{HERE}/verdicts?show=suggestions", json=body).raise_for_status()
    with seeded.reading() as session:
        assert session.scalar(select(func.count()).select_from(Verdict)) == 2


def test_the_item_page_tells_everything_about_an_image(client: TestClient, seeded: Database) -> None:
    said = {"uuid": str(uuid.uuid4()), "image_id": 1, "caption_id": 2, "answer": "match"}
    client.post("/api/verdicts", json={"verdicts": [said]}).raise_for_status()
    client.post(f"{HERE}/tag", json={"tag": "mine", "items": [[1, 1]]}).raise_for_status()
    with seeded.transaction() as session:
        keep_groups(session, 1, kind="image", groups=[[1, 2]])
    item = client.get("/api/items/1").json()
    assert [c["caption"] for c in item["captions"]] == ["thing 0"] and item["tags"] == ["mine"]
    assert {s["caption_id"] for s in item["suggestions"]} == set(range(2, 13))
    assert {s["image_id"] for s in item["elsewhere"]} == set(range(2, 13))
    assert [(v["answer"], v["stands"]) for v in item["verdicts"]] == [("match", True)]
    assert item["duplicates"] == [2]
    assert client.get("/api/items/99").status_code == 404


def test_comments_are_kept_in_order_and_only_their_author_deletes_them(
    client: TestClient, seeded: Database
) -> None:
    for text in ("first", "<b>second</b>"):
        notes = client.post("/api/items/1/comments", json={"text": text, "caption_id": 1}).json()
    assert [n["text"] for n in notes] == ["first", "<b>second</b>"]
    assert client.post("/api/items/1/comments", json={"text": " \n "}).status_code == 400
    with seeded.transaction() as session:
        session.add(Comment(data_set_id=1, image_id=1, text="hers", person="ana"))
    hers = client.get("/api/items/1").json()["comments"][-1]
    assert client.delete(f"/api/comments/{hers['id']}").status_code == 400
    left = client.delete(f"/api/comments/{notes[0]['id']}").json()
    assert [n["text"] for n in left] == ["<b>second</b>", "hers"]


def test_what_was_noted_about_an_image_or_a_caption_goes_when_it_is_erased(
    client: TestClient, seeded: Database
) -> None:
    for image_id, caption_id in ((1, None), (2, 2), (3, 3)):
        sent = {"text": f"the lady of {image_id}", "caption_id": caption_id}
        client.post(f"/api/items/{image_id}/comments", json=sent).raise_for_status()
    with seeded.transaction() as session:
        erase_image(session, image_id=1)
        erase_caption(session, caption_id=2)
    with seeded.reading() as session:
        assert session.scalars(select(Comment.text)).all() == ["the lady of 3"]


def test_vectors_of_the_newest_model_count_in_whichever_order_they_were_made(seeded: Database) -> None:
    with seeded.transaction() as session:
        old, new = (add_model(session, name=name, location=f"local-dir:{name}").id for name in ("old", "new"))
        for model_id in (new, old):
            keys = {"image_key": "v i", "caption_key": "v i", "num_images": 1, "num_captions": 1}
            session.add(Embedding(data_set_id=1, model_id=model_id, **keys))
            session.flush()
    with seeded.reading() as session:
        assert [newest_embedding(session, at).model_id for at in (1, None)] == [new, new]
        assert newest_embedding(session, 99) is None


def test_vectors_that_came_without_a_model_do_not_hide_the_model_that_can_read_a_query(
    seeded: Database,
) -> None:
    with seeded.transaction() as session:
        for name, location in (("towers", "local-dir:towers"), ("imported", "vectors:1")):
            model = add_model(session, name=name, location=location)
            keys = {"image_key": name, "caption_key": name, "num_images": 1, "num_captions": 1}
            session.add(Embedding(data_set_id=1, model_id=model.id, **keys))
            session.flush()
    with seeded.reading() as session:
        assert newest_embedding(session, 1).image_key == "imported"
        assert newest_embedding(session, 1, with_towers=True).image_key == "towers"


@pytest.mark.parametrize(("how", "answer"), [("same", "match"), ("different", "no_match")])
def test_a_group_of_duplicates_is_settled_across_in_one_decision(
    client: TestClient, seeded: Database, how: str, answer: str
) -> None:
    with seeded.transaction() as session:
        assert keep_groups(session, 1, kind="image", groups=[[1, 2, 11], [5, 6]]) == 2
    group = client.get("/api/data-sets/1/duplicates").json()["groups"][0]
    assert [p["image_id"] for p in group["pairs"]] == [1, 2, 11]
    assert ids_of(client, f"group={group['id']}") == {1, 2, 11}
    done = client.post(f"/api/duplicates/{group['id']}/settle", json={"how": how}).json()
    assert done["num"] == 2, "image 11 is held out: candidates never cross the split"
    with seeded.reading() as session:
        rows = session.execute(
            select(CurrentVerdict.image_id, CurrentVerdict.caption_id, CurrentVerdict.answer)
        )
        assert sorted(map(tuple, rows)) == [(1, 2, answer), (2, 1, answer)]
    assert client.post(f"/api/duplicates/{group['id']}/settle", json={"how": how}).status_code == 409
    with seeded.transaction() as session:
        keep_groups(session, 1, kind="image", groups=[[11, 2, 1], [7, 8]])
    left = client.get("/api/data-sets/1/duplicates").json()["groups"]
    assert [[p["image_id"] for p in g["pairs"]] for g in left] == [[7, 8]], "what is settled stays settled"
    client.post(f"/api/duplicates/{group['id']}/reopen").raise_for_status()
    with seeded.reading() as session:
        assert session.scalar(select(func.count()).select_from(CurrentVerdict)) == 0
    assert client.post(f"/api/duplicates/{group['id']}/reopen").status_code == 409


def test_keeping_one_of_a_group_retires_the_others_until_it_is_undone(
    client: TestClient, seeded: Database
) -> None:
    with seeded.transaction() as session:
        keep_groups(session, 1, kind="caption", groups=[[1, 2, 3]])
    group = client.get("/api/data-sets/1/duplicates?kind=caption").json()["groups"][0]
    assert client.post(f"/api/duplicates/{group['id']}/settle", json={"how": "one"}).json()["num"] == 2
    assert ids_of(client, "") == {1, *range(4, 13)}
    assert client.get("/api/data-sets/1").json()["num_pairs"] == 10
    client.post(f"/api/duplicates/{group['id']}/reopen").raise_for_status()
    assert ids_of(client, "") == set(range(1, 13))
    with seeded.reading() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 12
