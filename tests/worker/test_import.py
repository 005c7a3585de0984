"""An import as its worker does it: what is added, what is refused, and the same again."""

import json

from sqlalchemy import select

from app.actions.import_data_set import import_data_set
from app.store.models import Event, Job


def test_captions_share_images_and_images_share_captions(desk):
    lines = [("0.png", "one"), ("0.png", "two"), ("1.png", "one"), ("0.png", "nul \0"), ("0.png", "\ud800")]
    lines += [("none.png", "x")]
    text = "".join(json.dumps({"image": i, "caption": c}) + "\n" for i, c in lines)
    (desk.source / "x.jsonl").write_text(text)
    job = desk.do(lambda s: import_data_set(s, name="x", source=str(desk.source / "x.jsonl")))
    with desk.database.reading() as session:
        told = session.scalar(select(Event.body).where(Event.kind == "rejected"))
    assert (job.state, desk.counts(), job.done, job.total) == ("finished", (2, 2, 3), 6, 6)
    assert told["num"] == 3 and any("none.png" in line for line in told["examples"])


def test_import_that_begins_again_adds_nothing_twice(desk):
    (desk.source / "x.csv").write_text("image,caption\n0.png,one\n1.png,two\n")
    first = desk.do(lambda s: import_data_set(s, name="x", source=str(desk.source / "x.csv")))

    def same_again(session):
        again = Job(kind="import", queue="cpu", data_set_id=first.data_set_id, request=dict(first.request))
        session.add(again)
        session.flush()
        return again

    assert desk.do(same_again).state == "finished" and desk.counts() == (2, 2, 2)
