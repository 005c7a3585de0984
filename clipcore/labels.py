"""Labels: what people said about image × caption candidates, and the sparse overlay that a batch gets.

Shapes: R rows (images of a batch), C columns (captions of a batch), L listed entries of the overlay,
K further negatives that only their owner meets. Numpy only; nothing here knows of torch.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipcore.config import LabelsConfig
from clipcore.errors import ClipcoreError

if TYPE_CHECKING:
    from clipcore.data import FineTuneData

Verdict = Literal["match", "no_match", "unsure", "broken_pair"]
Treatment = Literal["mask", "attract", "soft"]
Visible = Literal["owner", "all"]
VERDICTS: tuple[str, ...] = ("match", "no_match", "unsure", "broken_pair")
TREATMENTS: tuple[str, ...] = ("mask", "attract", "soft")
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Label:
    """One verdict on one image and one caption, with what the loss shall make of it.

    `treatment` and `confidence` (0 … 1) concern a match, `weight` (λ), `margin` (in cosine) and `visible` a
    no_match. With treatment "soft" the target is κ·confidence and λ is 1 − confidence.
    """

    image_id: str
    caption_id: str
    verdict: Verdict
    treatment: Treatment = "attract"
    confidence: float = 1.0
    weight: float = 1.0
    margin: float = 0.0
    visible: Visible = "owner"

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ClipcoreError(f"Unknown verdict {self.verdict!r}: use one of {', '.join(VERDICTS)}.")
        if not 0.0 <= self.confidence <= 1.0:
            raise ClipcoreError(f"Confidence {self.confidence} is outside 0 … 1: give a probability.")
        if self.treatment not in TREATMENTS:
            raise ClipcoreError(f"Unknown treatment {self.treatment!r}: use one of {', '.join(TREATMENTS)}.")
        if self.visible not in ("owner", "all"):
            raise ClipcoreError(f"Unknown visibility {self.visible!r}: use owner or all.")
        if self.weight < 0.0:
            raise ClipcoreError(
                f"Weight {self.weight} is negative: 0 masks, 1 is neutral, more pushes harder."
            )


@dataclass(frozen=True)
class Entries:
    """What a relation means for the loss; one number an entry, all of shape [L]."""

    log_lambda_i2t: Floats
    log_lambda_t2i: Floats
    target: Floats
    margin: Floats


@dataclass(frozen=True)
class Overlay:
    """The listed entries of one batch's R × C matrix, sorted by (row, col), each at most once.

    An entry that is not listed has weight 1 and target 0. Targets are normalised per row and per column where
    they are used; the effective log weight is log λ + s·margin, computed there too.
    """

    num_rows: int
    num_cols: int
    row: Ints
    col: Ints
    log_lambda_i2t: Floats
    log_lambda_t2i: Floats
    target: Floats
    margin: Floats

    @classmethod
    def own_pairs(cls, num_rows: int) -> "Overlay":
        """No labels: row i and column i belong together. Relations: CLIP's own loss."""
        diagonal = np.arange(num_rows, dtype=np.int64)
        zero = np.zeros(num_rows)
        return cls(num_rows, num_rows, diagonal, diagonal, zero, zero, np.ones(num_rows), zero)


@dataclass(frozen=True)
class Conflict:
    """Two statements on one candidate that cannot both hold; the candidate is masked until a person settles it."""

    image_id: str
    caption_id: str
    statements: tuple[str, ...]


