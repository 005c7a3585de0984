"""How a job's process ends: every way out is written on the row, by the holder of the lease only."""

import threading
import time
from contextlib import contextmanager

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, OperationalError

import worker.job
from app.jobs import lease
from app.settings import Settings
from app.store.database import Database
from app.store.models import Event, Job
from app.store.schema import migrate, version_of
from clipcore.errors import ClipcoreError
from worker.context import JobContext, Stopped


@pytest.fixture
def context(tmp_path):
    settings = Settings(home=tmp_path, lease_s=5)
    database = Database(settings)
    migrate(database.engine)
    with database.transaction() as session:
        session.add(Job(kind="mine", queue="gpu"))
    with database.transaction() as session:
        token = lease.claim(session, 1, worker="w")
    assert token is not None
    context = JobContext(settings, 1, token)
    context.start()
    yield context
    database.close()


def end_of(context, monkeypatch, work):
    monkeypatch.setattr(worker.job, "work_of", lambda kind: work)
    worker.job.run(context)
    with context.database.reading() as session:
        job = session.get(Job, 1)
        return job.state, job.reason


@pytest.mark.parametrize("asked,state", [("cancel", "cancelled"), ("pause", "paused"), ("stop", "queued")])
def test_job_that_is_asked_to_stop_ends_as_asked(context, monkeypatch, asked, state):
    def work(context, job):
        raise Stopped(asked)

    assert end_of(context, monkeypatch, work)[0] == state


def test_refusal_becomes_the_reason_on_the_row(context, monkeypatch):
    def work(context, job):
        raise ClipcoreError("The loss is nan at step 3.")

    assert end_of(context, monkeypatch, work) == ("failed", "The loss is nan at step 3.")


def test_results_are_written_with_the_finish(context, monkeypatch):
    def work(context, job):
        context.report("log", {"text": "done"})
        return lambda session: None

    assert end_of(context, monkeypatch, work)[0] == "finished"


def test_a_report_whose_answer_was_lost_is_kept_once(context, monkeypatch):
    context._over.set()  # no heartbeat but ours
    context._thread.join()
    transaction = context.database.transaction

    @contextmanager
    def answer_lost():
        with transaction() as session:
            yield session
        raise OperationalError("commit", None, Exception("the server closed the connection"))

    context.report("step", {"points": [[1, 0.5]]}, 1)
    context.report("log", {"text": "hello"})
    monkeypatch.setattr(context.database, "transaction", answer_lost)
    with pytest.raises(DBAPIError):
        context._flush()
    monkeypatch.setattr(context.database, "transaction", transaction)
    context.report("step", {"points": [[2, 0.4]]}, 2)
    context.report("step", {"points": [[3, 0.3]]}, 3)
    context._flush()
    with context.database.reading() as session:
        kept = session.scalars(select(Event).where(Event.kind != "state").order_by(Event.id)).all()
        bodies = [event.body for event in kept]
    assert bodies == [{"points": [[1, 0.5]]}, {"text": "hello"}, {"points": [[2, 0.4], [3, 0.3]]}]


def test_a_step_that_grows_after_a_failed_write_is_not_cut(context, monkeypatch):
    context._over.set()
    context._thread.join()
    transaction = context.database.transaction
    monkeypatch.setattr(
        context.database,
        "transaction",
        lambda: (_ for _ in ()).throw(OperationalError("", None, Exception())),
    )
    context.report("step", {"points": [[1]]}, 1)
    with pytest.raises(DBAPIError):
        context._flush()
    context.report("step", {"points": [[2]]}, 2)
    monkeypatch.setattr(context.database, "transaction", transaction)
    context._flush()
    with context.database.reading() as session:
        kept = session.scalars(select(Event).where(Event.kind == "step").order_by(Event.id)).all()
        assert [event.body["points"] for event in kept] == [[[1]], [[2]]]


def test_a_job_beside_tables_of_an_older_version_waits_and_names_the_migration(tmp_path, caplog):
    settings = Settings(home=tmp_path, lease_s=5)
    database = Database(settings)
    migrate(database.engine)
    head = version_of(database.engine)
    with database.transaction() as session:
        session.add(Job(kind="mine", queue="gpu"))
    with database.transaction() as session:
        token = lease.claim(session, 1, worker="w")
        session.execute(text("update alembic_version set version_num = '0010'"))
    context = JobContext(settings, 1, token)
    begins = threading.Thread(target=context.start, daemon=True)
    begins.start()
    begins.join(timeout=2)
    assert begins.is_alive()
    assert "the database is at version 0010, and this program needs" in caplog.text
    with database.transaction() as session:
        session.execute(text("update alembic_version set version_num = :head"), {"head": head})
    begins.join(timeout=30)
    with database.reading() as session:
        assert session.get(Job, 1).state == "running"
    context._over.set()
    database.close()


def test_a_verdict_is_not_kept_waiting_until_a_job_has_written_everything(context):
    done = threading.Event()
    begun = threading.Event()

    def mine():
        for _ in range(12):
            context.database_write(lambda session: (begun.set(), time.sleep(0.25)))
        done.set()

    thread = threading.Thread(target=mine)
    thread.start()
    assert begun.wait(10)
    with context.database.transaction() as session:
        session.execute(text("update jobs set priority = 1"))
    assert not done.is_set(), "SQLite's other writers starved until the job's end"
    thread.join(30)
