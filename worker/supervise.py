"""Claims the best waiting job and runs it in an executed process; says why when that process dies.

For the gpu queue a spare process with torch already imported waits for the next job (import: about 7 s on two cores). It
has imported and done nothing else, takes one job, and ends with it. A database that is away is waited for, so that a job
which waits is begun, and a process that died is told of, as soon as it is back.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.jobs import lease
from app.jobs.expire import crashed
from app.settings import Settings
from app.store.database import Database

log = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0  # at a database that is away
GRACE_S = 100.0  # between asking a job to save and killing it; compose grants 120
BEGINS_WITHIN_S = 300.0  # how long a claimed job's process may import before its lease is left to run out
TAIL_LINES = 30
EXIT_LOST = 3
EXIT_REPORTED = 4


class Supervisor:
    """One job at a time for one worker."""

    def __init__(self, settings: Settings, *, name: str, queue: str, num_gpus: int = 0):
        self._settings, self._name, self._queue, self._num_gpus = settings, name, queue, num_gpus
        self._keep_spare = queue == "gpu"
        self._database: Database | None = None
        self._spare: subprocess.Popen[str] | None = None
        self._running: subprocess.Popen[str] | None = None
        self._stopping = False

    def run(self) -> None:
        """Takes one waiting job after the other, the best first, until none is left for this worker."""
        self._database = self._database or Database(self._settings)
        while not self._stopping:
            try:
                with self._database.transaction() as session:
                    job = lease.claim_next(
                        session, queue=self._queue, worker=self._name, num_gpus=self._num_gpus
                    )
            except DBAPIError as error:
                log.warning("no job can be taken, the database is away: %s", error)
                time.sleep(LOOK_EVERY_S)
                continue
            if job is None:
                return
            self._work(self._database, job)

    def _work(self, database: Database, job: lease.Claimed) -> None:
        process = self._take_spare()
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        reader = threading.Thread(target=_read_lines, args=(process, tail), daemon=True)
        reader.start()
        self._running = process
        holder = threading.Thread(target=self._hold, args=(database, job, process), daemon=True)
        holder.start()
        self._tell(process, job)
        if self._stopping:  # asked between the claim and here
            process.send_signal(signal.SIGTERM)
        code = process.wait()
        self._running = None
        reader.join(timeout=2)
        self.warm_up()  # not earlier: importing torch would take a core from the job
        if code not in (0, EXIT_LOST, EXIT_REPORTED):
            while not self._has_told(database, job, code, tail) and not self._stopping:
                time.sleep(LOOK_EVERY_S)  # untold, its lease would have to run out

    def _hold(self, database: Database, job: lease.Claimed, process: subprocess.Popen[str]) -> None:
        """Keeps the lease until the process has begun: importing torch may take longer than a lease."""
        give_up = time.monotonic() + BEGINS_WITHIN_S
        while process.poll() is None and time.monotonic() < give_up:
            try:
                with database.transaction() as session:
                    if not lease.keep_claim(session, job.job_id, token=job.token):
                        return
            except SQLAlchemyError as error:
                log.warning("job %s cannot be held while it begins: %s", job.job_id, error)
            time.sleep(self._settings.lease_s / 3)

    def warm_up(self) -> None:
        """Starts a spare process where this worker keeps one."""
        if self._keep_spare and self._spare is None and not self._stopping:
            self._spare = _start(self._queue)

    def stop(self) -> None:
        """Asks the running job to save and leave; kills it after the grace."""
        self._stopping = True
        if self._running is not None:
            self._running.send_signal(signal.SIGTERM)
            timer = threading.Timer(GRACE_S, self._running.kill)
            timer.daemon = True
            timer.start()

    def close(self) -> None:
        """Ends the spare process."""
        self._stopping = True
        if self._spare is not None and self._spare.poll() is None:
            self._spare.kill()

    def _take_spare(self) -> subprocess.Popen[str]:
        spare, self._spare = self._spare, None
        return spare if spare is not None and spare.poll() is None else _start(self._queue)

    def _has_told(self, database: Database, job: lease.Claimed, code: int, tail: deque[str]) -> bool:
        try:
            _say_died(database, job, code, tail)
        except DBAPIError as error:
            log.warning("job %s died, and the database is away: %s", job.job_id, error)
            return False
        return True

    def _tell(self, process: subprocess.Popen[str], job: lease.Claimed) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(f"{job.job_id} {job.token}\n")
            process.stdin.close()
        except BrokenPipeError:
            log.warning("the process for job %s died before it began", job.job_id)


def _say_died(database: Database, job: lease.Claimed, code: int, tail: deque[str]) -> None:
    """A process that died by itself: a killed one's job goes back to the queue at once, another's fails with the reason."""
    last = next((line for line in reversed(tail) if line.strip()), "no message")
    with database.transaction() as session:
        if code < 0:
            crashed(session, job.job_id, token=job.token, what=_killed_by(-code))
            return
        reason = f"the job's process ended with code {code}: {last}"
        try:
            lease.fail(session, job.job_id, token=job.token, reason=reason)
        except lease.Lost:
            log.warning("job %s was over or taken over before its failure could be written", job.job_id)


def _killed_by(number: int) -> str:
    name = signal.Signals(number).name if number in {s.value for s in signal.Signals} else str(number)
    memory = ", which the system does when memory runs out" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{memory}"


def _start(queue: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "worker.job", queue],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """On Linux the child gets the signal when its parent is killed, so that nothing is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").prctl(1, number)


def _read_lines(process: subprocess.Popen[str], tail: deque[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        tail.append(line.rstrip())
        sys.stderr.write(line)
