"""Mining as a job: data sets of nothing, one and two, equal captions, added items, disputed verdicts, what is kept."""

import csv
import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from sqlalchemy import delete, func, select

import worker.mine
import worker.neighbours
from app.actions.decide import Decision, decide
from app.actions.import_data_set import import_data_set
from app.actions.start_mining import start_mining
from app.actions.undo import undo
from app.actions.write_negative import write_negative
from app.errors import NearmissError, NotFound
from app.jobs.expire import crashed
from app.media.pictures import erase_picture, fingerprint_key
from app.media.store import MediaStore
from app.media.vectors import put_vectors
from app.store.models import Caption, CurrentVerdict, Embedding, Event, Image, Job, Model, Pair, Suggestion
from app.store.reads.data_sets import mined_numbers
from app.store.reads.queue import next_items
from clipcore.mining import topk
from clipcore.mining.duplicates import WIDTH
from tests.import_desk import png
from worker.context import JobContext
from worker.embed import _kept, remember

UUID = "00000000-0000-4000-8000-{:012d}"


def table(desk, captions, first=0):
    """A source with a picture a caption."""
    rows = []
    for n, caption in enumerate(captions, first):
        (desk.source / f"p{n}.png").write_bytes(png(37 * n % 256))
        rows.append((f"p{n}.png", caption))
    out = io.StringIO()
    csv.writer(out).writerows([("image", "caption"), *rows])
    path = desk.source / f"pairs-{first}.csv"
    path.write_text(out.getvalue())
    return str(path)


def embed(desk, model_id=1, seed=0, width=16):
    """Vectors for all that is there, the same for the same picture or caption, as a source would bring them."""
    media = MediaStore(desk.settings.resolved_media_url)
    with desk.database.transaction() as session:
        images = session.scalars(select(Image.id).order_by(Image.id)).all()
        captions = session.scalars(select(Caption.id).order_by(Caption.id)).all()
        if session.get(Model, model_id) is None:
            session.add(Model(id=model_id, name=f"vectors {model_id}", location="vectors:1"))
            session.flush()

        def rows(ids, side):
            made = [
                np.random.default_rng((seed, i)).normal(size=width)
                + 0.6 * np.random.default_rng((seed, i, side)).normal(size=width)
                for i in ids
            ]
            array = np.array(made, np.float32).reshape(len(ids), width)
            return array / np.linalg.norm(array, axis=1, keepdims=True)

        keys = tuple(
            put_vectors(media, np.array(ids, np.int64), rows(ids, side))
            for side, ids in ((1, images), (2, captions))
        )
        remember(session, 1, model_id, keys, len(images), len(captions))


def mine(desk, model_id=1):
    return desk.do(lambda s: start_mining(s, data_set_id=1, model_id=model_id, person="a"))


def ready(desk, captions):
    source = table(desk, captions)
    job = desk.do(lambda s: import_data_set(s, name="d", source=source))
    assert job.state == "finished", job.reason
    embed(desk)


def suggestions(desk, **where):
    with desk.database.reading() as session:
        return session.scalars(select(Suggestion).filter_by(**where)).all()


@pytest.mark.parametrize(("num", "least"), [(1, 0), (2, 2), (7, 7)])
def test_small_data_sets_are_mined_through_the_job(desk, num, least):
    ready(desk, [f"thing number {n}" for n in range(num)])
    job = mine(desk)
    assert (job.state, job.reason) == ("finished", "")
    assert len(suggestions(desk, state="open")) >= least


def test_a_data_set_without_pairs_is_refused_and_one_whose_pairs_vanished_gives_nothing(desk):
    ready(desk, ["a cup"])
    with desk.database.transaction() as session:
        session.scalars(select(Pair)).one().retired_at = func.now()
    job = mine(desk)
    assert (job.state, job.reason) == ("finished", "") and suggestions(desk) == []
    with desk.database.transaction() as session, pytest.raises(NotFound):
        start_mining(session, data_set_id=9, model_id=1)


def test_equal_captions_are_one_caption_and_nearly_equal_ones_are_proposed_as_matches(desk):
    ready(desk, ["a cup"] * 6)
    assert mine(desk).state == "finished" and suggestions(desk) == []  # one caption, paired with every image
    with desk.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Caption)) == 1