@dataclass
class PairLabels:
    """Verdicts keyed by stable image and caption ids, joined with the pairs of the data set.

    Identical images and identical captions (`image_groups`, `caption_groups`: id → any hashable that equal items
    share) are one item for every relation: a caption that stands twice is true of both of its images. The
    transitive closure of matches is never taken.
    """

    labels: Sequence[Label] = ()
    pairs: Iterable[tuple[str, str]] = ()
    image_groups: dict[str, Any] = field(default_factory=dict)
    caption_groups: dict[str, Any] = field(default_factory=dict)
    kappa: float = 1.0
    conflicts: list[Conflict] = field(default_factory=list, init=False)
    broken: set[tuple[str, str]] = field(default_factory=set, init=False)

    @classmethod
    def for_data(
        cls,
        data: "FineTuneData",
        labels: Sequence[Label] = (),
        *,
        split: Literal["train", "held_out"] = "train",
        **options: Any,
    ) -> "PairLabels":
        """Labels joined with the pairs of a split of `data`; identical captions and identical images are grouped.

        A label counts where its image and its caption stand in that split, so that nothing held out teaches; a written
        negative stands in no pair and counts with its image.
        """
        from clipcore.identical import identical_captions, identical_images

        own, other = (*data.train, *data.replay), tuple(data.held_out)
        examples, others = (other, own) if split == "held_out" else (own, other)
        images, captions = {x.image_id for x in examples}, {x.caption_id for x in examples}
        elsewhere = {x.caption_id for x in others} - captions
        heard = [
            x
            for x in labels
            if x.image_id in images
            and (x.caption_id in captions or (x.verdict == "no_match" and x.caption_id not in elsewhere))
        ]
        return cls(
            labels=heard,
            pairs=[(x.image_id, x.caption_id) for x in examples],
            image_groups=identical_images(examples),
            caption_groups=identical_captions(examples, data.extra_captions),
            **options,
        )

    def __post_init__(self) -> None:
        self.pairs = list(self.pairs)
        self._image_number: dict[Any, int] = {}
        self._caption_number: dict[Any, int] = {}
        statements = self._collect()
        self._build(statements)

    # -- reading ---------------------------------------------------------------------------------------------

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> "PairLabels":
        """Labels of a verdicts file: JSONL, or CSV/TSV with the columns of `Label` (image_id, caption_id, verdict …).

        Raises ClipcoreError naming the line that cannot be read.
        """
        return cls(labels=read_labels(path), **options)

    @classmethod
    def from_table(cls, table: Any, **options: Any) -> "PairLabels":
        """Labels of anything with `to_dict("records")` (pandas) or `to_pylist()` (pyarrow), or a list of dicts."""
        records = table
        if hasattr(table, "to_pylist"):
            records = table.to_pylist()
        elif hasattr(table, "to_dict"):
            records = table.to_dict("records")
        usual = LabelsConfig()
        found = [_label(record, f"row {i + 1}", usual) for i, record in enumerate(records)]
        return cls(labels=found, **options)

    # -- using -----------------------------------------------------------------------------------------------

    def for_batch(self, image_ids: Sequence[str], caption_ids: Sequence[str]) -> Overlay:
        """The overlay of a batch whose rows are `image_ids` [R] and whose columns are `caption_ids` [C].

        An id may stand in several rows or columns; each occurrence is listed.
        """
        rows_by_image = self._image_numbers(image_ids)
        cols_by_caption = self._caption_numbers(caption_ids)
        row, col, relation = _join(rows_by_image, cols_by_caption, self._first, self._partner)
        entries = self._entries
        return Overlay(
            num_rows=len(image_ids),
            num_cols=len(caption_ids),
            row=row,
            col=col,
            log_lambda_i2t=entries.log_lambda_i2t[relation],
            log_lambda_t2i=entries.log_lambda_t2i[relation],
            target=entries.target[relation],
            margin=entries.margin[relation],
        )

    def hard_captions(self, image_id: str) -> list[Label]:
        """The no_match labels of an image: captions that a batch may append for it, in the order given."""
        return self._hard.get(image_id, [])

    def hard_images(self, caption_id: str) -> list[Label]:
        """The no_match labels of a caption: images that a batch may append for it, in the order given."""
        return self._hard_of_caption.get(caption_id, [])

    def touched(self) -> set[tuple[str, str]]:
        """All (image id, caption id) that a person judged."""
        return {(x.image_id, x.caption_id) for x in self.labels}

    def is_broken(self, image_id: str, caption_id: str) -> bool:
        """Whether a person said that this pair of the data set does not belong together."""
        return (image_id, caption_id) in self.broken

    def counts(self) -> dict[str, int]:
        """How many candidates become what: masks, extra_positives, soft, hard_negatives, broken_pairs, conflicts."""
        return dict(self._counts) | {"broken_pairs": len(self.broken), "conflicts": len(self.conflicts)}

    # -- building --------------------------------------------------------------------------------------------

    def image_group(self, image_id: str) -> Any:
        """What identical images share."""
        return self.image_groups.get(image_id, ("id", image_id))

    def caption_group(self, caption_id: str) -> Any:
        """What identical captions share."""
        return self.caption_groups.get(caption_id, ("id", caption_id))

    def _collect(self) -> dict[tuple[int, int], list[tuple[Label | None, str, str]]]:
        """Every statement (None: a pair of the data set) by the numbers of its groups."""
        self._hard: dict[str, list[Label]] = {}
        self._hard_of_caption: dict[str, list[Label]] = {}
        found: dict[tuple[int, int], list[tuple[Label | None, str, str]]] = {}
        self.broken = {(x.image_id, x.caption_id) for x in self.labels if x.verdict == "broken_pair"}
        own: list[tuple[Label | None, str, str]] = [(None, i, c) for i, c in self.pairs]
        said: list[tuple[Label | None, str, str]] = [(x, x.image_id, x.caption_id) for x in self.labels]
        for label, image_id, caption_id in own + said:
            key = (
                self._image_number.setdefault(self.image_group(image_id), len(self._image_number)),
                self._caption_number.setdefault(self.caption_group(caption_id), len(self._caption_number)),
            )
            if label is None and (image_id, caption_id) in self.broken:
                continue
            found.setdefault(key, []).append((label, image_id, caption_id))
            if label is not None and label.verdict == "no_match":
                self._hard.setdefault(image_id, []).append(label)
                self._hard_of_caption.setdefault(caption_id, []).append(label)
        return found

    def _build(self, found: dict[tuple[int, int], list[tuple[Label | None, str, str]]]) -> None:
        counts = {"masks": 0, "extra_positives": 0, "soft": 0, "hard_negatives": 0}
        keys: list[tuple[int, int]] = []
        values: list[tuple[float, float, float]] = []  # log λ, target, margin
        for key, statements in sorted(found.items()):
            meaning = self._meaning(statements, counts)
            if meaning is not None:
                keys.append(key)
                values.append(meaning)
        table = np.array(values, dtype=np.float64).reshape(-1, 3)
        numbers = np.array(keys, dtype=np.int64).reshape(-1, 2)
        self._entries = Entries(table[:, 0], table[:, 0], table[:, 1], table[:, 2])
        self._partner = numbers[:, 1]
        self._first = np.searchsorted(numbers[:, 0], np.arange(len(self._image_number) + 1))
        self._counts = counts

    def _meaning(
        self, statements: list[tuple[Label | None, str, str]], counts: dict[str, int]
    ) -> tuple[float, float, float] | None:
        """(log λ, target, margin) of one candidate, or None where nothing is to be listed."""
        own = any(label is None for label, _, _ in statements)
        labels = [label for label, _, _ in statements if label is not None and label.verdict != "broken_pair"]
        kinds = {label.verdict for label in labels} | ({"match"} if own else set())
        if not kinds:
            return None
        if "no_match" in kinds and "match" in kinds:
            _, image_id, caption_id = statements[-1]
            said = tuple(sorted("pair of the data set" if x is None else x.verdict for x, _, _ in statements))
            self.conflicts.append(Conflict(image_id, caption_id, said))
            return -np.inf, 0.0, 0.0
        if own:
            return 0.0, 1.0, 0.0
        label = labels[-1]
        if "unsure" in kinds or (label.verdict == "match" and label.treatment == "mask"):
            counts["masks"] += 1
            return -np.inf, 0.0, 0.0
        if label.verdict == "no_match":
            counts["hard_negatives"] += 1
            return float(np.log(label.weight)) if label.weight > 0 else -np.inf, 0.0, label.margin
        if label.treatment == "soft" and label.confidence < 1.0:
            counts["soft"] += 1
            return float(np.log1p(-label.confidence)), self.kappa * label.confidence, 0.0
        counts["extra_positives"] += 1
        return 0.0, 1.0, 0.0

    def _image_numbers(self, ids: Sequence[str]) -> Ints:
        numbers = self._image_number
        return np.fromiter((numbers.get(self.image_group(i), -1) for i in ids), np.int64, len(ids))

    def _caption_numbers(self, ids: Sequence[str]) -> Ints:
        numbers = self._caption_number
        return np.fromiter((numbers.get(self.caption_group(c), -1) for c in ids), np.int64, len(ids))


