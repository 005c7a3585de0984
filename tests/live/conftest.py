"""A whole Nearmiss as a person starts it: `nearmiss up` with its Valkey, web and workers, on real OpenMoji pictures."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clock import wait
from servers import free_port

from app.demo.openmoji import drawings, rasterise

NUM_TRAIN, NUM_HELD_OUT = 140, 30
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LEASE_S = 6.0


class Nearmiss:
    """One running instance; `get` and `post` speak to its routes."""

    def __init__(self, home: Path, port: int):
        self.home, self.address = home, f"http://127.0.0.1:{port}"
        self.env = {
            **os.environ,
            "NEARMISS_HOME": str(home),
            "NEARMISS_PORT": str(port),
            "NEARMISS_DEMO": "false",
            "NEARMISS_LEASE_S": str(LEASE_S),
        }
        self.log = (home / "up.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "up"],
            env=self.env,
            stdout=self.log,
            stderr=self.log,
            preexec_fn=_as_a_script_starts_it,
        )

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=20) as answer:
            return json.load(answer)

    def bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(self.address + path, timeout=60) as answer:
            return answer.read()

    def post(self, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "X-Nearmiss": "1"}
        request = urllib.request.Request(
            self.address + path, json.dumps(body or {}).encode(), headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`nearmiss …` beside the running instance."""
        return subprocess.run(
            [sys.executable, "-m", "app.cli.main", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def wait(self, what: str, found: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
        """What `found` returns once it is true; errors of a restarting server count as not yet."""
        return wait(what, found, timeout_s=timeout_s, told=self.logs)

    def logs(self) -> str:
        """The ends of all logs."""
        paths = [self.home / "up.log", *sorted((self.home / "logs").glob("*.log"))]
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in paths)

    def pids(self, words: str) -> list[int]:
        """The processes below `nearmiss up` whose command line contains `words`."""
        lines = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True).stdout
        rows = [
            (int(pid), int(parent), command)
            for pid, parent, command in (x.split(None, 2) for x in lines.splitlines())
        ]
        family, known = {self.process.pid}, 0
        while len(family) > known:  # process numbers wrap, so a child's may be the smaller one
            known = len(family)
            family |= {pid for pid, parent, _ in rows if parent in family}
        return [pid for pid, _, command in rows if pid in family - {self.process.pid} and words in command]

    def kill(self, words: str) -> None:
        """kill -9, as a crash or the system's out-of-memory killer would."""
        pids = self.pids(words)
        assert pids, f"no process runs {words!r}"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> int:
        """Ctrl+C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=120)  # a job that runs is saved first


def _lives(pid: int) -> bool:
    """Whether the process still works; one that is over and not yet collected does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def _as_a_script_starts_it() -> None:
    """As `nearmiss up &` in a script: born with SIGINT ignored, yet `kill -INT` must end it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with metadata.csv: 170 drawings of people and their like, and one row whose picture is not there."""
    folder = tmp_path_factory.mktemp("pictures")
    train = [d for d in drawings() if d.split == "train" and "person" in d.caption][:NUM_TRAIN]
    held_out = [d for d in drawings() if d.split == "held_out"][:NUM_HELD_OUT]
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "text", "split"])
        for drawing in (*train, *held_out):
            (folder / drawing.key).write_bytes(rasterise(drawing, image_px=128))
            table.writerow([drawing.key, drawing.caption, drawing.split])
        table.writerow(["missing.png", "a picture that is not there", "train"])
    return folder


@pytest.fixture(scope="session")
def empty() -> Iterator[Nearmiss]:
    """Nearmiss without data; stopped with Ctrl+C at the end, and then nothing of it is left."""
    if shutil.which("ps") is None:
        if os.environ.get("CI"):
            pytest.fail("ps is missing; install procps")
        pytest.skip("`ps` is missing, so the tests that kill processes do not run here")
    home = Path(tempfile.mkdtemp(prefix="nm-", dir="/tmp"))  # short: it holds a Unix socket
    port = free_port()
    running = Nearmiss(home, port)
    try:
        running.wait("the page", lambda: running.get("/healthz"), timeout_s=120)
        yield running
        below = running.pids("")
        assert running.stop() == 0
        running.wait("the end of its processes", lambda: not any(map(_lives, below)))
    finally:
        running.process.kill()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def import_said(empty: Nearmiss, pictures: Path) -> str:
    """What the command line printed while it imported the pictures."""
    assert empty.command("add-model", "demo:openmoji-tiny", "--name", "base").returncode == 0
    empty.wait("a CPU worker", lambda: [w for w in empty.get("/api/workers") if w["queue"] == "cpu"])
    done = empty.command("import", str(pictures), "--name", "people")
    assert done.returncode == 0, done.stderr + empty.logs()
    return done.stdout


@pytest.fixture(scope="session")
def nearmiss(empty: Nearmiss, import_said: str) -> Nearmiss:
    """Nearmiss with the pictures imported and suggestions found."""
    empty.wait("suggestions", lambda: empty.get("/api/data-sets")[0]["num_open_suggestions"], timeout_s=120)
    # controls are no verdicts: tests that count verdicts do without; those of controls ask for them
    empty.post("/api/data-sets/1/desk", {"overlap": 0.0, "control_share": 0.0})
    return empty


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing; install chromium")
        pytest.skip("Chromium is not installed, so the browser test does not run here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield opened
        opened.close()
