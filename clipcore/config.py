"""The training configuration: the same frozen object from the form to the kernel, YAML in between. No torch here."""

from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from clipcore.errors import ClipcoreError

Train = Literal["adapter", "all", "lora", "last_blocks", "image_tower", "text_tower"]
Treatment = Literal["mask", "attract", "soft"]
Visible = Literal["owner", "all"]
Precision = Literal["fp32", "bf16", "fp64"]
Use = Literal["given", "none", "sham"]
HEAD_NAMES = (
    "info_nce", "decoupled", "hn_nce", "debiased", "hard_debiased", "sigmoid", "hinge", "global_contrast",
)  # fmt: skip


@dataclass(frozen=True)
class ModelConfig:
    """Where training starts. `name` in open_clip's spelling: an architecture, hf-hub:…, local-dir:…"""

    name: str = "ViT-B-32"
    pretrained: str = ""  # open_clip's tag or a file; empty with hf-hub: and local-dir:
    train: Train = "all"  # which weights learn
    last_blocks: int = 2  # with train="last_blocks": how many of each tower
    lora_rank: int = 8
    lora_alpha: float = 16.0
    from_scratch: bool = False  # ignore the weights, keep the architecture


@dataclass(frozen=True)
class LabelsConfig:
    """What verdicts become."""

    match: Treatment = "attract"
    no_match_weight: float = 1.0  # λ of a hard negative; 1 is neutral
    no_match_margin: float = 0.0  # in cosine
    hard_negatives_per_row: int = 4  # curated wrong captions appended for each image of a batch
    hard_images_per_caption: int = (
        0  # curated wrong images appended for each caption; each costs an image pass
    )
    visible: Visible = "owner"  # who meets an appended negative: its owner, or the whole batch as in NegCLIP
    use: Use = "given"  # "none" and "sham" (as many on random candidates) are the controls of a comparison


@dataclass(frozen=True)
class LossConfig:
    """`heads` maps a head's name to its weight; `options` maps a head's name to its keyword arguments."""

    heads: dict[str, float] = field(default_factory=lambda: {"info_nce": 1.0})
    options: dict[str, dict[str, float]] = field(default_factory=dict)
    calibrate_bias: bool = True  # with a sigmoid head: start the bias from this batch size and these cosines


@dataclass(frozen=True)
class OptimiserConfig:
    """AdamW. Learning rate at the peak; weight decay on matrices only."""

    lr: float = 1e-5
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    eps: float = 1e-6
    clip_norm: float = 1.0  # 0 switches it off
    layer_decay: float = 1.0  # 1 switches it off; 0.8 makes each lower block learn at 0.8 of the one above
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.1  # fraction of all steps
    ema: float = 0.0  # decay of the running mean of the weights, which is then measured and exported; 0: off


@dataclass(frozen=True)
class BatchConfig:
    """Size of the contrastive batch and how it is computed."""

    size: int = 256
    micro_batch: int = 64  # pairs that pass a tower at once
    num_resident: int = -1  # micro-batches that keep their graph; −1 keeps all while they fit `memory_gb`
    memory_gb: float = 4.0
    together: float = 0.25  # share of a batch that brings hard negatives together (at most 0.5)
    workers: int = 0  # processes that decode pictures ahead of the step; 0: two threads
    replay: float = 0.0  # share of each batch drawn from uncurated pairs, on top of the epoch
    grad_checkpointing: bool = (
        False  # compute a tower's blocks again in the backward pass: less memory, a third more time
    )
    compile: bool = False  # torch.compile the towers: pays on long runs on a GPU
    augment: bool = (
        False  # train on open_clip's augmented pictures; locked towers and evaluation see plain ones
    )


@dataclass(frozen=True)
class EvaluationConfig:
    """When and on what is measured."""

    every_epochs: int = 0  # 0: before and after only
    metric: str = "map_at_r"  # larger is better: what "best" means
    keep: Literal["last", "best"] = "last"  # which weights are exported
    patience: int = 0  # evaluations without a better metric before the run ends early; 0: never
    sweep: int = (
        0  # at the end, measure that many mixes of base and tuned weights (WiSE-FT), both ends included
    )
    export_mix: Literal["tuned", "recommended"] = "tuned"  # which mix is exported
    previews: int = 5  # how many times the probes are shown, start and end included
    top_k: int = 12  # results a preview keeps


