"""A run's checkpoints in the media store, so that another worker can take the run over.

They lie under `training/run-ID/step-NNNNNNNN/`, by name and not by content, so that the old ones of one run can go
without a look at those of others. Training is deterministic: whoever writes a step's checkpoint writes the same bits.
"""

import shutil
from pathlib import Path

from app.errors import NearmissError
from app.media.store import MediaStore

KEPT = 2  # beside the newest: what clipcore falls back to, and what an event may still name
FILES = ("state.safetensors", "state.json")  # the hash comes last: a folder without it is not looked at


def prefix(run_id: int) -> str:
    """Where the checkpoints of a run lie."""
    return f"training/run-{run_id}"


def keep_checkpoint(media: MediaStore, run_id: int, path: Path) -> str:
    """Keeps the folder that clipcore wrote; its key. Older ones go."""
    key = f"{prefix(run_id)}/{path.name}"
    for name in FILES:
        media.put_file_at(f"{key}/{name}", path / name)
    steps = [name for name in media.names_below(prefix(run_id)) if name.startswith("step-")]
    for old in steps[: -KEPT - 1]:
        media.delete_below(f"{prefix(run_id)}/{old}")
    return key


def fetch_checkpoints(media: MediaStore, run_id: int, folder: Path) -> None:
    """Brings what is newer than the newest in `folder` here, written by another worker; clipcore checks the hashes."""
    own = max((path.name for path in folder.glob("step-*")), default="")
    for step in media.names_below(prefix(run_id)):
        if step <= own or not step.startswith("step-"):
            continue
        partial = folder / f".fetching-{step}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            for name in FILES:
                media.get_file(f"{prefix(run_id)}/{step}/{name}", partial / name)
        except NearmissError:  # another worker is still writing it, or has just removed it
            shutil.rmtree(partial)
            continue
        partial.rename(folder / step)


def forget_checkpoints(media: MediaStore, run_id: int) -> None:
    """The run is over and its result is kept."""
    media.delete_below(prefix(run_id))