def _join(row_image: Ints, col_caption: Ints, first: Ints, partner: Ints) -> tuple[Ints, Ints, Ints]:
    """All (row, column, relation) whose relation links the row's image and the column's caption, sorted."""
    known = np.flatnonzero(row_image >= 0)
    start, stop = first[row_image[known]], first[row_image[known] + 1]
    row = np.repeat(known, stop - start)
    relation = _ranges(start, stop)
    order = np.argsort(col_caption, kind="stable")
    ordered = col_caption[order]
    wanted = partner[relation]
    low, high = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
    row, relation = np.repeat(row, high - low), np.repeat(relation, high - low)
    col = order[_ranges(low, high)]
    by_place = np.lexsort((col, row))
    return row[by_place], col[by_place].astype(np.int64), relation[by_place]


def _ranges(start: Ints, stop: Ints) -> Ints:
    """arange(start[0], stop[0]), arange(start[1], stop[1]), … as one array."""
    length = stop - start
    if length.sum() == 0:
        return np.zeros(0, dtype=np.int64)
    shift = np.repeat(start - np.concatenate(([0], np.cumsum(length)[:-1])), length)
    return shift + np.arange(length.sum())


def read_labels(file: str | Path, config: LabelsConfig | None = None) -> list[Label]:
    """The labels of a JSONL, CSV or TSV file. Raises ClipcoreError naming the file or the line.

    A line that leaves treatment, weight, margin or visibility open takes the configuration's.
    """
    usual = config or LabelsConfig()
    return [_label(record, where, usual) for where, record in _records(Path(file))]


