"""The presets of clipcore with the words and the fields that a form shows."""

from dataclasses import asdict, dataclass
from typing import Any, get_args

from clipcore.config import HEAD_NAMES, PRESETS, Precision, Train, Treatment, Use, Visible, preset

TITLES = {
    "adapter": ("Quick adapter", "One linear map per tower on kept embeddings: seconds, even on a laptop."),
    "lora": ("LoRA", "Small low-rank changes in every block: less memory, keeps what the model knows."),
    "full": (
        "Full",
        "All weights learn: the slowest. Gentle, for large pretrained models; small ones want a higher rate.",
    ),
    "siglip": (
        "SigLIP",
        "All weights with the sigmoid loss: for models trained with it. Others lose at first.",
    ),
    "scratch": ("From scratch", "The architecture with random weights: for data of its own kind."),
}
# section → (path in the YAML, words, hint)
SECTIONS: dict[str, list[tuple[str, str, str]]] = {
    "What verdicts become": [
        ("labels.match", "A “Yes” becomes", "attract: one more positive; mask: left alone; soft: by its confidence"),
        ("labels.no_match_weight", "Weight of a hard negative", "1 is neutral, more pushes harder, 0 masks"),
        ("labels.no_match_margin", "Margin of a hard negative", "in cosine; 0 switches it off"),
        ("labels.hard_negatives_per_row", "Hard negatives appended per image", "each costs a caption's pass"),
        ("labels.hard_images_per_caption", "Hard images appended per caption", "each costs an image's pass"),
        ("labels.visible", "An appended negative is met by", "owner: its image only; all: the whole batch (NegCLIP)"),
        ("labels.use", "Labels that the loss gets", "none and sham are the controls of a comparison"),
    ],
    "Loss": [
        ("loss.heads", "Loss", "several heads with weights: in the YAML"),
        ("batch.together", "Share of a batch that brings hard negatives together", "0 to 0.5"),
        ("batch.replay", "Share of a batch replayed from pairs nobody judged", "against forgetting; 0 to 0.5"),
    ],
    "Budget": [
        ("epochs", "Epochs", ""),
        ("max_steps", "Most steps", "0: as many as the epochs give"),
        ("batch.size", "Batch size", "pairs that meet each other"),
        ("batch.micro_batch", "Micro-batch", "pairs that pass a tower at once; memory, not the result"),
        ("optimiser.lr", "Learning rate at the peak", ""),
        ("optimiser.warmup", "Warm-up", "fraction of all steps"),
        ("optimiser.weight_decay", "Weight decay", ""),
        ("optimiser.ema", "Running mean of the weights", "its decay; 0: off"),
        ("precision", "Precision", ""),
        ("seed", "Seed", ""),
    ],
    "Weights": [
        ("model.train", "What learns", ""),
        ("model.lora_rank", "LoRA's rank", ""),
        ("model.last_blocks", "How many last blocks", "where those learn"),
    ],
    "Measuring": [
        ("evaluation.every_epochs", "Measure every … epochs", "0: before and after only"),
        ("evaluation.previews", "Previews", "how often the probes are shown, start and end included"),
        ("evaluation.keep", "Weights to keep", "best: by mAP@R, where it is measured on the way"),
        ("evaluation.patience", "Stop early after … measurements without gain", "0: never"),
        ("evaluation.sweep", "Mixes of base and tuned to measure", "0: none"),
        ("evaluation.export_mix", "Mix to export", ""),
    ],
}  # fmt: skip
CHOICES: dict[str, tuple[str, ...]] = {
    "labels.match": get_args(Treatment),
    "labels.visible": get_args(Visible),
    "labels.use": get_args(Use),
    "loss.heads": HEAD_NAMES,
    "model.train": get_args(Train),
    "precision": get_args(Precision),
    "evaluation.keep": ("last", "best"),
    "evaluation.export_mix": ("tuned", "recommended"),
}


@dataclass(frozen=True)
class Field:
    """One value of the configuration; `path` is its place in the YAML."""

    section: str
    path: str
    label: str
    hint: str
    value: Any
    choices: list[str] | None
    whole: bool  # a whole number


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
    fields = [
        _field(values, section, *row)
        for section, rows in SECTIONS.items()
        for row in rows
        if not (name == "adapter" and row[0] in ADAPTER_HAS_NO)
    ]
    return PresetView(name=name, title=title, what=what, overrides=PRESETS[name], fields=fields)


ADAPTER_HAS_NO = {"model.lora_rank", "model.last_blocks", "batch.micro_batch", "precision"}


def _field(values: dict[str, Any], section: str, path: str, label: str, hint: str) -> Field:
    value: Any = values
    for part in path.split("."):
        value = value[part]
    if path == "loss.heads":
        value = next(iter(value))
    choices = CHOICES.get(path)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return Field(section, path, label, hint, value, list(choices) if choices else None, whole)
