"""The Celery application of the workers. Its process never imports torch; each job runs in a process of its own.

`-P solo`: the task only waits for that process, so one supervisor at a time is all there is to run.
"""

import os
import socket
from typing import Any

from celery.signals import worker_ready, worker_shutdown, worker_shutting_down

from app.jobs import presence
from app.jobs.reconcile import Reconciler
from app.jobs.send import RUN_JOB
from app.settings import get_settings
from app.store.database import Database
from worker.patient import Patient
from worker.supervise import Supervisor

settings = get_settings()
app = Patient("nearmiss", broker=settings.resolved_broker_url)
app.conf.update(
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_reject_on_worker_lost=False,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_transport_options={
        "visibility_timeout": settings.visibility_s,
        "unacked_restore_interval": min(10.0, settings.visibility_s / 5),
        "unacked_restore_throttle": 1,  # kombu's 10 looks at each tenth interval only
    },
    broker_connection_retry_on_startup=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
)
QUEUE = os.environ.get("NEARMISS_QUEUE", "cpu")
NAME = f"{QUEUE}@{socket.gethostname()}:{os.getpid()}"
GPUS = os.environ.get("CUDA_VISIBLE_DEVICES", "")
NUM_GPUS = len([gpu for gpu in GPUS.split(",") if gpu.strip()]) if QUEUE == "gpu" else 0
supervisor = Supervisor(settings, name=NAME, queue=QUEUE, num_gpus=NUM_GPUS)


@app.task(name=RUN_JOB)
def run_job(job_id: int) -> None:
    """A wake-up. The best job of the queue is taken, which need not be the one whose submit sent the message."""
    supervisor.run()


@worker_ready.connect
def _say_hello(**_: Any) -> None:
    database = Database(settings)
    Reconciler(database).start()
    presence.stay_seen(database, name=NAME, queue=QUEUE, gpus=NUM_GPUS)
    supervisor.warm_up()


@worker_shutting_down.connect
def _stop_job(**_: Any) -> None:
    supervisor.stop()


@worker_shutdown.connect
def _say_goodbye(**_: Any) -> None:
    supervisor.close()
    with Database(settings).transaction() as session:
        presence.gone(session, name=NAME)
