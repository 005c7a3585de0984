"""A whole Nearmiss for a benchmark: `nearmiss up` in a temporary home, with ways to kill its parts."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clock import wait
from servers import free_port


class Installation:
    """`nearmiss up` with the settings given; `get` and `post` speak to its routes."""

    def __init__(self, **settings: str):
        self.home = Path(tempfile.mkdtemp(prefix="nm-", dir="/tmp"))  # short: it holds a Unix socket
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        own = {"NEARMISS_HOME": str(self.home), "NEARMISS_PORT": str(port), "NEARMISS_DEMO": "false"}
        self.env = {**os.environ, "OMP_NUM_THREADS": "1", **own, **settings}
        with (self.home / "up.log").open("wb") as log:
            command = [sys.executable, "-m", "app.cli.main", "up"]
            self.process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        self.wait("the page", lambda: self.get("/healthz"), timeout_s=600)

    def get(self, path: str, *, timeout_s: float = 20) -> Any:
        """The JSON of a route. Raises OSError while the web is away."""
        with urllib.request.urlopen(self.address + path, timeout=timeout_s) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any = None, *, timeout_s: float = 20) -> Any:
        """The JSON that a route answers. Raises OSError."""
        headers = {"Content-Type": "application/json", "X-Nearmiss": "1"}
        data = json.dumps({} if body is None else body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method="POST")
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.load(answer)

    def command(self, *arguments: str) -> str:
        """The output of `nearmiss …` beside it."""
        command = [sys.executable, "-m", "app.cli.main", *arguments]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=900)
        if done.returncode != 0:
            raise RuntimeError(f"nearmiss {' '.join(arguments)}: {done.stdout}{done.stderr}\n{self.logs()}")
        return done.stdout

    def wait(self, what: str, found: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
        """What `found` answers once it is true; a web that is away counts as not yet."""
        return wait(what, found, timeout_s=timeout_s, told=self.logs)

    def weights(self, run_id: int) -> bytes:
        """The safetensors file of a finished run."""
        with urllib.request.urlopen(f"{self.address}/api/runs/{run_id}/checkpoint", timeout=60) as answer:
            archive = zipfile.ZipFile(io.BytesIO(answer.read()))
        return archive.read(next(name for name in archive.namelist() if name.endswith(".safetensors")))

    def pids(self, words: str) -> list[int]:
        """The processes below `nearmiss up` whose command line contains `words`."""
        lines = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True).stdout
        rows = [line.split(None, 2) for line in lines.splitlines()]
        family, known = {self.process.pid}, 0
        while len(family) > known:
            known = len(family)
            family |= {int(row[0]) for row in rows if int(row[1]) in family}
        own = family - {self.process.pid}
        return [int(row[0]) for row in rows if int(row[0]) in own and len(row) == 3 and words in row[2]]

    def kill(self, words: str) -> int:
        """kill -9 of all of them; how many there were."""
        pids = self.pids(words)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return len(pids)

    def logs(self) -> str:
        """The ends of all logs."""
        paths = [self.home / "up.log", *sorted((self.home / "logs").glob("*.log"))]
        return "\n".join(f"== {p.name}\n{p.read_text(errors='replace')[-2000:]}" for p in paths if p.exists())

    def close(self) -> None:
        """Stops it and removes its home."""
        self.process.terminate()
        try:
            self.process.wait(timeout=120)  # a job that runs is saved first
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.home, ignore_errors=True)


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process has used. Raises OSError when it is over."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
