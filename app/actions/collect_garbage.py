"""What the media store and the runs' folders hold that nothing needs any more, and how much each run takes.

Kept by rule: everything that a row names. Collected: media that no row names (after a day: an import puts pictures before
their rows), and checkpoints to resume from of runs that have been over, or paused, for longer than the setting says.
"""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.keep_results import forget_result, is_kept, old_results, why_kept
from app.errors import NearmissError, NotFound
from app.jobs.states import OVER
from app.media.pictures import THUMBNAILS_PX, original_key, thumbnail_key
from app.media.store import MediaStore
from app.settings import Settings
from app.store.database import after_commit, settings_of
from app.store.models import Embedding, Event, Image, Job, Model, Run, Snapshot

YOUNG_S = 24 * 3600.0  # such files may belong to work that has not written its rows yet
KINDS = ("images", "thumbnails", "vectors", "snapshots", "checkpoints", "files", "evaluations")


@dataclass(frozen=True)
class Garbage:
    """A file, or the folder of a run's checkpoints, with its bytes and the reason."""

    key: str
    num_bytes: int
    reason: str


@dataclass(frozen=True)
class RunDisk:
    """Bytes of a run: what it resumes from, its result, and its folder on this machine.

    `policy` says whether `nearmiss gc` will take its weights, and why not; empty without weights.
    """

    run_id: int
    training_bytes: int
    result_bytes: int
    folder_bytes: int
    kept: bool  # by a person
    policy: str


def find_garbage(session: Session) -> list[Garbage]:
    """Everything that `collect` would delete now; nothing is changed."""
    settings = settings_of(session)
    media = MediaStore(settings.resolved_media_url)
    return [
        *_old_training(session, media, settings),
        *_old_results(session, media, settings),
        *_unnamed(session, media),
    ]


def collect(session: Session, garbage: list[Garbage]) -> int:
    """Deletes it; the bytes that became free. Weights go once the rows that named them are committed."""
    settings = settings_of(session)
    media = MediaStore(settings.resolved_media_url)
    for one in garbage:
        if one.key.startswith("training/"):
            media.delete_below(one.key)
            shutil.rmtree(_folder(settings, one.key) / "checkpoints", ignore_errors=True)
        elif one.key.startswith("runs/"):
            _forget(session, media, _folder(settings, one.key), int(one.key.rsplit("-", 1)[-1]))
        else:
            media.delete(one.key)
    return sum(one.num_bytes for one in garbage)


def disk_of_run(session: Session, run_id: int) -> RunDisk:
    """Raises NotFound."""
    run = session.get(Run, run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id}; reload the page")
    settings = settings_of(session)
    media = MediaStore(settings.resolved_media_url)
    training = sum(size for _, size, _ in media.walk(f"training/run-{run_id}"))
    result = _size_of_folder(media, run.checkpoint_key) if run.checkpoint_key else 0
    folder = settings.home.resolve() / "runs" / f"run-{run_id}"
    kept, policy = is_kept(session, run), _policy(session, run, settings) if run.checkpoint_key else ""
    return RunDisk(run_id, training, result, _bytes_below(folder), kept, policy)


def used_bytes(settings: Settings) -> int:
    """What media store and runs' folders hold together."""
    media = MediaStore(settings.resolved_media_url)
    return sum(size for _, size, _ in media.walk("")) + _bytes_below(settings.home.resolve() / "runs")


def check_quota(settings: Settings) -> None:
    """Raises NearmissError when more is used than the quota allows; nothing is counted where there is none."""
    if settings.quota_gb and (used := used_bytes(settings) / 1e9) > settings.quota_gb:
        raise NearmissError(
            f"{used:.1f} GB are used and the quota is {settings.quota_gb:g} GB: look at `nearmiss gc --dry-run`,"
            " or raise NEARMISS_QUOTA_GB"
        )


