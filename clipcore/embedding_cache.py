"""Embeddings of towers that do not learn, on disk: computed once per tower weights, transform and content.

A file is named by the hash of everything that decides it and written under another name first, so it is whole or
absent; one that was damaged later is computed again. Nothing is ever deleted here: the folder is the caller's.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipcore.pictures import Pictures, content_of
from clipcore.towers import Towers


class EmbeddingCache:
    """A folder of safetensors files, one a (tower, items) pair; several processes may use it at once."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def images(
        self, towers: Towers, pictures: Pictures, numbers: Sequence[int], computed: Iterator[Tensor]
    ) -> Iterator[Tensor]:
        """The embeddings of these pictures: the kept ones in one chunk, else `computed` chunk by chunk, then kept."""
        key = _tower_hash(towers, visual=True)
        key.update(re.sub(r" at 0x[0-9a-f]+", "", repr(pictures.transform)).encode())
        for number in numbers:
            key.update(hashlib.sha256(content_of(pictures.images[number])).digest())
        return self._kept_or_computed(key.hexdigest(), len(numbers), computed)

    def captions(self, towers: Towers, tokens: Tensor, computed: Iterator[Tensor]) -> Iterator[Tensor]:
        """The same for captions, which their token ids [C, context] stand for."""
        key = _tower_hash(towers, visual=False)
        key.update(str(tuple(tokens.shape)).encode())
        key.update(tokens.contiguous().numpy().tobytes())
        return self._kept_or_computed(key.hexdigest(), len(tokens), computed)

    def _kept_or_computed(self, key: str, count: int, computed: Iterator[Tensor]) -> Iterator[Tensor]:
        path = self.folder / f"{key}.safetensors"
        kept = _read(path)
        if kept is not None and len(kept) == count:
            yield kept
            return
        parts = []
        for part in computed:
            parts.append(part)
            yield part
        if parts:
            _write(path, torch.cat(parts))


def _tower_hash(towers: Towers, *, visual: bool) -> Any:
    """A hash begun with everything of a tower that decides its embeddings: architecture, weights, their type."""
    key = hashlib.sha256(json.dumps([visual, towers.model_config], sort_keys=True, default=str).encode())
    for name, value in sorted(towers.model.state_dict().items()):
        if name.startswith("visual.") != visual or name in ("logit_scale", "logit_bias"):
            continue
        key.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        key.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return key


def _read(path: Path) -> Tensor | None:
    """The kept embeddings [N, D]; None when there are none, or when what lies there is damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            value: Tensor = file.get_tensor("embedding")
            if file.metadata()["sha256"] == _sha256(value):
                return value
    except (OSError, SafetensorError, KeyError, TypeError):
        pass
    logging.getLogger(__name__).warning("%s is damaged and will be computed again.", path)
    return None


def _write(path: Path, value: Tensor) -> None:
    """A full disk costs the next run its time, not this one its life."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    partial = path.with_name(f".{path.stem}-{os.getpid()}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"embedding": value.contiguous()}, partial, metadata={"sha256": _sha256(value)})
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        logging.getLogger(__name__).warning("The embeddings were not kept in %s (%s).", path.parent, error)


def _sha256(value: Tensor) -> str:
    return hashlib.sha256(value.contiguous().reshape(-1).view(torch.uint8).numpy().data).hexdigest()
