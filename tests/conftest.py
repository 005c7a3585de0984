"""A real Postgres for the tests of the store and of the deployment."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from servers import Postgres, postgres_bin


def pytest_configure(config: pytest.Config) -> None:
    """The many processes that tests start share compiled modules, though the tests' own process may write none:
    compiling torch's and transformers' anew took each of them half a minute on a busy machine."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", tempfile.mkdtemp(prefix="nm-pyc-"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes them."""
    if (folder := os.environ.get("PYTHONPYCACHEPREFIX", "")).startswith(tempfile.gettempdir() + "/nm-pyc-"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A temporary Postgres on a free port of this machine."""
    if postgres_bin() is None:
        if os.environ.get("CI"):
            pytest.fail("Postgres is missing; install postgresql")
        pytest.skip("Postgres is not installed, so its half of the store's tests does not run here")
    server = Postgres(options=["fsync=off"])
    try:
        yield server.url.replace("+psycopg", "")
    finally:
        server.close()
