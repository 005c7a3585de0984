"""What learns: whole towers, or an adapter on cached embeddings. The loop in finetune.py sees only this.

I images, C captions of the data (numbers), M micro-batch, D embedding.
"""

import contextlib
import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from clipcore.adapter import Adapter, merge_adapter
from clipcore.config import FineTuneConfig
from clipcore.embedding_cache import EmbeddingCache
from clipcore.errors import ClipcoreError
from clipcore.lora import add_lora, merge_lora
from clipcore.pictures import Pictures
from clipcore.pixels import PixelSource
from clipcore.towers import Towers, freeze_batch_norm, save_plain

EMBED_BATCH = 256


@dataclass(frozen=True)
class Embeddings:
    """Normalised vectors of all images [I, D] and captions [C, D] of the data, in its order."""

    image_ID: Tensor
    caption_CD: Tensor


class Learner(Protocol):
    """One kind of fine-tuning: which parameters learn, and how items become embeddings with a graph."""

    parameters: dict[str, nn.Parameter]
    towers: Towers
    device: torch.device

    def images(self, numbers: Sequence[int]) -> Tensor: ...
    def captions(self, numbers: Sequence[int]) -> Tensor: ...
    def plan(self, steps: Iterable[tuple[int, Sequence[int]]]) -> None: ...
    def begin_step(self, epoch: int) -> None: ...
    def train(self, mode: bool) -> None: ...
    def merge(self) -> None: ...
    def close(self) -> None: ...


class Source:
    """All images and captions of the data by number, as the towers want them.

    With a `cache_folder`, embeddings of a tower that does not learn are kept there; `image_ids` name pictures in errors.
    """

    def __init__(
        self,
        towers: Towers,
        images: Sequence[Any],
        captions: Sequence[str],
        config: FineTuneConfig,
        *,
        cache_folder: str | Path | None = None,
        image_ids: Sequence[str] = (),
    ):
        self.pictures = Pictures(
            images,
            towers.transform,
            augment=towers.train_transform if config.batch.augment else None,
            seed=config.seed,
            names=image_ids,
        )
        self.pixels = PixelSource(
            self.pictures,
            cache_bytes=0.25 * config.batch.memory_gb * 1e9,
            workers=config.batch.workers,
        )
        self.tokens = towers.tokens(captions) if captions else torch.zeros(0, dtype=torch.long)
        self.num_images, self.num_captions = len(images), len(captions)
        self.cache = EmbeddingCache(cache_folder) if cache_folder is not None else None


def embed_images(
    towers: Towers, source: Source, numbers: Sequence[int], device: torch.device
) -> Iterator[Tensor]:
    """Embeddings of `numbers` under the plain transform, in chunks, on the CPU; the towers go into evaluation mode.

    Found in the source's cache, they come as one chunk.
    """
    computed = _embedded_images(towers, source, numbers, device)
    if source.cache is None:
        return computed
    return source.cache.images(towers, source.pictures, numbers, computed)


def embed_captions(
    towers: Towers, source: Source, numbers: Sequence[int], device: torch.device
) -> Iterator[Tensor]:
    """Embeddings of `numbers` in chunks, on the CPU; the towers go into evaluation mode.

    Found in the source's cache, they come as one chunk.
    """
    computed = _embedded_captions(towers, source, numbers, device)
    if source.cache is None:
        return computed
    return source.cache.captions(towers, source.tokens[list(numbers)], computed)


@torch.no_grad()
def _embedded_images(
    towers: Towers, source: Source, numbers: Sequence[int], device: torch.device
) -> Iterator[Tensor]:
    towers.model.eval()
    for pixels in source.pixels.stream(numbers, EMBED_BATCH):
        yield towers.images(pixels.to(device)).to(towers.dtype).cpu()


@torch.no_grad()
def _embedded_captions(
    towers: Towers, source: Source, numbers: Sequence[int], device: torch.device
) -> Iterator[Tensor]:
    towers.model.eval()
    for i in range(0, len(numbers), EMBED_BATCH):
        tokens = source.tokens[list(numbers[i : i + EMBED_BATCH])]
        yield towers.captions(tokens.to(device)).to(towers.dtype).cpu()


class AdapterLearner:
    """Linear maps on embeddings that were computed once."""

    def __init__(self, towers: Towers, embeddings: Embeddings, device: torch.device):
        self.towers, self.device = towers, device
        dtype = towers.dtype
        self._image_ID = embeddings.image_ID.to(device, dtype)
        self._caption_CD = embeddings.caption_CD.to(device, dtype)
        self.adapter = Adapter(self._image_ID.shape[1]).to(device, dtype)
        self.parameters = {"adapter.image": self.adapter.image, "adapter.caption": self.adapter.caption}

    def images(self, numbers: Sequence[int]) -> Tensor:
        return self.adapter.images(self._image_ID[torch.as_tensor(numbers, device=self.device)])

    def captions(self, numbers: Sequence[int]) -> Tensor:
        return self.adapter.captions(self._caption_CD[torch.as_tensor(numbers, device=self.device)])

    def plan(self, steps: Iterable[tuple[int, Sequence[int]]]) -> None:
        """No pictures are needed any more."""

    def begin_step(self, epoch: int) -> None:
        self.train(True)

    def train(self, mode: bool) -> None:
        self.adapter.train(mode)

    def close(self) -> None:
        """Nothing is open."""

    def merge(self) -> None:
        merge_adapter(self.adapter, self.towers.model)


