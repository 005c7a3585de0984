"""Which workers are there: each says so every few seconds; nobody has to say goodbye."""

import logging
import os
import socket
import threading
import time
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.store.database import Database, epoch_s
from app.store.models import Worker

log = logging.getLogger(__name__)
SEEN_EVERY_S = 5.0  # how often a worker calls `seen`
GONE_AFTER_S = 20.0  # silence after which it counts as gone


def seen(session: Session, *, name: str, queue: str, about: dict[str, Any]) -> None:
    """Say that worker `name` serves `queue` now; `about`: host, process id, device, version."""
    worker = session.get(Worker, name) or Worker(name=name)
    worker.queue, worker.about, worker.seen_at = queue, about, epoch_s()  # type: ignore[assignment]
    session.add(worker)


def stay_seen(database: Database, *, name: str, queue: str, gpus: int = 0) -> None:
    """Starts a thread that says so every SEEN_EVERY_S seconds; while the database is away it logs that and tries again."""
    about = {"host": socket.gethostname(), "pid": os.getpid(), "gpus": gpus}

    def repeat() -> None:
        while True:
            try:
                with database.transaction() as session:
                    seen(session, name=name, queue=queue, about=about)
            except SQLAlchemyError as error:
                log.warning("worker %s cannot say that it is there: %s", name, error)
            time.sleep(SEEN_EVERY_S)

    threading.Thread(target=repeat, name="presence", daemon=True).start()


def gone(session: Session, *, name: str) -> None:
    """Say that worker `name` stops."""
    session.execute(delete(Worker).where(Worker.name == name))


def connected(session: Session) -> list[Worker]:
    """The workers heard from lately, by name."""
    alive = Worker.seen_at > epoch_s() - GONE_AFTER_S
    return list(session.scalars(select(Worker).where(alive).order_by(Worker.name)))


def num_connected(session: Session, queue: str) -> int:
    """How many workers serve `queue` now."""
    alive = Worker.seen_at > epoch_s() - GONE_AFTER_S
    count = select(func.count()).select_from(Worker).where(Worker.queue == queue, alive)
    return session.scalar(count) or 0
