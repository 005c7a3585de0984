"""Claims a job and runs it in an executed process; says why when that process dies.

A spare process with torch already imported waits for the next job (import: about 7 s on two cores). It has imported
and done nothing else, takes one job, and ends with it.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque

from app.jobs import lease
from app.settings import Settings
from app.store.database import Database

log = logging.getLogger(__name__)
GRACE_S = 100.0  # between asking a job to save and killing it; compose grants 120
TAIL_LINES = 30
EXIT_LOST = 3
EXIT_REPORTED = 4


class Supervisor:
    """One job at a time for one worker."""

    def __init__(self, settings: Settings, *, name: str, keep_spare: bool):
        self._settings, self._name, self._keep_spare = settings, name, keep_spare
        self._database: Database | None = None
        self._spare: subprocess.Popen[str] | None = None
        self._running: subprocess.Popen[str] | None = None
        self._stopping = False

    def run(self, job_id: int) -> None:
        """Runs the job to its end. Leaves quietly when somebody else holds it or it is over."""
        self._database = self._database or Database(self._settings)
        with self._database.transaction() as session:
            token = lease.claim(session, job_id, worker=self._name)
        if token is None:
            return
        process = self._take_spare()
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        reader = threading.Thread(target=_read_lines, args=(process, tail), daemon=True)
        reader.start()
        self._running = process
        self._tell(process, job_id, token)
        code = process.wait()
        self._running = None
        reader.join(timeout=2)
        self.warm_up()  # not earlier: importing torch would take a core from the job
        if code not in (0, EXIT_LOST, EXIT_REPORTED):
            self._failed(job_id, token, code, tail)

    def warm_up(self) -> None:
        """Starts a spare process where this worker keeps one."""
        if self._keep_spare and self._spare is None and not self._stopping:
            self._spare = _start()

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
        return spare if spare is not None and spare.poll() is None else _start()

    def _tell(self, process: subprocess.Popen[str], job_id: int, token: int) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(f"{job_id} {token}\n")
            process.stdin.close()
        except BrokenPipeError:
            log.warning("the process for job %s died before it began", job_id)

    def _failed(self, job_id: int, token: int, code: int, tail: deque[str]) -> None:
        """A process that died by itself: killed ones go back to the queue by their lease, others fail with the reason."""
        last = next((line for line in reversed(tail) if line.strip()), "no message")
        if code < 0:
            log.warning("job %s was killed by signal %s: %s", job_id, -code, last)
            return
        try:
            assert self._database is not None
            with self._database.transaction() as session:
                lease.fail(
                    session, job_id, token=token, reason=f"the job's process ended with code {code}: {last}"
                )
        except lease.Lost:
            log.warning("job %s was taken over before its failure could be written", job_id)


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "worker.job"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def die_with_parent() -> None:
    """On Linux the child gets SIGTERM when its parent is killed, so that nothing is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").prctl(1, signal.SIGTERM)


def _read_lines(process: subprocess.Popen[str], tail: deque[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        tail.append(line.rstrip())
        sys.stderr.write(line)
