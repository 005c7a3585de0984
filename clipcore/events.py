"""What `fine_tune` yields, and the queries that it watches."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Probe:
    """A query to watch: a text, or an image of the data by its id."""

    id: str
    text: str | None = None
    image_id: str | None = None


@dataclass(frozen=True)
class Started:
    """Preparation is over. `resumed_from` is the step of the checkpoint, 0 on a fresh start."""

    total_steps: int
    resumed_from: int
    remarks: list[str]


@dataclass(frozen=True)
class Preparing:
    """Embeddings that are computed once: `done` of `total` items."""

    done: int
    total: int


@dataclass(frozen=True)
class StepDone:
    """One optimiser step; rates over this session, times in seconds."""

    step: int
    total_steps: int
    epoch: int
    loss: float
    parts: dict[str, float]
    lr: float
    logit_scale: float
    pairs_per_s: float
    eta_s: float


@dataclass(frozen=True)
class EpochDone:
    """`coverage`: the share of curated negatives that met their image in this epoch, in a batch or appended."""

    epoch: int
    coverage: float


@dataclass(frozen=True)
class Evaluated:
    """Held-out metrics; `when` is before, during or after.

    `retention_*` are measured on pairs that no verdict touches; `retention_change` is against the base model.
    `gallery_loss` is InfoNCE over the whole gallery, in nats. `histograms` count cosines in `evaluate.HISTOGRAM_EDGES`.
    `queries` are the single queries behind map_at_r, before and after: what an interval of a difference needs.
    """

    step: int
    when: str
    metrics: dict[str, float]
    histograms: dict[str, list[int]] = field(default_factory=dict)
    queries: "QueryScores | None" = None


@dataclass(frozen=True)
class SimilaritiesSeen:
    """Between evaluations, with the previews: `histograms` as in `Evaluated`."""

    step: int
    histograms: dict[str, list[int]]


@dataclass(frozen=True)
class QueryScores:
    """The average precision at R of each query, images first, then captions; aligned lists.

    `cluster` numbers the connected components of "is true of": queries of one component are not independent.
    """

    ids: list[str]  # "image:ID" and "caption:ID"
    map_at_r: list[float]
    cluster: list[int]


@dataclass(frozen=True)
class Relation:
    """What the labels say about a cell: own, positive, masked, hard, or appended (a negative that only its row meets)."""

    row: int
    col: int
    kind: str


@dataclass(frozen=True)
class BatchSeen:
    """A look into one batch: cosines of its images (rows) and captions (columns; appended negatives come last)."""

    step: int
    image_ids: list[str]
    caption_ids: list[str]
    cosine: list[list[float]]
    relations: list[Relation]


@dataclass(frozen=True)
class Previewed:
    """A probe's results at a step: ids of the held-out gallery, best first, and their cosines."""

    step: int
    probe_id: str
    result_ids: list[str]
    scores: list[float]


@dataclass(frozen=True)
class Mix:
    """Metrics of base + `share` · (tuned − base), in weights (WiSE-FT, Wortsman et al. 2022)."""

    share: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class Swept:
    """The interpolation sweep; `recommended` is the best mix by the named metric that forgets at most one point."""

    step: int
    mixes: list[Mix]
    recommended: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint to resume from."""

    step: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """The end. `stopped` names why it ended early ("" when it ran through); `checkpoint` is a plain open_clip folder.

    `best_step` is the step whose weights were exported: the last, or the best by the named metric.
    """

    step: int
    stopped: str
    checkpoint: Path | None
    best_step: int = 0


Event = (
    Started
    | Preparing
    | StepDone
    | EpochDone
    | Evaluated
    | SimilaritiesSeen
    | BatchSeen
    | Previewed
    | Swept
    | Saved
    | Finished
)