def read_captions(file: str | Path) -> dict[str, str]:
    """Caption id → text of the lines that carry a `caption`: the words of written negatives, which stand in no pair."""
    found = [record for _, record in _records(Path(file))]
    return {str(x["caption_id"]): x["caption"] for x in found if x.get("caption_id") and x.get("caption")}


def _records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, record) of each line."""
    if not path.is_file():
        raise ClipcoreError(f"There is no file {path}: give a JSONL, CSV or TSV file of labels.")
    if path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").splitlines()
        yield from ((f"line {i}", _json(text, i)) for i, text in enumerate(lines, 1) if text.strip())
        return
    with path.open(encoding="utf-8-sig", newline="") as text_file:
        reader = csv.DictReader(text_file, delimiter="\t" if path.suffix == ".tsv" else ",")
        yield from ((f"line {i}", record) for i, record in enumerate(reader, 2))


def _json(text: str, line: int) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise ClipcoreError(f"Line {line} is not JSON ({error.msg}): write one object a line.") from None
    if not isinstance(record, dict):
        raise ClipcoreError(f"Line {line} holds no JSON object: write one object a line.")
    return record


def _label(record: dict[str, Any], where: str, usual: LabelsConfig) -> Label:
    missing = [key for key in ("image_id", "caption_id", "verdict") if not record.get(key)]
    if missing:
        raise ClipcoreError(
            f"{where} lacks {', '.join(missing)}: every label needs image_id, caption_id, verdict."
        )
    options: dict[str, Any] = {"treatment": usual.match, "visible": usual.visible}
    options |= {"weight": usual.no_match_weight, "margin": usual.no_match_margin}
    options |= {key: record[key] for key in ("treatment", "visible") if record.get(key)}
    try:
        options |= {
            k: float(record[k]) for k in ("confidence", "weight", "margin") if record.get(k) not in (None, "")
        }
        return Label(str(record["image_id"]), str(record["caption_id"]), record["verdict"], **options)
    except (ValueError, TypeError) as error:
        raise ClipcoreError(f"{where}: {error}") from None
