"""Several machines, with network namespaces as hosts: a worker that is cut off, its run elsewhere, and its return.

    sudo python benchmarks/hosts.py

Database, broker, web and two gpu workers each have a network, a host name and an address of their own (10.77.0.1 to .5)
on a switch that this command is plugged into; the machine's own network is not touched. A run trains undisturbed. Then
the same run trains again, the cable of its worker is pulled, and the other worker must take it and finish it with the
same weights, bit by bit. Plugged in again, the first worker must find its fencing token refused: one result, one end, and
the worker is there for the next run. Not covered: the media store is one folder that all see, so it is not cut off;
and all hosts share one processor and one clock.
"""

import ctypes
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clock import wait
from kill_anything import ARCHITECTURE, SETTINGS, pictures
from servers import Broker, Postgres
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

LEASE_S = 5.0
STEPS = 400
SWITCH, NETWORK = "nmswitch", "10.77.0"
HOSTS = {"database": 1, "broker": 2, "web": 3, "worker-a": 4, "worker-b": 5}
TRAIN = SETTINGS | {"max_steps": STEPS}
CLONE_NEWNET = 0x40000000


class Hosts:
    """The switch, the hosts plugged into it, and the processes on them."""

    def __init__(self) -> None:
        if ctypes.CDLL("libc.so.6", use_errno=True).unshare(CLONE_NEWNET) != 0:
            raise SystemExit(f"no network of its own for this command: {os.strerror(ctypes.get_errno())}")
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        _ip("link set lo up")
        _ip(f"link add {SWITCH} type bridge")
        _ip(f"addr add {NETWORK}.254/24 dev {SWITCH}")
        _ip(f"link set {SWITCH} up")
        self.names = {name: f"nm{os.getpid()}-{name}" for name in HOSTS}
        for name, number in HOSTS.items():
            space = self.names[name]
            _ip(f"netns add {space}")
            _ip(f"link add port{number} type veth peer name eth0 netns {space}")
            _ip(f"link set port{number} master {SWITCH} up")
            _ip(f"-n {space} addr add {NETWORK}.{number}/24 dev eth0")
            _ip(f"-n {space} link set eth0 up")
            _ip(f"-n {space} link set lo up")

    def on(self, host: str, command: list[str]) -> list[str]:
        """`command` as that host runs it, under its host name."""
        named = f'hostname {host} && exec "$@"'
        return [
            "ip",
            "netns",
            "exec",
            self.names[host],
            "unshare",
            "--uts",
            "sh",
            "-c",
            named,
            "sh",
            *command,
        ]

    def start(self, host: str, command: list[str], *, log: Path, env: dict[str, str]) -> None:
        """A process of that host that stays."""
        with log.open("ab") as file:
            self.running[host] = subprocess.Popen(
                self.on(host, command), env=env, stdout=file, stderr=file, cwd="/tmp", start_new_session=True
            )

    def cable(self, host: str, *, plugged: bool) -> None:
        """Pulls the host's cable, or plugs it in."""
        _ip(f"link set port{HOSTS[host]} {'up' if plugged else 'down'}")

    def end(self) -> None:
        """Ends the processes."""
        for process in reversed(self.running.values()):
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()

    def unplug(self) -> None:
        """Removes the hosts."""
        for space in self.names.values():
            _ip(f"netns delete {space}")


def address(host: str) -> str:
    """The host's on the switch."""
    return f"{NETWORK}.{HOSTS[host]}"


def _ip(words: str) -> None:
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"ip {words}: {done.stderr.strip()}")


