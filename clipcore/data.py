"""Data: pairs with stable ids, from Python, tables on disk, shards, or the application's snapshots."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipcore.example import Example
from clipcore.shards import read_shards
from clipcore.tables import read_table


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
        """Reads TSV, CSV, JSONL or Parquet: an image column (filepath, file_name, image, path), a caption column
        (title, text, caption, captions), and, where present, image_id, caption_id and split (train, held_out; val
        and test are held out). Image paths are relative to `root` or to the table's folder.

        An image may stand in several rows; in JSON and Parquet a caption may be a list. A pair that stands twice is
        used once. Ids default to the image's path and to a hash of the caption. Raises ClipcoreError naming the line,
        or how many pictures are missing.
        """
        table = Path(path)
        return cls._split(read_table(table, Path(root) if root is not None else table.parent))

    @classmethod
    def from_webdataset(
        cls,
        urls: str | Sequence[str],
        *,
        held_out: str | Sequence[str] = (),
        shard_in_id: bool = False,
    ) -> "FineTuneData":
        """Indexes WebDataset shards: plain tar files, `{000..009}` and `*` in their names, on disk or any fsspec URL.

        One pass reads the tar headers and captions (.txt; .json with caption, and where present image_id and split);
        nothing is extracted, pictures are read at their offset when a step needs them. Ids are the sample's `__key__`
        and a hash of the caption; `shard_in_id` puts the shard's name before keys that start anew in each shard.
        `held_out` are shards to measure on. Raises ClipcoreError naming a shard that is cut off or no tar.
        """
        data = cls._split(read_shards(urls, shard_in_id=shard_in_id))
        if held_out:
            data.held_out = [*data.held_out, *read_shards(held_out, shard_in_id=shard_in_id)]
        return data

    @classmethod
    def _split(cls, examples: Sequence[Example]) -> "FineTuneData":
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
