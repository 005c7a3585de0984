"""The containers themselves: docker-compose.yml and its Dockerfile, built and brought up by podman.

    sudo python tests/deploy/containers.py [--base-image IMAGE] [--no-build] [--build-options='--build-arg X=Y …'] [--remove-images]

podman-compose reads the file as it stands and an override that says: this machine's network, no container waits for
another's health (podman's own checks need systemd; here each service's check is run inside it), pictures mounted into
the worker as docs/deploy.md says. The network is one of its own, so that the services' addresses and ports are exactly
the file's and nothing is published. Seen: both images build, no torch in web and no Gradio in the worker; migrate ends
well; every process is uid 10001 without capabilities on a read-only root; the first start says an admin's password and
a stranger gets nothing; log-in, import from the mount, a fine-tune; a worker that is stopped in the middle of a run saves
it, leaves with 0 and goes on with it when it is started again; no secret in a log.

Not covered: the GPU and its reservation, the container network and published ports, the engine's own health checks and
restarts, the images of Postgres and Valkey (this machine's programs answer at their addresses), the proxy
(`make proxy-test`), limits of memory.
"""

import argparse
import ctypes
import http.cookiejar
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
from servers import Broker, Postgres  # noqa: E402  # lies beside the benchmarks

from tests.small_pictures import draw  # noqa: E402

COMPOSE = "podman-compose==1.6.0"
PROJECT, IMAGE, SITE = "nearmiss-test", "localhost/nearmiss-test", "nearmiss.test"
WORKERS = {"worker-cpu": "cpu", "worker-search": "search", "worker-train-cpu": "gpu"}
CLONE_NEWNET = 0x40000000
UID = 10001
# what a stranger's process could use against the others
STATUS = {"Uid": f"{UID}", "CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}


class Containers:
    """The services; `tell` keeps count of what was not as it should be."""

    def __init__(self, folder: Path, base_image: str, build_options: str):
        self.folder, self.bad = folder, 0
        self.secrets = {name: secrets.token_hex(16) for name in ("POSTGRES_PASSWORD", "BROKER_PASSWORD")}
        own = self.secrets | {
            "NEARMISS_IMAGE": IMAGE,
            "NEARMISS_SITE": SITE,
        }
        (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in own.items()))
        names = ("migrate", "web", *WORKERS)
        (folder / "override.yml").write_text(override(names, base_image, folder / "pictures"))
        files = ["-f", str(ROOT / "docker-compose.yml"), "-f", str(folder / "override.yml")]
        self.compose = [
            *(
                str(Path(sys.executable).parent / "uv"),
                "tool",
                "run",
                "-q",
                "--from",
                COMPOSE,
                "podman-compose",
            ),
            *(
                "-p",
                PROJECT,
                "--in-pod",
                "false",
                "--env-file",
                str(folder / "env"),
                *files,
                "--profile",
                "cpu",
            ),
            f"--podman-build-args={build_options}",
        ]

    def run(self, *words: str, timeout_s: float = 3600) -> str:
        """The output of podman-compose. Raises SystemExit when it fails."""
        return said([*self.compose, *words], timeout_s=timeout_s)

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in a running container, with its user and environment."""
        return subprocess.run(
            ["podman", "exec", container(service), *command], capture_output=True, text=True, timeout=120
        )

    def healthy(self, service: str) -> bool:
        """Its own health check, once."""
        check = ["podman", "healthcheck", "run", container(service)]
        return subprocess.run(check, capture_output=True).returncode == 0

    def logs(self, service: str) -> str:
        """All that it said."""
        done = subprocess.run(["podman", "logs", container(service)], capture_output=True, text=True)
        return done.stdout + done.stderr

    def tell(self, what: str, true: bool, seen: Any = "") -> None:
        """Says it with yes or NO."""
        self.bad += not true
        print(f"{'yes' if true else 'NO '}  {what}" + ("" if true else f": {seen}"), flush=True)


def override(names: tuple[str, ...], base_image: str, pictures: Path) -> str:
    """The file that puts the services on this machine's network."""
    build = f"    build: {{ args: {{ BASE_IMAGE: {json.dumps(base_image)} }} }}\n" if base_image else ""
    parts = []
    for name in names:
        own = {
            # podman before 4.4 knows no interval of the start
            "web": "    ports: !reset []\n    healthcheck: { start_interval: !reset null }\n",
            "worker-cpu": f'    volumes: ["{pictures}:/pictures:ro"]\n',
        }.get(name, "")
        parts.append(
            f"  {name}:\n    network_mode: host\n    depends_on: !reset {{}}\n"
            f'    extra_hosts: ["postgres:127.0.0.1", "broker:127.0.0.1"]\n{build}{own}'
        )
    return "services:\n" + "".join(parts)


def container(service: str) -> str:
    """What podman-compose calls it."""
    return f"{PROJECT}_{service}_1"