@dataclass(frozen=True)
class FineTuneConfig:
    """Everything that decides a run beside its data and labels."""

    model: ModelConfig = field(default_factory=ModelConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    epochs: int = 1
    max_steps: int = 0  # 0: as many as the epochs give
    seed: int = 0
    precision: Precision = "fp32"
    device: str = "auto"
    save_every_s: float = 30.0  # seconds between checkpoints

    def to_yaml(self) -> str:
        """The configuration as YAML; `from_yaml` reads back an equal object."""
        return yaml.safe_dump(asdict(self), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> "FineTuneConfig":
        """Reads YAML; what is absent keeps its default. Raises ClipcoreError naming a key that does not exist."""
        try:
            values = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise ClipcoreError(f"The configuration is not YAML: {error}") from None
        return from_dict(cls, values)

    def with_values(self, values: dict[str, Any]) -> "FineTuneConfig":
        """A copy with some values replaced, nested as in the YAML: {"optimiser": {"lr": 1e-4}}."""
        return _merge(self, values, "")


def from_dict(kind: Any, values: Any, where: str = "") -> Any:
    """Builds a configuration dataclass from nested dictionaries."""
    if not isinstance(values, dict):
        raise ClipcoreError(f"{where or 'The configuration'} is {values!r}: it must map names to values.")
    return _merge(kind(), values, where)


def _merge(current: Any, values: dict[str, Any], where: str) -> Any:
    hints = get_type_hints(type(current))
    known = {f.name for f in fields(current)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ClipcoreError(f"Unknown key {where}{unknown[0]!r}: use one of {', '.join(sorted(known))}.")
    changed = {}
    for name, value in values.items():
        old = getattr(current, name)
        if is_dataclass(old):
            if not isinstance(value, dict):
                raise ClipcoreError(f"{where}{name} is {value!r}: it must map names to values.")
            changed[name] = _merge(old, value, f"{where}{name}.")
        else:
            changed[name] = _checked(value, hints[name], f"{where}{name}")
    return replace(current, **changed)


def _checked(value: Any, hint: Any, where: str) -> Any:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ClipcoreError(f"{where} is {value!r}: use one of {', '.join(map(repr, get_args(hint)))}.")
        return value
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            raise ClipcoreError(f"{where} is {value!r}: it must be a number.") from None
    expected = get_origin(hint) or hint
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise ClipcoreError(f"{where} is {value!r}: it must be of type {expected.__name__}.")
    return value


PRESETS: dict[str, dict[str, Any]] = {
    "adapter": {
        "model": {"train": "adapter"},
        "optimiser": {"lr": 3e-3, "weight_decay": 0.0, "warmup": 0.05},
        "batch": {"size": 512, "micro_batch": 4096},
        "evaluation": {"sweep": 6, "export_mix": "recommended"},
        "epochs": 30,
    },
    "lora": {
        "model": {"train": "lora"},
        "optimiser": {"lr": 2e-3, "weight_decay": 0.0},
        "evaluation": {"sweep": 5, "export_mix": "recommended"},
        "epochs": 3,
    },
    "full": {
        "model": {"train": "all"},
        "optimiser": {"lr": 1e-5},
        "evaluation": {"sweep": 5},
        "epochs": 1,
    },
    "siglip": {"model": {"train": "all"}, "loss": {"heads": {"sigmoid": 1.0}}, "optimiser": {"lr": 1e-5}},
    "scratch": {
        "model": {"train": "all", "from_scratch": True},
        "optimiser": {"lr": 1e-3},
        "epochs": 6,
    },
}


def preset(name: str) -> FineTuneConfig:
    """The configuration of that name: adapter, lora, full, siglip or scratch."""
    if name not in PRESETS:
        raise ClipcoreError(f"Unknown preset {name!r}: use one of {', '.join(PRESETS)}.")
    return FineTuneConfig().with_values(PRESETS[name])
