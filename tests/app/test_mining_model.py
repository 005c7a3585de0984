"""Which model looks for suggestions where nobody chose one: the same for the route, the page and `nearmiss mine`."""

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import app.cli.mine
from app.actions.accounts import add_person, grant
from app.actions.add_model import add_model
from app.actions.credentials import issue
from app.actions.start_mining import start_mining
from app.api import create_app
from app.cli.main import cli
from app.errors import NotFound
from app.store.database import Database
from app.store.models import DataSet, Embedding, Job, Run, Snapshot
from app.store.reads.models import model_for

ADDRESS, PASSWORD = "http://127.0.0.1:7860", "a long enough one"
BASE, OTHERS, OWN, VECTORS = 1, 3, 4, 5


def _add_run(session, *, run_id: int, data_set_id: int, name: str) -> int:
    """A finished fine-tune on the data set; its model's id."""
    session.add(Job(id=run_id, kind="fine_tune", queue="gpu", data_set_id=data_set_id, state="finished"))
    one = {"id": run_id, "data_set_id": data_set_id}
    session.add(Snapshot(**one, hash=f"{run_id:064}", pairs_key="", verdicts_key="", counts={}))
    session.flush()
    session.add(Run(**one, job_id=run_id, snapshot_id=run_id, model_id=1, name=name, config_yaml=""))
    session.flush()
    return add_model(session, name=name, location=f"media:{run_id}", run_id=run_id).id


def _embed(session, model_id: int, data_set_id: int = 1) -> None:
    one = {"data_set_id": data_set_id, "model_id": model_id}
    session.add(Embedding(**one, image_key="", caption_key="", num_images=12, num_captions=12))
    session.flush()


@pytest.fixture
def shared(seeded: Database) -> Database:
    """Data sets 1 and 2, base models 1 and 2 and a newer one fine-tuned on data set 2."""
    with seeded.transaction() as session:
        session.add(DataSet(id=2, name="others", num_pairs=1))
        add_model(session, name="large", location="local-dir:large")
        assert _add_run(session, run_id=101, data_set_id=2, name="tuned by others") == OTHERS
    return seeded


def _chosen(database: Database, data_set_id: int = 1, **who) -> int | None:
    with database.reading() as session:
        model = model_for(session, data_set_id, **who)
        return model.id if model else None


def test_a_model_that_knows_the_data_set_goes_before_the_newest_base_and_never_one_of_another(shared):
    assert (_chosen(shared), _chosen(shared, 2)) == (2, OTHERS)
    with shared.transaction() as session:
        _embed(session, BASE)
    assert _chosen(shared) == BASE
    with shared.transaction() as session:
        assert _add_run(session, run_id=102, data_set_id=1, name="own") == OWN
    assert _chosen(shared) == OWN
    with shared.transaction() as session:
        assert add_model(session, name="brought", location="vectors:brought").id == VECTORS
        _embed(session, VECTORS)
        _embed(session, VECTORS, 2)
    assert (_chosen(shared), _chosen(shared, 2)) == (OWN, OTHERS)


def test_vectors_that_came_with_a_data_set_go_before_a_model_that_never_saw_it(shared):
    with shared.transaction() as session:
        vectors = add_model(session, name="brought", location="vectors:brought").id
        assert _chosen(shared) == 2
        _embed(session, vectors)
    assert _chosen(shared) == vectors


def test_a_model_of_a_data_set_that_one_does_not_see_is_not_chosen(shared):
    with shared.transaction() as session:
        _embed(session, OTHERS)
    assert _chosen(shared) == OTHERS
    assert _chosen(shared, sees=lambda data_set_id: data_set_id == 1) == 2


def test_the_route_looks_with_the_model_that_the_data_set_names_for_this_person(shared):
    with shared.transaction() as session:
        _embed(session, OTHERS)
        admin = add_person(session, name="admin", role="admin", password=PASSWORD)
        ana = add_person(session, name="ana", role="annotator", limited=True, password=PASSWORD)
        grant(session, person_id=ana.id, data_set_id=1, role="annotator", by="admin")
        tokens = {
            person.name: issue(session, person_id=person.id, kind="token", lives_s=60.0)
            for person in (ana, admin)
        }
    asked = {}
    with TestClient(create_app(shared.settings), base_url=ADDRESS, headers={"X-Nearmiss": "1"}) as client:
        for name, token in tokens.items():
            client.headers["Authorization"] = f"Bearer {token}"
            named = client.get("/api/data-sets/1").json()["mining_model_id"]
            job_id = client.post("/api/data-sets/1/mine", json={}).json()["job"]["id"]
            with shared.reading() as session:
                asked[name] = (named, session.get_one(Job, job_id).request["model_id"])
        assert client.post("/api/data-sets/1/mine", json={"model_id": 99}).status_code == 404
    assert asked == {"ana": (2, 2), "admin": (OTHERS, OTHERS)}


def test_the_command_looks_with_it_too_and_with_a_named_one(shared, monkeypatch):
    monkeypatch.setattr(app.cli.mine, "get_settings", lambda: shared.settings)
    for words in ([], ["--model", "tiny"]):
        said = CliRunner().invoke(cli, ["mine", "things", "--no-wait", *words])
        assert "mining is queued" in said.output, said.output
    assert "no model 'lost'" in str(CliRunner().invoke(cli, ["mine", "things", "--model", "lost"]).exception)
    with shared.reading() as session:
        asked = [
            job.request["model_id"] for job in session.query(Job).filter_by(kind="mine").order_by(Job.id)
        ]
    assert asked == [2, BASE]


def test_without_any_model_the_sentence_says_how_to_add_one(database):
    with database.transaction() as session:
        session.add(DataSet(name="bare", num_pairs=1))
        session.flush()
        with pytest.raises(NotFound, match="no model yet; add one"):
            start_mining(session, data_set_id=1)