def said(command: list[str], *, timeout_s: float = 3600) -> str:
    """The output. Raises SystemExit with it when the command fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


class Browser:
    """Requests to the web service, with a cookie jar."""

    def __init__(self) -> None:
        self.jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(strict_domain=False))
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def ask(self, path: str, body: Any = None, *, form: bool = False) -> bytes:
        """The answer. Raises OSError, which an HTTP status of 400 and more is too."""
        headers = {"Host": SITE, "X-Nearmiss": "1"}
        data = None
        if body is not None:
            data = urllib.parse.urlencode(body).encode() if form else json.dumps(body).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded" if form else "application/json"
        request = urllib.request.Request(f"http://127.0.0.1:7860{path}", data, headers)
        with self.opener.open(request, timeout=30) as answer:
            found: bytes = answer.read()
        return found

    def get(self, path: str) -> Any:
        """A route's JSON."""
        return json.loads(self.ask(path))

    def status(self, path: str) -> int:
        """Of the answer."""
        try:
            self.ask(path)
        except urllib.error.HTTPError as error:
            return error.code
        return 200


def main() -> int:
    """The exit code is 1 when something was not as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--base-image", default="", help="in the place of the Dockerfile's own, which is pulled"
    )
    parser.add_argument(
        "--build-options", default="", help="for `podman build`, such as an index of packages"
    )
    parser.add_argument("--no-build", action="store_true", help="with the images of an earlier run")
    parser.add_argument(
        "--remove-images", action="store_true", help="also removes the built images at the end"
    )
    given = parser.parse_args()
    if shutil.which("podman") is None or os.geteuid() != 0:
        sys.exit("this needs podman, and root for a network of its own: install podman, run it with sudo")
    folder = Path(tempfile.mkdtemp(prefix="nm-containers-", dir="/tmp"))
    folder.chmod(0o755)
    containers = Containers(folder, given.base_image, given.build_options)
    draw(folder / "pictures", 60)
    if given.no_build:
        containers.run("version")
    else:
        began = time.monotonic()
        containers.run("build", "web", "worker-cpu")
        print(f"both images are built ({time.monotonic() - began:.0f} s)", flush=True)
    if ctypes.CDLL("libc.so.6").unshare(CLONE_NEWNET) != 0:
        sys.exit("no network of its own for this command")
    said(["ip", "link", "set", "lo", "up"])
    os.environ["UV_OFFLINE"] = "1"  # podman-compose is there since the build
    postgres = Postgres(port=5432, password=containers.secrets["POSTGRES_PASSWORD"])
    broker = Broker(port=6379, password=containers.secrets["BROKER_PASSWORD"])
    try:
        containers.run("down", "-v", "--timeout", "5")  # of a run that was broken off
        create_database(postgres)
        look_at_images(containers)
        look_at_services(containers, Browser())
    finally:
        try:
            containers.run("down", "-v", "--timeout", "130")
        finally:
            postgres.close()
            broker.close()
            shutil.rmtree(folder, ignore_errors=True)
        if given.remove_images:
            said(["podman", "rmi", "--force", f"{IMAGE}-web", f"{IMAGE}-worker"])
    left = said(["podman", "ps", "-a", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}"])
    containers.tell("all is taken down", not left.strip(), left)
    return int(containers.bad > 0)


def create_database(postgres: Postgres) -> None:
    """The one that the image of Postgres would make."""
    from sqlalchemy import create_engine, text

    engine = create_engine(postgres.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("create database nearmiss"))
    engine.dispose()


def look_at_images(containers: Containers) -> None:
    """What is in them, and what is not."""
    for service, absent, present in (("web", "torch", "gradio"), ("worker", "gradio", "torch")):
        find = (
            f"import importlib.util as i; print(*[bool(i.find_spec(n)) for n in ({absent!r}, {present!r})])"
        )
        found = said(
            ["podman", "run", "--rm", "--network", "host", f"{IMAGE}-{service}", "python", "-c", find]
        )
        containers.tell(f"{service} has {present} and no {absent}", found.split() == ["False", "True"], found)


def look_at_services(containers: Containers, browser: Browser) -> None:
    """The story, said as it happens."""
    containers.run("up", "-d", "migrate")
    code = said(["podman", "wait", container("migrate")], timeout_s=300).strip()
    containers.tell("migrate ends well", code == "0", containers.logs("migrate"))
    containers.run("up", "-d", "web", *WORKERS)
    for service in ("web", *WORKERS):
        wait(containers, service, lambda service=service: containers.healthy(service), timeout_s=300)
        containers.tell(f"{service}'s health check passes", True)
        look_at_process(containers, service)
    password = re.search(r"name admin, password (\S+)", containers.logs("web"))
    containers.tell("the first start says an admin's password", password is not None, containers.logs("web"))
    containers.tell("a stranger gets nothing", browser.status("/api/data-sets") == 401)
    assert password is not None
    browser.ask("/log-in", {"name": "admin", "password": password[1]}, form=True)
    me = browser.get("/api/me")
    containers.tell("the admin signs in", me["name"] == "admin", me)
    page = browser.ask("/").decode()
    containers.tell("the page comes", "gradio" in page.lower(), page[:300])

    adding = containers.inside("worker-cpu", "nearmiss", "add-model", "demo:openmoji-tiny", "--name", "base")
    containers.tell("a model is added", adding.returncode == 0, adding.stderr)
    importing = containers.inside("worker-cpu", "nearmiss", "import", "/pictures", "--name", "pictures")
    containers.tell(
        "the mounted pictures are imported", importing.returncode == 0, importing.stdout + importing.stderr
    )
    wait(containers, "the import", lambda: browser.get("/api/data-sets")[0]["num_pairs"] == 60)
    containers.tell("the page shows them", True)

    adapter = submit(browser, "adapter", {"epochs": 2, "batch": {"size": 16}})
    wait(containers, "the fine-tune", lambda: ended(containers, browser, adapter), timeout_s=600)
    checkpoint = browser.ask(f"/api/runs/{adapter}/checkpoint")
    containers.tell(
        "a fine-tune ends with a checkpoint to download", checkpoint[:2] == b"PK", checkpoint[:60]
    )

    long = submit(browser, "full", {"epochs": 400, "max_steps": 60, "batch": {"size": 16}})
    wait(
        containers,
        "steps of a longer run",
        lambda: browser.get(f"/api/runs/{long}")["done"] > 10,
        timeout_s=600,
    )
    began = time.monotonic()
    containers.run("stop", "worker-train-cpu")
    took = time.monotonic() - began
    code = said(["podman", "inspect", "-f", "{{.State.ExitCode}}", container("worker-train-cpu")]).strip()
    run = browser.get(f"/api/runs/{long}")
    containers.tell(
        f"stopped in a run, the worker leaves by itself ({took:.0f} s)",
        code == "0" and took < 120,
        (code, took),
    )
    containers.tell("and has saved it", run["state"] in ("queued", "paused") and run["done"] > 10, run)
    containers.run("start", "worker-train-cpu")
    wait(containers, "the longer run", lambda: ended(containers, browser, long), timeout_s=900)
    containers.tell("started again, it finishes the run", True)
    told = "".join(containers.logs(service) for service in ("migrate", "web", *WORKERS))
    leaked = [name for name, value in containers.secrets.items() if value in told]
    containers.tell("no secret is in a log", not leaked, leaked)
    containers.tell(
        "no traceback is in a log", "Traceback" not in told, told[told.find("Traceback") :][:3000]
    )


def look_at_process(containers: Containers, service: str) -> None:
    """Its user, its capabilities, and where it can write."""
    lines = containers.inside(service, "cat", "/proc/1/status").stdout.splitlines()
    status = {
        name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines) if rest.split()
    }
    found = {name: status.get(name) for name in STATUS}
    containers.tell(f"{service} is nobody in particular and may nothing", found == STATUS, found)
    denied = [
        containers.inside(service, "touch", path).returncode != 0
        for path in ("/x", "/opt/nearmiss/x", "/home/nearmiss/x")
    ]
    allowed = [containers.inside(service, "touch", path).returncode == 0 for path in ("/tmp/x", "/data/x")]
    containers.tell(
        f"{service} writes into /data and /tmp only", all(denied) and all(allowed), (denied, allowed)
    )
    if service == "worker-cpu":
        code = containers.inside(service, "touch", "/pictures/x").returncode
        containers.tell("the pictures are mounted to be read only", code != 0)


def submit(browser: Browser, preset: str, overrides: dict[str, Any]) -> int:
    """A run; its id."""
    body = {"data_set_id": 1, "model_id": 1, "preset": preset, "overrides": overrides, "name": preset}
    return int(json.loads(browser.ask("/api/runs", body))["run"]["id"])


def ended(containers: Containers, browser: Browser, run_id: int) -> bool:
    """Whether it has finished. Raises SystemExit when it ended otherwise."""
    run = browser.get(f"/api/runs/{run_id}")
    if run["state"] in ("failed", "cancelled"):
        raise SystemExit(
            f"run {run_id} is {run['state']}: {run}\n{containers.logs('worker-train-cpu')[-3000:]}"
        )
    return bool(run["state"] == "finished")


def wait(containers: Containers, what: str, found: Callable[[], Any], *, timeout_s: float = 180.0) -> None:
    """Until `found` is true. Raises SystemExit with the logs."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        try:
            if found():
                return
        except (OSError, IndexError):
            pass
        time.sleep(0.5)
    logs = "\n".join(f"== {name}\n{containers.logs(name)[-2500:]}" for name in ("web", *WORKERS))
    raise SystemExit(f"{what} did not come within {timeout_s:.0f} s\n{logs}")


if __name__ == "__main__":
    sys.exit(main())
