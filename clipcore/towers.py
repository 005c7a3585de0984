"""Towers: the only file that imports open_clip. Loading by its names, embedding, and saving what it can load."""

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipcore.config import ModelConfig
from clipcore.errors import ClipcoreError

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl"}
TRUNCATED_CHUNK = 4096  # captions tokenised at once: 5 MB


@dataclass
class Towers:
    """An open_clip model with its transform and tokeniser."""

    model: Any
    transform: Any
    train_transform: Any
    tokenizer: Any
    model_config: dict[str, Any]

    def images(self, pixels: Tensor) -> Tensor:
        """Normalised embeddings [m, D] of transformed pictures [m, 3, H, W]."""
        embedding: Tensor = self.model.encode_image(pixels.to(self.dtype), normalize=True)
        return embedding

    def captions(self, tokens: Tensor) -> Tensor:
        """Normalised embeddings [m, D] of token ids [m, context]."""
        embedding: Tensor = self.model.encode_text(tokens, normalize=True)
        return embedding

    def tokens(self, captions: Sequence[str]) -> Tensor:
        """Token ids [len(captions), context]; longer captions are cut at the context length."""
        ids: Tensor = self.tokenizer(list(captions))
        return ids

    def compile(self) -> None:
        """torch.compile in place; names of weights stay as they are."""
        self.model.visual.compile()
        getattr(self.model, "text", getattr(self.model, "transformer", self.model)).compile()

    @property
    def dtype(self) -> torch.dtype:
        """float32, or float64 where a run asks for it."""
        return self.model.logit_scale.dtype  # type: ignore[no-any-return]

    @property
    def context_length(self) -> int:
        """How many tokens a caption may have, start and end marks included."""
        return int(self.model.context_length)


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA, then Apple's MPS, then the CPU."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def load_towers(config: ModelConfig, *, device: torch.device | None = None) -> Towers:
    """Loads by open_clip's own names (`name` + `pretrained`, hf-hub:…, local-dir:…) or a safetensors file.

    Raises ClipcoreError, one sentence with the remedy, when it cannot: unknown name, no weights, no network, a pickle.
    """
    import open_clip

    _refuse_pickles(config)
    has_schema = ":" in config.name
    try:
        with _quiet():
            model, train_transform, transform = open_clip.create_model_and_transforms(
                config.name,
                pretrained=None if has_schema or config.from_scratch else config.pretrained or None,
                load_weights=not config.from_scratch,
                device=device or torch.device("cpu"),
            )
            tokenizer = open_clip.get_tokenizer(config.name)
    except Exception as error:  # open_clip raises anything from KeyError to HTTPError; the cause goes on
        raise ClipcoreError(
            f"The model {config.name!r} {config.pretrained!r} cannot be loaded ({_first_line(error)}): use a name of "
            "open_clip.list_pretrained(), hf-hub:ORGANISATION/NAME with a network or a filled cache, or local-dir:FOLDER."
        ) from error
    if not (has_schema or config.pretrained or config.from_scratch):
        raise ClipcoreError(
            f"{config.name!r} has no weights: give `pretrained`, or say from_scratch to start at random."
        )
    model_config = open_clip.get_model_config(config.name)
    return Towers(model, transform, train_transform, tokenizer, model_config)


def truncated(towers: Towers, captions: Sequence[str]) -> int:
    """How many captions are longer than the context and lose their end, for any of open_clip's tokenisers.

    Each is tokenised with one place more: a caption that fits leaves that place empty and all others as they were.
    """
    length = towers.context_length
    empty = int(towers.tokenizer([""], context_length=length + 1)[0, -1])
    found = 0
    for start in range(0, len(captions), TRUNCATED_CHUNK):
        texts = list(captions[start : start + TRUNCATED_CHUNK])
        longer = towers.tokenizer(texts, context_length=length + 1)
        cut = (longer[:, :length] != towers.tokens(texts)).any(dim=1) | (longer[:, length] != empty)
        found += int(cut.sum())
    return found


def save_plain(towers: Towers, folder: Path, *, half: bool = False) -> None:
    """Writes what `open_clip.create_model_and_transforms("local-dir:FOLDER")` loads without us."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().to("cpu").contiguous() for k, v in towers.model.state_dict().items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file({k: v.clone() for k, v in state.items()}, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).chmod(0o644)  # safetensors writes 0600
    visual = towers.model.visual
    preprocess: dict[str, Any] = {"mean": visual.image_mean, "std": visual.image_std}
    for key in ("interpolation", "resize_mode"):
        if key in getattr(visual, "preprocess_cfg", {}):
            preprocess[key] = visual.preprocess_cfg[key]
    text = json.dumps({"model_cfg": towers.model_config, "preprocess_cfg": preprocess}, indent=2)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    if hasattr(towers.tokenizer, "save_pretrained"):  # open_clip looks for it in a local-dir: folder only
        towers.tokenizer.save_pretrained(str(folder))


def freeze_batch_norm(model: torch.nn.Module) -> int:
    """Puts every BatchNorm in evaluation mode (cached and plain steps differ otherwise); returns how many."""
    found = _batch_norms(model)
    for module in found:
        module.eval()
    return len(found)


def num_batch_norms(model: torch.nn.Module) -> int:
    """How many BatchNorm layers training leaves frozen."""
    return len(_batch_norms(model))


def _batch_norms(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]


def _refuse_pickles(config: ModelConfig) -> None:
    """A pickle runs code when it is read."""
    weights = Path(config.pretrained)
    is_file = config.pretrained and weights.is_file()  # open_clip unpickles whatever has another ending
    if weights.suffix in PICKLES or (is_file and weights.suffix != ".safetensors"):
        raise ClipcoreError(
            f"{config.pretrained} is no .safetensors but a pickle, which can run code when it is read: convert it once with "
            "`python -m clipcore.convert FILE NEW.safetensors` and give the new file."
        )
    if config.name.startswith("local-dir:"):
        folder = Path(config.name.removeprefix("local-dir:"))
        if not (folder / CONFIG_FILE).is_file():
            raise ClipcoreError(
                f"{folder} holds no {CONFIG_FILE}: give the folder of an open_clip checkpoint."
            )
        if not config.from_scratch and not list(folder.glob("*.safetensors")):
            raise ClipcoreError(
                f"{folder} holds no .safetensors weights: convert or download them, then try again."
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """open_clip narrates on the root logger."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
