"""A real Postgres for the tests of the store and of the deployment."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """The many processes that tests start share compiled modules, though the tests' own process may write none:
    compiling torch's and transformers' anew took each of them half a minute on a busy machine."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", tempfile.mkdtemp(prefix="nm-pyc-"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes them."""
    if (folder := os.environ.get("PYTHONPYCACHEPREFIX", "")).startswith(tempfile.gettempdir() + "/nm-pyc-"):
        shutil.rmtree(folder, ignore_errors=True)


def postgres_bin() -> Path | None:
    """The folder of initdb and postgres: Debian's, or that of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def unprivileged() -> str | None:
    """The user to run Postgres as; it refuses root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A temporary Postgres on a free port of this machine."""
    folder = postgres_bin()
    if folder is None:
        if os.environ.get("CI"):
            pytest.fail("Postgres is missing; install postgresql")
        pytest.skip("Postgres is not installed, so its half of the store's tests does not run here")
    user = unprivileged()
    data = Path(tempfile.mkdtemp(prefix="nm-pg-"))
    if user is not None:
        shutil.chown(data, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    init = [
        str(folder / "initdb"),
        "-D",
        str(data / "db"),
        "-A",
        "trust",
        "-U",
        "nearmiss",
        "-E",
        "UTF8",
        "-N",
    ]
    subprocess.run([*init, "--locale=C"], check=True, capture_output=True, user=user, cwd="/tmp")
    options = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}"]
    server = subprocess.Popen(
        [str(folder / "postgres"), "-D", str(data / "db"), "-p", str(port), *options],
        user=user,
        cwd="/tmp",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ready = [str(folder / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
        for _ in range(100):
            if subprocess.run(ready, capture_output=True).returncode == 0:
                break
            subprocess.run(["sleep", "0.2"])
        yield f"postgresql://nearmiss@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(data, ignore_errors=True)
