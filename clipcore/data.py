"""Data: pairs with stable ids, from Python, tables on disk, or the application's snapshots."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipcore.errors import ClipcoreError

if TYPE_CHECKING:
    import torch

IMAGE_COLUMNS = ("filepath", "file_name", "image", "path")
CAPTION_COLUMNS = ("title", "text", "caption")


@dataclass(frozen=True)
class Example:
    """A pair: `image` is a path, encoded bytes, a callable that returns either, or a PIL image."""

    image_id: str
    caption_id: str
    image: Any
    caption: str
    split: str = "train"


@dataclass
class FineTuneData:
    """Pairs to train on, pairs to measure on, and the text of captions that stand in no pair (written negatives).

    `retention` are uncurated pairs on which forgetting is measured (held-out pairs without a verdict when empty);
    `replay` are uncurated pairs mixed into batches on request (training pairs without a verdict when empty).
    """

    train: Sequence[Example]
    held_out: Sequence[Example] = ()
    extra_captions: dict[str, str] = field(default_factory=dict)
    retention: Sequence[Example] = ()
    replay: Sequence[Example] = ()

    @classmethod
    def from_table(cls, path: str | Path, *, root: str | Path | None = None) -> "FineTuneData":
        """Reads TSV, CSV, JSONL or Parquet: an image column (filepath …), a caption column (title …), and, where
        present, image_id, caption_id and split. Image paths are relative to `root` or to the table's folder.

        Ids default to the image's path and to a hash of the caption. Raises ClipcoreError naming the line.
        """
        table = Path(path)
        base = Path(root) if root is not None else table.parent
        examples = [_example(record, base, line) for line, record in enumerate(_records(table), 2)]
        if not examples:
            raise ClipcoreError(
                f"{table} holds no rows: it needs an image and a caption column and one row a pair."
            )
        train = [x for x in examples if x.split != "held_out"]
        return cls(train=train, held_out=[x for x in examples if x.split == "held_out"])


@dataclass(frozen=True)
class Items:
    """Every image and caption of the data once, numbered; pairs as numbers."""

    image_ids: list[str]
    images: list[Any]
    caption_ids: list[str]
    captions: list[str]
    image_number: dict[str, int] = field(repr=False)
    caption_number: dict[str, int] = field(repr=False)


def items(data: FineTuneData) -> Items:
    """Numbers images and captions in order of appearance: train, held-out, retention, replay, extra captions."""
    images: dict[str, Any] = {}
    captions: dict[str, str] = {}
    for example in (*data.train, *data.held_out, *data.retention, *data.replay):
        images.setdefault(example.image_id, example.image)
        captions.setdefault(example.caption_id, example.caption)
    captions = captions | {k: v for k, v in data.extra_captions.items() if k not in captions}
    return Items(
        list(images),
        list(images.values()),
        list(captions),
        list(captions.values()),
        {k: i for i, k in enumerate(images)},
        {k: i for i, k in enumerate(captions)},
    )


def caption_id_of(text: str) -> str:
    """The stable id of a caption that brought none: a hash of its text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _records(table: Path) -> Iterator[dict[str, Any]]:
    if not table.is_file():
        raise ClipcoreError(f"There is no file {table}: give a TSV, CSV, JSONL or Parquet table.")
    if table.suffix == ".parquet":
        import pyarrow.parquet as pq

        yield from pq.read_table(table).to_pylist()
    elif table.suffix == ".jsonl":
        with table.open(encoding="utf-8") as file:
            yield from (json.loads(line) for line in file if line.strip())
    else:
        with table.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            yield from csv.DictReader(file, delimiter="\t" if "\t" in head else ",")


def _example(record: dict[str, Any], base: Path, line: int) -> Example:
    image = next((record[k] for k in IMAGE_COLUMNS if record.get(k)), None)
    caption = next((record[k] for k in CAPTION_COLUMNS if record.get(k)), None)
    if image is None or caption is None:
        raise ClipcoreError(
            f"Line {line} lacks an image or a caption (found {sorted(record)}): name the columns filepath and title."
        )
    return Example(
        image_id=str(record.get("image_id") or image),
        caption_id=str(record.get("caption_id") or caption_id_of(str(caption))),
        image=base / str(image),
        caption=str(caption),
        split=str(record.get("split") or "train"),
    )


def open_image(source: Any) -> Any:
    """The PIL image, RGB, of whatever an Example carries. Raises ClipcoreError naming what cannot be read."""
    from PIL import Image

    if callable(source):
        source = source()
    try:
        if isinstance(source, bytes):
            return Image.open(io.BytesIO(source)).convert("RGB")
        if isinstance(source, str | Path):
            return Image.open(source).convert("RGB")
        return source.convert("RGB")
    except (OSError, ValueError) as error:
        name = source if isinstance(source, str | Path) else "a picture in memory"
        raise ClipcoreError(f"Cannot read {name} ({error}): replace the file or drop the pair.") from None


class PixelSource:
    """Transformed pictures by number; kept in memory while all of them fit `cache_bytes`."""

    def __init__(
        self,
        images: Sequence[Any],
        transform: Callable[[Any], "torch.Tensor"],
        *,
        cache_bytes: float,
        threads: int,
    ):
        self._images, self._transform = images, transform
        self._cache: dict[int, torch.Tensor] = {}
        self._cache_bytes = cache_bytes
        self._pool = ThreadPoolExecutor(max_workers=max(1, threads))

    def pixels(self, numbers: Sequence[int]) -> "torch.Tensor":
        """The pictures of `numbers`, stacked [m, 3, H, W]."""
        import torch

        return torch.stack(list(self._pool.map(self._one, numbers)))

    def _one(self, number: int) -> "torch.Tensor":
        cached = self._cache.get(number)
        if cached is not None:
            return cached
        value: torch.Tensor = self._transform(open_image(self._images[number]))
        if value.nbytes * len(self._images) <= self._cache_bytes:
            self._cache[number] = value
        return value