def _old_training(session: Session, media: MediaStore, settings: Settings) -> Iterator[Garbage]:
    days = settings.keep_training_days
    before = datetime.now(UTC) - timedelta(days=days)
    last = select(Event.created_at).where(Event.job_id == Job.id).order_by(Event.id.desc()).limit(1)
    query = select(Run.id, Job.state, last.scalar_subquery()).join(Job, Job.id == Run.job_id)
    for run_id, state, at in session.execute(query.where(Job.state.in_((*OVER, "paused"))).order_by(Run.id)):
        if state != "finished" and at is not None and at > before:
            continue
        key = f"training/run-{run_id}"
        folder = _folder(settings, key) / "checkpoints"
        size = sum(size for _, size, _ in media.walk(key)) + _bytes_below(folder)
        if size:
            why = "finished" if state == "finished" else f"{state} for more than {days:g} days"
            yield Garbage(key, size, f"checkpoints to resume run {run_id}, which is {why}")


def _old_results(session: Session, media: MediaStore, settings: Settings) -> Iterator[Garbage]:
    """The weights of each run in the media store and in its folder, where the policy lets them go."""
    for old in old_results(session):
        folder = _folder(settings, f"run-{old.run_id}") / "checkpoint"
        size = sum(media.size(key) for key in _only_of(session, media, old.run_id, old.checkpoint_key))
        yield Garbage(f"runs/run-{old.run_id}", size + _bytes_below(folder), old.reason)


def _forget(session: Session, media: MediaStore, folder: Path, run_id: int) -> None:
    run = session.get_one(Run, run_id)
    keys = _only_of(session, media, run_id, run.checkpoint_key)
    forget_result(session, run_id)

    def delete(_: object) -> None:
        for key in keys:
            media.delete(key)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)

    after_commit(session, delete)


def _only_of(session: Session, media: MediaStore, run_id: int, folder_key: str) -> list[str]:
    """The files that no other result has too: alike files, a tokenizer's say, are stored once."""
    others = session.scalars(select(Run.checkpoint_key).where(Run.checkpoint_key != "", Run.id != run_id))
    shared: set[str] = set()
    for other in others:
        if other == folder_key:
            return []  # the same result twice, to the bit
        shared.update(media.manifest(other).values() if media.exists(other) else ())
    own = [folder_key, *media.manifest(folder_key).values()] if media.exists(folder_key) else []
    return [key for key in dict.fromkeys(own) if key not in shared]


def _policy(session: Session, run: Run, settings: Settings) -> str:
    if why := why_kept(session, run):
        return f"weights stay: {why}"
    days = settings.keep_results_days
    return f"weights go {days:g} days after the end" if days else "weights stay: no retention is set"


def _unnamed(session: Session, media: MediaStore) -> Iterator[Garbage]:
    named = _named(session, media)
    old = time.time() - YOUNG_S
    for kind in KINDS:
        for key, size, modified in media.walk(kind):
            if key not in named and modified < old:
                yield Garbage(key, size, "no row names it")


def _named(session: Session, media: MediaStore) -> set[str]:
    """Every key that a row names, and what hangs on it."""
    named: set[str] = set()
    for sha256 in session.scalars(select(Image.sha256).where(Image.erased_at.is_(None))):
        named |= {original_key(sha256), *(thumbnail_key(sha256, px=px) for px in THUMBNAILS_PX)}
    for keys in session.execute(select(Embedding.image_key, Embedding.caption_key)):
        named.update(part for key in keys for part in key.split(" "))
    for keys in session.execute(select(Snapshot.pairs_key, Snapshot.verdicts_key)):
        named.update(keys)
    for body in session.scalars(
        select(Event.body).where(Event.kind.in_(("rejected", "saved", "report", "evaluated")))
    ):
        named.update(str(value) for name, value in body.items() if name.endswith("key"))
    folders = set(session.scalars(select(Run.checkpoint_key).where(Run.checkpoint_key != "")))
    locations = session.scalars(select(Model.location).where(Model.location.startswith("media:")))
    folders |= {location.removeprefix("media:") for location in locations}
    for key in folders:
        named.add(key)
        if media.exists(key):
            named.update(media.manifest(key).values())
    return named


def _size_of_folder(media: MediaStore, key: str) -> int:
    try:
        return sum(media.size(file) for file in media.manifest(key).values())
    except (NotFound, json.JSONDecodeError):
        return 0


def _folder(settings: Settings, key: str) -> Path:
    return settings.home.resolve() / "runs" / key.rsplit("/", 1)[-1]


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
