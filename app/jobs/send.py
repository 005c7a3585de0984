"""Wake-ups: sent by task name, after the commit, without importing the worker.

A broker that is down costs half a second and nothing else: the row stays queued with `sent_at` None and
the reconciler sends again.
"""

import logging
from functools import lru_cache
from typing import Any

from celery import Celery
from celery.exceptions import TimeoutError as NoAnswer
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.errors import NotReady, Unavailable
from app.settings import Settings
from app.store.database import Database, after_commit, epoch_s
from app.store.models import Job

log = logging.getLogger(__name__)

RUN_JOB = "nearmiss.run_job"
SEARCH = "nearmiss.search"
CONNECT_S = 0.5  # longest wait for the broker in a request


def wake(session: Session, job: Job) -> None:
    """Have a worker of the job's queue told about it once this transaction is committed."""
    job.sent_at = epoch_s()  # type: ignore[assignment]  # an SQL expression: the database's clock
    session.flush()
    job_id, queue = job.id, job.queue
    after_commit(session, lambda database: _send(database, job_id, queue))


def _send(database: Database, job_id: int, queue: str) -> None:
    try:
        producer(database.settings.resolved_broker_url, database.settings.visibility_s).send_task(
            RUN_JOB, args=[job_id], queue=queue, retry=False, ignore_result=True
        )
    except Exception as error:
        log.warning("job %s is saved but the broker does not answer: %s", job_id, error)
        with database.transaction() as session:
            session.execute(update(Job).where(Job.id == job_id).values(sent_at=None))


def ask_search(settings: Settings, request: dict[str, Any], *, timeout_s: float = 3.0) -> dict[str, Any]:
    """The answer of the search worker to `request` (ids in, ids and scores out).

    Raises NotReady when no worker answers within `timeout_s` seconds, Unavailable when the broker is down.
    """
    try:
        app = producer(settings.resolved_broker_url, settings.visibility_s)
        answer = app.send_task(SEARCH, kwargs=request, queue="search", retry=False, expires=timeout_s)
        found: dict[str, Any] = answer.get(timeout=timeout_s)
        return found
    except NoAnswer as error:
        raise NotReady(
            "search by meaning is still loading its model, or busy; ask again in a few seconds"
        ) from error
    except Exception as error:  # the broker's, the backend's and the worker's errors have no common root
        raise Unavailable(
            "search by meaning does not answer; start its worker with `nearmiss worker search`"
        ) from error


@lru_cache(maxsize=4)
def producer(broker_url: str, visibility_s: float) -> Celery:
    """A Celery application that only sends; it gives up at once when the broker is down."""
    app = Celery("nearmiss", broker=broker_url, backend=_backend_url(broker_url), set_as_current=False)
    transport = {
        "visibility_timeout": visibility_s,
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": 10.0,
        "max_retries": 0,
    }
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        broker_transport_options=transport,
        broker_connection_timeout=CONNECT_S,
        broker_connection_retry=False,
        result_backend_transport_options={"retry_policy": {"max_retries": 0}},
        redis_socket_connect_timeout=CONNECT_S,
        result_expires=60,
    )
    return app


def _backend_url(broker_url: str) -> str:
    """The same Redis keeps the answers of searches for a minute."""
    return broker_url
