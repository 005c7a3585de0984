"""What stands between a message and a job's process: a database that is away, and what a process imports."""

import subprocess
import sys

import pytest
from sqlalchemy.exc import OperationalError

import worker.supervise
from app.jobs import lease
from app.settings import Settings
from app.store.database import Database
from app.store.models import Job
from app.store.schema import migrate

DIES = [sys.executable, "-c", "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)"]


def away(times, function):
    """`function` behind a database that does not answer the first `times` calls."""
    left = [times]

    def call(*given, **named):
        if left[0]:
            left[0] -= 1
            raise OperationalError("select 1", {}, Exception("the server closed the connection"))
        return function(*given, **named)

    return call


def test_a_database_that_is_away_delays_claim_and_death_notice_but_loses_neither(tmp_path, monkeypatch):
    settings = Settings(home=tmp_path, lease_s=600, max_attempts=1)
    database = Database(settings)
    migrate(database.engine)
    with database.transaction() as session:
        session.add(Job(kind="export", queue="cpu"))

    def start(_queue):
        return subprocess.Popen(DIES, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(worker.supervise, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(worker.supervise, "_start", start)
    monkeypatch.setattr(lease, "claim_next", away(2, lease.claim_next))
    monkeypatch.setattr(worker.supervise, "crashed", away(3, worker.supervise.crashed))
    worker.supervise.Supervisor(settings, name="w", queue="cpu").run()
    with database.reading() as session:
        job = session.get_one(Job, 1)
    assert job.state == "failed" and "SIGKILL" in job.reason  # and not: claimed until the lease runs out
    database.close()


@pytest.mark.timeout(120)
def test_jobs_of_the_cpu_queue_begin_without_torch():
    looks = "import sys, worker.job, worker.export, worker.import_rows, worker.rank_suggestions; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
