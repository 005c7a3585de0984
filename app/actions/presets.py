"""The presets of clipcore with the words and the few fields that a form shows."""

from dataclasses import asdict, dataclass
from typing import Any

from clipcore.config import PRESETS, preset

TITLES = {
    "adapter": ("Quick adapter", "One linear map per tower on kept embeddings: seconds, even on a laptop."),
    "lora": ("LoRA", "Small low-rank changes in every block: less memory, keeps what the model knows."),
    "full": ("Full", "All weights learn: the most to gain, and the slowest."),
    "siglip": ("SigLIP", "All weights with the pairwise sigmoid loss: even with small batches."),
    "scratch": ("From scratch", "The architecture with random weights: for data of its own kind."),
}
FIELDS = {
    "epochs": "Epochs",
    "batch.size": "Batch size (pairs that meet each other)",
    "optimiser.lr": "Learning rate at the peak",
    "optimiser.warmup": "Warm-up (fraction of all steps)",
    "labels.match": "A “Yes” becomes",
    "labels.no_match_weight": "Weight of a hard negative",
    "labels.no_match_margin": "Margin of a hard negative (cosine)",
    "seed": "Seed",
}
CHOICES = {"labels.match": ["attract", "mask", "soft"]}


@dataclass(frozen=True)
class Field:
    """One value of the configuration; `path` is its place in the YAML."""

    path: str
    label: str
    value: Any
    choices: list[str] | None


@dataclass(frozen=True)
class PresetView:
    """A card of the form."""

    name: str
    title: str
    what: str
    overrides: dict[str, Any]
    fields: list[Field]


def list_presets() -> list[PresetView]:
    """All presets, the quickest first."""
    return [_view(name) for name in TITLES if name in PRESETS]


def _view(name: str) -> PresetView:
    title, what = TITLES[name]
    values = asdict(preset(name))
    fields = [Field(path, label, _at(values, path), CHOICES.get(path)) for path, label in FIELDS.items()]
    return PresetView(name=name, title=title, what=what, overrides=PRESETS[name], fields=fields)


def _at(values: dict[str, Any], path: str) -> Any:
    for part in path.split("."):
        values = values[part]
    return values