def test_captions_of_the_same_words_make_groups_that_the_queue_counts(desk):
    ready(desk, ["a cup", "A cup.", "the cup", "cup", "the  Cup!", "a red chair"])
    assert mine(desk).state == "finished"
    with desk.database.reading() as session:
        items = next_items(session, 1, limit=50).items
    alike = [item for item in items if item.num_alike and item.proposed != "broken_pair"]
    assert alike
    first = alike[0]
    group = {(s.image_id, s.caption_id) for s in suggestions(desk, group_key=first.group_key, state="open")}
    assert len(group) == first.num_alike + 1
    with desk.database.transaction() as session:
        decide(
            session,
            decisions=[Decision(UUID.format(1), first.image_id, first.caption_id, "match")],
            person="a",
        )
    with desk.database.reading() as session:
        known = set(session.execute(select(CurrentVerdict.image_id, CurrentVerdict.caption_id)).tuples())
    assert group <= known


def test_added_items_extend_the_kept_neighbours_and_the_rows_equal_a_search_anew(desk, monkeypatch):
    monkeypatch.setattr(worker.neighbours, "WORTH_KEEPING", 0)
    ready(desk, [f"thing number {n}" for n in range(40)])
    assert mine(desk).state == "finished"
    again = table(desk, [f"other number {n}" for n in range(9)], first=40)
    with desk.database.transaction() as session:
        from app.actions.import_data_set import import_again

        job_id = import_again(session, data_set_id=1, source=again, person="a").id
    with desk.database.transaction() as session:  # rows are added by hand: the first ones must not be retired
        session.get_one(Job, job_id).state = "cancelled"
        for n in range(9):
            image = Image(data_set_id=1, key=f"new{n}", sha256=f"{n:064x}", width=1, height=1)
            caption = Caption(data_set_id=1, text=f"other number {n}", sha256=f"{n:064x}")
            session.add_all((image, caption))
            session.flush()
            session.add(Pair(data_set_id=1, image_id=image.id, caption_id=caption.id))
    embed(desk)
    calls = []
    import clipcore.mining.neighbours as search

    kept = search.extend_top_k
    monkeypatch.setattr(search, "extend_top_k", lambda *a, **k: calls.append(1) or kept(*a, **k))
    assert mine(desk).state == "finished" and len(calls) == 3
    extended = {(s.image_id, s.caption_id): (s.probability, s.score) for s in suggestions(desk)}
    with desk.database.transaction() as session:
        for event in session.scalars(select(Event).where(Event.kind == "neighbours")):
            session.delete(event)
        for row in session.scalars(select(Suggestion)):
            session.delete(row)
    assert mine(desk).state == "finished" and len(calls) == 3
    anew = {(s.image_id, s.caption_id): (s.probability, s.score) for s in suggestions(desk)}
    assert extended.keys() >= anew.keys() and all(
        np.allclose(extended[key], anew[key], atol=2e-4) for key in anew
    )
    assert not (desk.settings.home / "mining").exists() or not list((desk.settings.home / "mining").iterdir())


def test_another_model_keeps_verdicts_retires_suggestions_and_brings_disputes_back(desk):
    ready(desk, [f"thing number {n}" for n in range(30)])
    mine(desk)
    asked = [s for s in suggestions(desk, state="open") if s.proposed != "broken_pair"]
    with desk.database.transaction() as session:
        decisions = [
            Decision(UUID.format(n), s.image_id, s.caption_id, "no_match", suggestion_id=s.id)
            for n, s in enumerate(asked[:12])
        ]
        decide(session, decisions=decisions, person="a")
    # image 1 and 2 become the same picture with the same words: whoever said no is disputed
    with desk.database.transaction() as session:
        one, two = session.scalars(select(Pair).order_by(Pair.id).limit(2)).all()
        session.get_one(Caption, two.caption_id).text = "the thing number 0"
        session.get_one(Image, two.image_id).sha256 = session.get_one(Image, one.image_id).sha256
        said = Decision(UUID.format(99), one.image_id, two.caption_id, "no_match")
        decide(session, decisions=[said], person="a")
        disputed = (one.image_id, two.caption_id)
    embed(desk, model_id=2, seed=5)
    job = mine(desk, model_id=2)
    assert (job.state, job.reason) == ("finished", "")
    assert suggestions(desk, model_id=1, state="open") == []
    fresh = {(s.image_id, s.caption_id): s for s in suggestions(desk, model_id=2, state="open")}
    assert disputed in fresh and "disputes" in fresh[disputed].reasons[0]
    assert not {(s.image_id, s.caption_id) for s in asked[:12]} & fresh.keys() - {disputed}
    with desk.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(CurrentVerdict)) >= 13
        assert mined_numbers(session, 1)["disputed"] == 1


