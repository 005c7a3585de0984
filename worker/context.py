"""A job's hold on its row: a thread keeps the lease, carries reports, and hears what a person asks for.

Reports are collected and written about once a second with the heartbeat; while the database is away they are kept
and the work goes on. A lease that was lost ends the process at once: somebody else has the job.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.jobs import lease
from app.jobs.lease import NewEvent, Progress
from app.media.store import MediaStore
from app.settings import Settings
from app.store.database import Database
from app.store.schema import check, why_no_answer
from worker.supervise import EXIT_LOST

log = logging.getLogger(__name__)
FLUSH_S = 1.0  # as often as the page asks; each costs 2 to 7 ms of the training process
Write = Callable[[Session], object]


class Stopped(Exception):
    """The work ended early because of `reason`: cancel, pause, or stop (the worker shuts down)."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class JobContext:
    """What a job's code sees of the queue; usable from its main thread."""

    def __init__(self, settings: Settings, job_id: int, token: int):
        self.settings, self.job_id, self.token = settings, job_id, token
        self.database = Database(settings)
        self.media = MediaStore(settings.resolved_media_url)
        self.note = ""  # what a person should know about work that is finished nevertheless
        self._lock = threading.Lock()
        self._events: list[NewEvent] = []
        self._num_events, self._num_sent = 0, 0  # reported so far; of `_events`, those that a write has tried
        self._writes: list[Write] = []
        self._progress: Progress | None = None
        self._told: Progress | None = None  # the progress that is written
        self._asked: str | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        signal.signal(signal.SIGTERM, self.stop)

    def start(self) -> None:
        """Claimed → running; the heartbeat begins. A lost lease ends the process; a database that is away is waited for."""
        while True:
            try:
                check(self.database.engine)  # newer code may stand beside older tables
                with self.database.transaction() as session:
                    lease.start(session, self.job_id, token=self.token)
                break
            except lease.Lost as lost:
                self._leave(lost)
            except (DBAPIError, NearmissError) as error:
                if self._asked:  # the worker stops: whoever comes next finds the lease run out
                    os._exit(EXIT_LOST)
                log.warning("waiting to begin; %s: %s", why_no_answer(self.database.engine), error)
                time.sleep(1)
        self._thread.start()

    def report(self, kind: str, body: dict[str, Any], step: int | None = None) -> None:
        """An event for the page; the points of neighbouring step events are joined into one.

        An event that a write has tried stays as it is: when only the answer was lost, it stands in the table already, and
        its key keeps it from standing there twice.
        """
        with self._lock:
            last = self._events[-1] if len(self._events) > self._num_sent else None
            if kind == "step" and last is not None and last.kind == "step":
                body = {**body, "points": last.body["points"] + body["points"]}
                self._events.pop()
            self._num_events += 1
            self._events.append(NewEvent(kind, body, step, f"{self.token}-{self._num_events}"))

    def write(self, write: Write) -> None:
        """Has `write(session)` run in the next heartbeat's transaction, while the lease is held."""
        with self._lock:
            self._writes.append(write)

    def database_write(self, write: Callable[[Session], Any]) -> None:
        """Runs `write` in a transaction of its own, now, if the lease is still held; after a long one others get a turn."""
        try:
            with self.database.part_of_long_work() as session:
                lease.heartbeat(session, self.job_id, token=self.token)
                write(session)
        except lease.Lost as lost:
            self._leave(lost)

    def _leave(self, lost: lease.Lost) -> NoReturn:
        """At once and without a write: whoever holds the job now must not be disturbed."""
        log.warning("job %s, token %s: %s; leaving without a trace", self.job_id, self.token, lost)
        os._exit(EXIT_LOST)

    def progress(self, done: int, total: int, unit: str, rate: float | None = None) -> None:
        """How far the job is, for the page."""
        self._progress = Progress(done, total, unit, rate)

    def asked(self) -> str | None:
        """cancel, pause, stop, or None."""
        return self._asked

    def stop(self, *_: Any) -> None:
        """Asks the work to save and leave; a signal's handler."""
        self._asked = self._asked or "stop"

    def check(self) -> None:
        """Raises Stopped when somebody asked."""
        if self._asked:
            raise Stopped(self._asked)

    def end(self, write: Write) -> None:
        """The last transaction: everything still waiting, then `write`. Waits for a database that is away."""
        self._over.set()
        self._thread.join(timeout=30)
        while True:
            try:
                self._flush(last=write)
                return
            except DBAPIError as error:
                log.warning("waiting to end; %s: %s", why_no_answer(self.database.engine), error)
                time.sleep(2)
            except lease.Lost as lost:
                self._leave(lost)

    def _beat(self) -> None:
        every = self.settings.lease_s / 3
        due = time.monotonic()
        while not self._over.wait(FLUSH_S):
            news = self._events or self._writes or self._progress is not self._told
            if time.monotonic() < due and not news:
                continue
            try:
                self._flush()
                due = time.monotonic() + every
            except lease.Lost as lost:
                self._leave(lost)
            except DBAPIError as error:
                log.warning("the work goes on; %s: %s", why_no_answer(self.database.engine), error)
                self._over.wait(1.0)

    def _flush(self, last: Write | None = None) -> None:
        with self._lock:
            events, writes = list(self._events), list(self._writes)
            self._num_sent = len(events)
        told = self._progress
        with self.database.transaction() as session:
            asked = lease.heartbeat(session, self.job_id, token=self.token, progress=told, events=events)
            for write in writes:
                write(session)
            if last is not None:
                last(session)
        self._asked, self._told = self._asked or asked, told
        with self._lock:
            self._events, self._num_sent = self._events[len(events) :], 0
            self._writes = self._writes[len(writes) :]