class Site:
    """Nearmiss on those hosts."""

    def __init__(self, hosts: Hosts, folder: Path):
        self.hosts, self.folder = hosts, folder
        self.address = f"http://{address('web')}:7860"
        self.database: Postgres | None = None
        self.broker: Broker | None = None
        self.token = ""

    def env(self, host: str) -> dict[str, str]:
        """The three addresses, and a home of its own."""
        assert self.database is not None and self.broker is not None
        own = {
            "NEARMISS_HOME": str(self.folder / host),
            "NEARMISS_DATABASE_URL": self.database.url,
            "NEARMISS_BROKER_URL": self.broker.url,
            "NEARMISS_MEDIA_URL": f"file://{self.folder / 'media'}",
            "NEARMISS_HOST": address("web"),
            "NEARMISS_LEASE_S": str(LEASE_S),
            "NEARMISS_DEVICE": "cpu",
            "NEARMISS_DEMO": "false",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path} | own

    def begin(self) -> None:
        """Database and broker, tables, an admin's token, the web, and the workers."""
        with (self.folder / "database.log").open("wb") as log:
            self.database = Postgres(
                address=address("database"), port=5432, through=self.hosts.on("database", []), log=log
            )
        with (self.folder / "broker.log").open("wb") as log:
            self.broker = Broker(
                address=address("broker"), port=6379, through=self.hosts.on("broker", []), log=log
            )
        self.engine = create_engine(self.database.url, isolation_level="AUTOCOMMIT")
        self.command("web", "migrate")
        self.command("web", "add-person", "admin", "--role", "admin", "--password", "a long password")
        self.token = (
            self.command("web", "token", "admin", "--role", "admin", "--name", "hosts")
            .strip()
            .splitlines()[-1]
        )
        self._start("web", ["sh", "-c", "nearmiss worker cpu & exec nearmiss web"])
        for worker in ("worker-a", "worker-b"):
            self._start(worker, ["nearmiss", "worker", "gpu"])
        self.wait("web and workers", lambda: len(self.get("/api/workers")) == 3, timeout_s=300)

    def close(self) -> None:
        """Ends database and broker."""
        for server in (self.broker, self.database):
            if server is not None:
                server.close()

    def _start(self, host: str, command: list[str]) -> None:
        (self.folder / host).mkdir(exist_ok=True)
        self.hosts.start(host, command, log=self.folder / f"{host}.log", env=self.env(host))

    def command(self, host: str, *arguments: str) -> str:
        """What `nearmiss …` prints on that host."""
        own = self.hosts.on(host, ["nearmiss", *arguments])
        done = subprocess.run(
            own, env=self.env(host), capture_output=True, text=True, cwd="/tmp", timeout=600
        )
        if done.returncode != 0:
            raise SystemExit(f"nearmiss {' '.join(arguments)}: {done.stdout}{done.stderr}{self.logs()}")
        return done.stdout

    def ask(self, path: str, body: Any = None) -> bytes:
        """A route's answer, over the wire. Raises OSError."""
        headers = {
            "Authorization": f"Bearer {self.token}",
            "X-Nearmiss": "1",
            "Content-Type": "application/json",
        }
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(
            urllib.request.Request(self.address + path, data, headers), timeout=30
        ) as answer:
            found: bytes = answer.read()
        return found

    def get(self, path: str) -> Any:
        """A route's JSON. Raises OSError."""
        return json.loads(self.ask(path))

    def rows(self, statement: str) -> list[Any]:
        """Straight from the database."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement)).all())

    def wait(self, what: str, found: Callable[[], Any], *, timeout_s: float = 120.0) -> Any:
        """What `found` says once it is true."""
        return wait(what, found, timeout_s=timeout_s, not_yet=(OSError, SQLAlchemyError), told=self.logs)

    def logs(self) -> str:
        """The ends of all hosts' logs."""
        return "".join(
            f"\n== {p.name}\n{p.read_text(errors='replace')[-2500:]}" for p in self.folder.glob("*.log")
        )

    def submit(self, name: str) -> int:
        """A run of the tiny model; its id."""
        body = {"data_set_id": 1, "model_id": 1, "preset": "scratch", "overrides": TRAIN, "name": name}
        return int(json.loads(self.ask("/api/runs", body))["run"]["id"])

    def job(self, run_id: int) -> Any:
        """State, worker, token, steps done."""
        return self.rows(
            "select j.state, j.worker, j.token, j.done, j.id, j.reason from jobs j"
            f" join runs r on r.job_id = j.id where r.id = {run_id}"
        )[0]

    def finished(self, run_id: int) -> bool:
        """Raises SystemExit when it ended otherwise."""
        job = self.job(run_id)
        if job.state in ("failed", "cancelled", "paused"):
            raise SystemExit(f"run {run_id} is {job.state}: {job.reason}{self.logs()}")
        return bool(job.state == "finished")

    def weights(self, run_id: int) -> str:
        """SHA-256 of the result."""
        archive = zipfile.ZipFile(io.BytesIO(self.ask(f"/api/runs/{run_id}/checkpoint")))
        name = next(name for name in archive.namelist() if name.endswith(".safetensors"))
        return hashlib.sha256(archive.read(name)).hexdigest()


