"""Checkpoints of a run in progress: atomic, hashed, never a pickle; the loader falls back to the one before.

A checkpoint is a folder `step-00000120/` with `state.safetensors` (tensors) and `state.json` (everything else and
the hash of the tensors). It is written under another name, synced, and renamed; two are kept.
"""

import errno
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from clipcore.errors import ClipcoreError, DiskFull

KEPT = 2


@dataclass(frozen=True)
class State:
    """Tensors by name, and JSON values: step, config hash, labels hash …"""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def save_checkpoint(folder: Path, state: State) -> Path:
    """Writes the state of `values["step"]`; returns its folder. Raises ClipcoreError when the disk is full."""
    from safetensors.torch import save_file

    step = int(state.values["step"])
    target, partial = folder / f"step-{step:08d}", folder / f".writing-{step:08d}-{os.getpid()}"
    need = sum(t.nbytes for t in state.tensors.values())
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < 1.1 * need:
        raise DiskFull(_no_room(need, free))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in state.tensors.items()},
            partial / "state.safetensors",
        )
        values = state.values | {"sha256": _sha256(partial / "state.safetensors")}
        values |= {"own_sha256": _hash_of(values)}
        (partial / "state.json").write_text(json.dumps(values), encoding="utf-8")
        for path in (*partial.iterdir(), partial):
            _sync(path)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(_no_room(need, shutil.disk_usage(folder).free)) from error
        raise ClipcoreError(
            f"The checkpoint of step {step} could not be written ({error}): the one before is intact."
        ) from error
    for old in checkpoints(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def _no_room(need_bytes: int, free_bytes: int) -> str:
    return (
        f"The checkpoint needs {_size(need_bytes)}, {_size(free_bytes)} free: make room, then resume;"
        " the one before is intact."
    )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"


def checkpoints(folder: Path) -> list[Path]:
    """The folders of finished checkpoints, newest first."""
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []


def load_checkpoint(folder: Path) -> tuple[State | None, list[str]]:
    """The newest checkpoint that is whole (None without any), and a sentence for each that was not."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    remarks: list[str] = []
    for path in checkpoints(folder):
        try:
            values = json.loads((path / "state.json").read_text(encoding="utf-8"))
            if (
                values.pop("own_sha256") != _hash_of(values)
                or _sha256(path / "state.safetensors") != values["sha256"]
            ):
                raise ValueError("its hash does not match")
            return State(load_file(path / "state.safetensors"), values), remarks
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            remarks.append(f"Checkpoint {path.name} is damaged ({error}); going back to the one before.")
    return None, remarks


def _hash_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