class TowerLearner:
    """The towers themselves: all weights, LoRA, the last blocks, or one tower with the other locked.

    A locked image tower ignores augmentation: its embeddings are computed once, of the plain pictures.
    """

    def __init__(self, towers: Towers, source: Source, config: FineTuneConfig, device: torch.device):
        self.towers, self.source, self.device, self.config = towers, source, device, config
        towers.model.to(device)
        if config.batch.grad_checkpointing:
            towers.model.set_grad_checkpointing(True)
        if config.batch.compile:
            towers.compile()
        self.parameters = trainable(towers.model, config)
        image_learns = any(name.startswith("visual.") for name in self.parameters)
        text_learns = any(not name.startswith("visual.") and "logit_" not in name for name in self.parameters)
        self._training = False
        if config.batch.augment and not image_learns:
            logging.getLogger(__name__).warning("The image tower is locked: augment has no effect.")
        self._locked_images: Tensor | None = None
        self._locked_captions: Tensor | None = None
        self._learns = image_learns, text_learns

    def prepare(self) -> Iterator[tuple[int, int]]:
        """Embeds the items of a locked tower, once: in evaluation mode it gives the same vector every time.

        Call it, and run through the (done, total) items that it yields, before the first step.
        """
        image_learns, text_learns = self._learns
        if not image_learns:
            self._locked_images = yield from self._embedded(embed_images, self.source.num_images)
        if not text_learns:
            self._locked_captions = yield from self._embedded(embed_captions, self.source.num_captions)

    def _embedded(self, embed: Any, count: int) -> Generator[tuple[int, int], None, Tensor]:
        parts: list[Tensor] = []
        for part in embed(self.towers, self.source, range(count), self.device):
            parts.append(part)
            yield sum(map(len, parts)), count
        return torch.cat(parts).to(self.device)

    def images(self, numbers: Sequence[int]) -> Tensor:
        if self._locked_images is not None:
            return self._locked_images[torch.as_tensor(numbers, device=self.device)]
        with self._precision():
            pixels = self.source.pixels.pixels(numbers, training=self._training)
            return self.towers.images(pixels.to(self.device)).to(self.towers.dtype)

    def captions(self, numbers: Sequence[int]) -> Tensor:
        if self._locked_captions is not None:
            return self._locked_captions[torch.as_tensor(numbers, device=self.device)]
        with self._precision():
            return self.towers.captions(self.source.tokens[list(numbers)].to(self.device)).to(
                self.towers.dtype
            )

    def plan(self, steps: Iterable[tuple[int, Sequence[int]]]) -> None:
        """The (epoch, image numbers in the order of use) of each step to come, so that pictures are decoded ahead."""
        if self._locked_images is None:
            self.source.pixels.plan(steps)

    def begin_step(self, epoch: int) -> None:
        """The next planned step begins, in training mode; `epoch` seeds its augmentation."""
        self.train(True)
        if self._locked_images is None:
            self.source.pixels.begin_step(epoch)

    def train(self, mode: bool) -> None:
        self._training = mode
        self.towers.model.train(mode)
        if mode:
            freeze_batch_norm(self.towers.model)

    def merge(self) -> None:
        if self.config.model.train == "lora":
            merge_lora(self.towers.model)

    def close(self) -> None:
        """Ends the processes that decode pictures."""
        self.source.pixels.close()

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()


def trainable(model: nn.Module, config: FineTuneConfig) -> dict[str, nn.Parameter]:
    """The parameters that learn under `config.model.train`, by name; all others are frozen. Scalars always learn."""
    kind = config.model.train
    if kind == "lora":
        add_lora(model, rank=config.model.lora_rank, alpha=config.model.lora_alpha)
    else:
        chosen = {id(p) for p in _chosen(model, kind, config.model.last_blocks)}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in chosen)
    for name in ("logit_scale", "logit_bias"):
        if getattr(model, name, None) is not None:
            getattr(model, name).requires_grad_(True)
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _chosen(model: nn.Module, kind: str, last_blocks: int) -> Iterator[nn.Parameter]:
    visual = list(model.visual.parameters())  # type: ignore[union-attr]
    inside = {id(p) for p in visual}
    text = [p for p in model.parameters() if id(p) not in inside]
    if kind == "all":
        yield from (*visual, *text)
    elif kind == "image_tower":
        yield from visual
    elif kind == "text_tower":
        yield from text
    elif kind == "last_blocks":
        for tower in (model.visual, getattr(model, "text", model)):
            transformer = getattr(tower, "transformer", None)
            blocks = getattr(transformer, "resblocks", None)
            if blocks is None:
                raise ClipcoreError(
                    "This architecture has no list of blocks: train all weights or LoRA instead."
                )
            for block in list(blocks)[-last_blocks:]:
                yield from block.parameters()
            for name in ("proj", "text_projection"):
                if isinstance(getattr(tower, name, None), nn.Parameter):
                    yield getattr(tower, name)


def export(learner: Learner, folder: Path, *, half: bool = False) -> None:
    """Merges what was learned into the towers and writes a plain open_clip checkpoint."""
    learner.merge()
    save_plain(learner.towers, folder, half=half)