def test_fingerprints_are_taken_once_and_go_with_the_picture(desk, monkeypatch):
    ready(desk, ["a cup", "a chair", "a lamp"])
    mine(desk)
    media = MediaStore(desk.settings.resolved_media_url)
    with desk.database.reading() as session:
        hashes = session.scalars(select(Image.sha256)).all()
    assert all(len(media.get(fingerprint_key(h))) == WIDTH for h in hashes)
    monkeypatch.setattr(worker.fingerprints, "fingerprint", lambda picture: pytest.fail("taken again"))
    assert mine(desk).state == "finished"
    erase_picture(media, hashes[0])
    assert not media.exists(fingerprint_key(hashes[0]))


def test_a_persons_own_wording_becomes_a_negative_of_its_image_only(desk):
    ready(desk, ["a red cup", "a blue cup"])
    with desk.database.transaction() as session:
        said = write_negative(
            session, data_set_id=1, image_id=1, text=" a  green cup", uuid=UUID.format(1), person="a"
        )
        again = write_negative(
            session, data_set_id=1, image_id=1, text="a green cup", uuid=UUID.format(1), person="a"
        )
        assert (said.id, said.answer) == (again.id, "no_match")
        assert session.get_one(Caption, said.caption_id).text == "a green cup"
    for text, image_id, error, told in (
        ("the BLUE cup", 1, NearmissError, "another image's caption"),
        ("The red  cup", 1, NearmissError, "this image's own caption"),
        ("  ", 1, NearmissError, "wording"),
        ("a green cup", 99, NotFound, "no image 99"),
    ):
        with desk.database.transaction() as session, pytest.raises(error, match=told):
            write_negative(
                session, data_set_id=1, image_id=image_id, text=text, uuid=UUID.format(2), person="a"
            )
    with desk.database.transaction() as session:
        undo(session, new_uuid=UUID.format(3), person="a", uuid=UUID.format(1))
    with desk.database.reading() as session:
        assert session.scalars(select(CurrentVerdict)).all() == []
        assert session.scalar(select(func.count()).select_from(Embedding)) == 1


def test_pictures_of_the_same_bytes_are_not_asked_about(desk):
    captions = [f"thing number {n}" for n in range(8)]
    source = table(desk, captions)
    (desk.source / "p1.png").write_bytes((desk.source / "p0.png").read_bytes())
    assert desk.do(lambda s: import_data_set(s, name="d", source=source)).state == "finished"
    embed(desk)
    with desk.database.reading() as session:
        pairs = session.execute(select(Pair.image_id, Pair.caption_id).order_by(Pair.id)).all()
    twins = {(pairs[0].image_id, pairs[1].caption_id), (pairs[1].image_id, pairs[0].caption_id)}
    assert mine(desk).state == "finished"
    asked = {(s.image_id, s.caption_id) for s in suggestions(desk)}
    assert asked and not asked & twins, "training treats the two pictures as one item"
    with (
        desk.database.transaction() as session
    ):  # what a broken pair says of its picture is not known to be true
        broken = Decision(UUID.format(1), pairs[1].image_id, pairs[1].caption_id, "broken_pair")
        decide(session, decisions=[broken], person="a")
    assert mine(desk).state == "finished"
    asked = {(s.image_id, s.caption_id) for s in suggestions(desk)}
    assert (pairs[0].image_id, pairs[1].caption_id) in asked