def main() -> int:
    """The exit code is 1, with a sentence, for whatever did not come true."""
    if os.geteuid() != 0:
        sys.exit("network namespaces need root: run it with sudo")
    folder = Path(tempfile.mkdtemp(prefix="nm-hosts-"))
    folder.chmod(0o755)
    hosts = Hosts()
    site = Site(hosts, folder)
    try:
        site.begin()
        prove(site)
    finally:
        hosts.end()
        site.close()
        hosts.unplug()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def prove(site: Site) -> None:
    """The story, said as it happens. Raises SystemExit."""
    pictures(site.folder / "pictures")
    site.command("web", "import", str(site.folder / "pictures"), "--name", "training")
    model = site.folder / "architecture"
    model.mkdir()
    (model / "open_clip_config.json").write_text(json.dumps(ARCHITECTURE))
    site.command("web", "add-model", f"local-dir:{model}", "--name", "tiny")

    first = site.submit("undisturbed")
    site.wait("the undisturbed run", lambda: site.finished(first), timeout_s=600)
    expected = site.weights(first)
    say(f"an undisturbed run of {STEPS} steps is over")

    run_id = site.submit("disturbed")
    job = site.wait(
        "a third of the run", lambda: (j := site.job(run_id)).done > STEPS / 3 and j, timeout_s=300
    )
    cut, token = job.worker.split("@")[1].split(":")[0], job.token
    site.hosts.cable(cut, plugged=False)
    began = time.monotonic()
    say(f"{cut} trains at step {job.done} with token {token}; its cable is pulled")
    job = site.wait(
        "another worker",
        lambda: (j := site.job(run_id)).token > token and j.state != "queued" and j,
        timeout_s=120,
    )
    other = job.worker.split("@")[1].split(":")[0]
    if other == cut:
        raise SystemExit(f"{cut} was cut off and holds the run again")
    say(f"{other} has it with token {job.token}, {time.monotonic() - began:.1f} s later")
    taken = job.token
    site.wait("progress", lambda: site.job(run_id).done > STEPS / 3)
    site.hosts.cable(cut, plugged=True)
    say(f"{cut} is plugged in again")
    site.wait("the run's end", lambda: site.finished(run_id), timeout_s=600)
    if site.job(run_id).token != taken:  # each claim counts it up, so nobody else has had it since
        raise SystemExit(f"the run was finished with {site.job(run_id)}, not by {other} with token {taken}")
    if site.weights(run_id) != expected:
        raise SystemExit("the resumed run has other weights than the undisturbed one")
    say(f"{other} finished it; the weights are those of the undisturbed run, bit by bit")

    refused = ("no longer held", "was over or taken over")
    log = site.folder / f"{cut}.log"
    site.wait(f"the refusal of token {token}", lambda: next((w for w in refused if w in log.read_text()), ""))
    said = next(line for line in reversed(log.read_text().splitlines()) if any(w in line for w in refused))
    say(f"{cut} said: {said.strip()}")
    ends = site.rows(
        f"select 1 from events where job_id = {job.id} and kind = 'state' and body ->> 'to' = 'finished'"
    )
    models = site.rows(f"select 1 from models where run_id = {run_id}")
    if len(ends) != 1 or len(models) != 1:
        raise SystemExit(f"{len(ends)} ends and {len(models)} models instead of one each")

    site.wait("both workers", lambda: sum(w["queue"] == "gpu" for w in site.get("/api/workers")) == 2)
    last = [site.submit("afterwards 1"), site.submit("afterwards 2")]
    site.wait("two runs at once", lambda: all(site.job(i).state == "running" for i in last), timeout_s=180)
    say(f"both work again: {' and '.join(site.job(i).worker for i in last)}")


def say(what: str) -> None:
    """With the time."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
