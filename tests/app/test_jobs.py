"""The job protocol: every transition from every state, races, leases."""

import threading
import time

import pytest
from sqlalchemy import update

from app.actions.steer_job import cancel_job, order_job, pause_job, resume_job
from app.errors import Conflict
from app.jobs import lease
from app.jobs.enqueue import enqueue
from app.jobs.expire import crashed
from app.jobs.presence import seen
from app.jobs.reconcile import Reconciler, reconcile
from app.jobs.states import TRANSITIONS, move
from app.jobs.waiting import why_waiting
from app.settings import Settings
from app.store.database import Database
from app.store.models import JOB_STATES, Job
from app.store.schema import migrate


def new_job(database: Database, **values: object) -> int:
    with database.transaction() as session:
        job = enqueue(session, kind="fine_tune", data_set_id=None, request={})
        job_id = job.id
        session.execute(update(Job).where(Job.id == job_id).values(**({"token": 7} | values)))
    return job_id


def state_of(database: Database, job_id: int) -> str:
    with database.reading() as session:
        return session.get_one(Job, job_id).state


def expire(database: Database, job_id: int) -> None:
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_until=1.0))
    with database.transaction() as session:
        reconcile(session)


def test_every_transition_moves_only_from_its_own_states(database: Database) -> None:
    job_id = new_job(database)
    for name, transition in TRANSITIONS.items():
        for state in JOB_STATES:
            with database.transaction() as session:
                session.execute(update(Job).where(Job.id == job_id).values(state=state))
                token = 7 if transition.held else None
                moved = move(session, name, job_id, token=token)
                assert (moved is not None) == (state in transition.sources), (name, state)
                expected = transition.target if moved is not None else state
            assert state_of(database, job_id) == expected, (name, state)


def test_a_stale_token_moves_nothing(database: Database) -> None:
    job_id = new_job(database, state="running")
    for name, transition in TRANSITIONS.items():
        if transition.held:
            with database.transaction() as session:
                assert move(session, name, job_id, token=6) is None
    with database.transaction() as session, pytest.raises(lease.Lost):
        lease.heartbeat(session, job_id, token=6)
    assert state_of(database, job_id) == "running"