def test_the_language_of_written_negatives_is_the_captions_or_the_one_chosen(desk):
    captions = ["une tasse rouge", "le chien noir", "deux pommes vertes", "un chat sur une chaise"]
    ready(desk, captions)
    mine(desk)
    with desk.database.reading() as session:
        job = session.scalars(select(Job).where(Job.kind == "mine")).one()
        kept = _kept(session, MediaStore(desk.settings.resolved_media_url), 1, 1)
        facts = worker.mine.read_facts(session, 1, 1, kept)
    assert "language" not in job.request
    french = {text for _, text, _ in worker.mine._written(facts, "auto")}
    assert "une tasse jaune" in french and worker.mine._written(facts, "es") == []
    chosen = desk.do(lambda s: start_mining(s, data_set_id=1, model_id=1, language="fr", person="a"))
    assert (chosen.state, chosen.request["language"]) == ("finished", "fr")
    with desk.database.transaction() as session, pytest.raises(NearmissError, match="no lexicon for 'tlh'"):
        start_mining(session, data_set_id=1, model_id=1, language="tlh")


SLOW = """
import sys, time
from pathlib import Path
import clipcore.mining.topk as topk
import worker.mine, worker.neighbours
from app.jobs import lease
from app.settings import Settings
from app.store.database import Database
from worker.context import JobContext
from worker.job import run

home, where, job_id = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
worker.mine.BATCH, topk.SAVE_EVERY_S = 20, 0.0
topk.exact_top_k.__kwdefaults__["panel"] = 8
def slowly(act, name):
    def slow(*args, **more):
        done = act(*args, **more)
        if where == name:
            print(name, flush=True)
            time.sleep(0.3)
        return done
    return slow
worker.mine.add_suggestions = slowly(worker.mine.add_suggestions, "rows")
JobContext.progress = slowly(JobContext.progress, "search")
settings = Settings(home=home, lease_s=20)
database = Database(settings)
with database.transaction() as session:
    token = lease.claim(session, job_id, worker="w")
context = JobContext(settings, job_id, token)
context.start()
run(context)
"""


def rows(desk):
    return sorted(
        (s.image_id, s.caption_id, s.proposed, s.probability, s.state, s.group_key) for s in suggestions(desk)
    )


@pytest.mark.parametrize("where", ["search", "rows"])
def test_a_killed_mining_goes_on_and_leaves_the_rows_of_one_that_was_not(desk, monkeypatch, where):
    monkeypatch.setitem(topk.exact_top_k.__kwdefaults__, "panel", 8)  # as there: it goes on by block
    ready(desk, [f"thing number {n}" for n in range(60)])
    with desk.database.transaction() as session:
        job_id = start_mining(session, data_set_id=1, model_id=1, person="a").id
    run = [sys.executable, "-c", SLOW, str(desk.settings.home), where, str(job_id)]
    process = subprocess.Popen(run, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and [process.stdout.readline() for _ in range(2)] == [f"{where}\n"] * 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    begun = len(suggestions(desk))
    assert (begun > 0) == (where == "rows")
    with desk.database.transaction() as session:
        token = session.get_one(Job, job_id).token
        assert crashed(session, job_id, token=token, what="its process was killed by SIGKILL")
    again = desk.do(lambda s: s.get_one(Job, job_id))
    assert (again.state, again.attempt) == ("finished", 2) and len(suggestions(desk)) > begun
    killed = rows(desk)
    with desk.database.transaction() as session:
        session.execute(delete(Suggestion))
    assert mine(desk).state == "finished"
    assert killed == rows(desk) and len({row[:2] for row in killed}) == len(killed)
    assert not any((desk.settings.home / "mining").glob("job-*"))


def test_a_cancelled_mining_stops_between_batches_and_the_next_one_is_whole(desk, monkeypatch):
    ready(desk, [f"thing number {n}" for n in range(60)])
    assert mine(desk).state == "finished"
    whole = rows(desk)
    with desk.database.transaction() as session:
        session.execute(delete(Suggestion))
    monkeypatch.setattr(worker.mine, "BATCH", 20)
    write = JobContext.database_write

    def asked_meanwhile(context, act):
        write(context, act)
        context._asked = "cancel" if suggestions(desk) else None

    monkeypatch.setattr(JobContext, "database_write", asked_meanwhile)
    assert mine(desk).state == "cancelled"
    assert 0 < len(suggestions(desk)) < len(whole)
    monkeypatch.undo()
    assert mine(desk).state == "finished" and rows(desk) == whole
