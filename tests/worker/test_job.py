"""How a job's process ends: every way out is written on the row, by the holder of the lease only."""

import pytest

import worker.job
from app.jobs import lease
from app.settings import Settings
from app.store.database import Database
from app.store.models import Job
from app.store.schema import migrate
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