def test_of_eight_workers_one_claims(database: Database) -> None:
    job_id = new_job(database)
    tokens: list[int | None] = []

    def claim(name: str) -> None:
        with database.transaction() as session:
            tokens.append(lease.claim(session, job_id, worker=name))

    threads = [threading.Thread(target=claim, args=(f"w{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 8
    assert [token for token in tokens if token is not None] == [8]


def test_cancel_racing_finish_ends_in_one_terminal_state(database: Database) -> None:
    for _ in range(10):
        job_id = new_job(database, state="running")
        outcomes: list[str] = []

        def attempt(move_it: object, name: str, outcomes: list[str] = outcomes) -> None:
            try:
                with database.transaction() as session:
                    move_it(session)  # type: ignore[operator]
                outcomes.append(name)
            except (lease.Lost, Conflict):
                pass

        acts = [
            (lambda s, j=job_id: lease.finish(s, j, token=7), "finish"),
            (lambda s, j=job_id: lease.cancelled(s, j, token=7), "cancel"),
        ]
        threads = [threading.Thread(target=attempt, args=act) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 1
        assert state_of(database, job_id) == {"finish": "finished", "cancel": "cancelled"}[outcomes[0]]


def test_an_expired_lease_returns_to_the_queue_and_fails_after_three_attempts(database: Database) -> None:
    job_id = new_job(database)
    for attempt in (1, 2, 3):
        with database.transaction() as session:
            token = lease.claim(session, job_id, worker="w")
            assert token is not None
            lease.start(session, job_id, token=token)
            lease.heartbeat(session, job_id, token=token, progress=lease.Progress(120, 200, "step"))
        expire(database, job_id)
        assert state_of(database, job_id) == ("failed" if attempt == 3 else "queued")
    with database.reading() as session:
        assert session.get_one(Job, job_id).reason.startswith("failed 3× at step 120")


def test_a_saved_checkpoint_forgives_earlier_attempts(database: Database) -> None:
    job_id = new_job(database)
    for _ in range(5):
        with database.transaction() as session:
            token = lease.claim(session, job_id, worker="w")
            assert token is not None
            lease.saved(session, job_id, token=token)
        expire(database, job_id)
        assert state_of(database, job_id) == "queued"


def test_a_frozen_worker_is_fenced_off_after_another_claimed(database: Database) -> None:
    job_id = new_job(database)
    with database.transaction() as session:
        old = lease.claim(session, job_id, worker="frozen")
    assert old is not None
    expire(database, job_id)
    with database.transaction() as session:
        assert lease.claim(session, job_id, worker="next") == old + 1
    with database.transaction() as session, pytest.raises(lease.Lost):
        lease.finish(session, job_id, token=old)
    assert state_of(database, job_id) == "claimed"


def test_a_worker_takes_the_best_waiting_job_whatever_its_message_says(database: Database) -> None:
    jobs = [new_job(database) for _ in range(4)]
    with database.transaction() as session:
        order_job(session, job_id=jobs[2], first=True)
        order_job(session, job_id=jobs[0], first=False)
    taken = []
    for _ in range(5):
        with database.transaction() as session:
            claimed = lease.claim_next(session, queue="gpu", worker="w")
            taken.append(None if claimed is None else claimed.job_id)
    assert taken == [jobs[2], jobs[1], jobs[3], jobs[0], None]


def test_a_job_that_is_over_cannot_be_moved_in_the_queue(database: Database) -> None:
    job_id = new_job(database, state="finished")
    with database.transaction() as session, pytest.raises(Conflict, match="it is finished and stays so"):
        order_job(session, job_id=job_id, first=True)


def test_a_run_of_four_processes_waits_for_a_worker_with_four_gpus(database: Database) -> None:
    with database.transaction() as session:
        wide = enqueue(session, kind="fine_tune", data_set_id=None, request={"processes": 4}).id
    narrow = new_job(database)
    with database.transaction() as session:
        session.execute(update(Job).values(sent_at=1.0))  # as if a broker had taken both
        seen(session, name="w", queue="gpu", about={"gpus": 1})
        session.flush()
        assert "no GPU worker with 4 GPUs" in (why_waiting(session, session.get_one(Job, wide)) or "")
        claimed = lease.claim_next(session, queue="gpu", worker="w", num_gpus=1)
        assert claimed is not None and claimed.job_id == narrow
        assert lease.claim_next(session, queue="gpu", worker="w", num_gpus=1) is None
        claimed = lease.claim_next(session, queue="gpu", worker="v", num_gpus=4)
        assert claimed is not None and claimed.job_id == wide


def test_a_process_that_was_killed_gives_its_job_back_at_once_and_only_its_own(database: Database) -> None:
    job_id = new_job(database)
    with database.transaction() as session:
        token = lease.claim(session, job_id, worker="w")
        assert token is not None
        assert not crashed(session, job_id, token=token - 1, what="nothing")
        assert crashed(session, job_id, token=token, what="its process was killed by SIGKILL")
        job = session.get_one(Job, job_id, populate_existing=True)
        assert (job.state, job.attempt) == ("queued", 1)
        assert job.reason.startswith("its process was killed by SIGKILL at step 0")


def test_after_an_outage_of_the_database_holders_get_time_to_say_that_they_live(settings: Settings) -> None:
    slow = Settings(**settings.model_dump() | {"lease_s": 3.0})
    database = Database(slow)
    migrate(database.engine)
    job_id = new_job(database)
    with database.transaction() as session:
        token = lease.claim(session, job_id, worker="w")
        assert token is not None
        session.execute(update(Job).values(lease_until=1.0))  # the outage was longer than the lease
    reconciler = Reconciler(database, every_s=0.1)
    reconciler.start()
    time.sleep(1.0)
    assert state_of(database, job_id) == "claimed"
    time.sleep(2.5)
    reconciler.stop()
    assert state_of(database, job_id) == "queued"
    database.close()


def test_a_lease_that_is_kept_does_not_expire(database: Database) -> None:
    job_id = new_job(database)
    with database.transaction() as session:
        token = lease.claim(session, job_id, worker="w")
    assert token is not None
    for _ in range(5):
        time.sleep(0.2)  # the lease is 0.5 s
        with database.transaction() as session:
            lease.heartbeat(session, job_id, token=token)
        with database.transaction() as session:
            assert reconcile(session).expired == []
    time.sleep(0.7)
    with database.transaction() as session:
        assert reconcile(session).expired == [job_id]


def test_a_person_who_cancels_or_pauses_is_heard_at_the_heartbeat(database: Database) -> None:
    job_id = new_job(database, state="running")
    with database.transaction() as session:
        assert lease.heartbeat(session, job_id, token=7) is None
        pause_job(session, job_id=job_id)
        assert lease.heartbeat(session, job_id, token=7) == "pause"
        cancel_job(session, job_id=job_id)
        assert lease.heartbeat(session, job_id, token=7) == "cancel"
        lease.release(session, job_id, token=7)  # the worker shuts down at that moment
    assert state_of(database, job_id) == "cancelled"


def test_a_finished_job_refuses_to_be_cancelled_and_a_cancelled_one_resumes(database: Database) -> None:
    job_id = new_job(database, state="finished")
    with database.transaction() as session, pytest.raises(Conflict, match="is finished and stays so"):
        cancel_job(session, job_id=job_id)
    other = new_job(database, state="cancelled")
    with database.transaction() as session:
        assert resume_job(session, job_id=other).state == "queued"


def test_a_broker_that_is_down_costs_less_than_a_second_and_the_row_says_so(database: Database) -> None:
    new_job(database)  # the first publish also imports the broker's client
    began = time.monotonic()
    job_id = new_job(database)
    assert time.monotonic() - began < 1.0
    with database.reading() as session:
        job = session.get_one(Job, job_id)
        assert job.sent_at is None
        assert "broker" in (why_waiting(session, job) or "")


def test_waiting_says_who_is_missing_and_who_is_before(database: Database) -> None:
    first, second = new_job(database), new_job(database)
    with database.transaction() as session:
        session.execute(update(Job).values(sent_at=1.0))  # as if a broker had taken both
        job = session.get_one(Job, second)
        assert why_waiting(session, job) == (
            "no GPU worker is connected; start one with `nearmiss worker gpu`"
        )
        seen(session, name="w", queue="gpu", about={})
        session.flush()
        assert why_waiting(session, job) == "behind 1 run"
        assert why_waiting(session, session.get_one(Job, first)) == "starting"


def test_the_same_request_key_makes_one_job(database: Database) -> None:
    with database.transaction() as session:
        jobs = [
            enqueue(session, kind="fine_tune", data_set_id=None, request={}, request_key="click-1")
            for _ in range(2)
        ]
        assert jobs[0].id == jobs[1].id


def test_two_requests_with_one_key_at_the_same_moment_are_one_job(database: Database) -> None:
    made: list[int] = []
    holding, gate = threading.Event(), threading.Event()

    def first() -> None:
        with database.transaction() as session:
            made.append(enqueue(session, kind="rank", data_set_id=None, request={}, request_key="k").id)
            holding.set()
            gate.wait(10)

    def second() -> None:
        holding.wait(10)
        threading.Timer(0.3, gate.set).start()  # while this one looks, and then waits for the other's commit
        with database.transaction() as session:
            made.append(enqueue(session, kind="rank", data_set_id=None, request={}, request_key="k").id)

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2 and made[0] == made[1]
