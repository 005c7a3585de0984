"""From a snapshot's columns to clipcore's labels: the one place where a verdict becomes training."""

from collections.abc import Mapping, Sequence
from typing import Any

from clipcore.config import LabelsConfig
from clipcore.labels import Label, PairLabels

Columns = Mapping[str, Sequence[Any]]  # of app.media.snapshots.PAIRS or .VERDICTS


def make_labels(
    pairs: Columns, verdicts: Columns, *, config: LabelsConfig, split: str = "train"
) -> PairLabels:
    """The labels of a split; ids are the database's, as text.

    A verdict counts where its image and its caption both stand in a pair of that split: verdicts on held-out
    items measure and do not teach. A written negative stands in no pair: its `no_match` on an image of the split
    counts, for that image only. Images of the same bytes are one item.
    """
    inside = [i for i, found in enumerate(pairs["split"]) if found == split]
    own = [(str(pairs["image_id"][i]), str(pairs["caption_id"][i])) for i in inside]
    images, captions = {image for image, _ in own}, {caption for _, caption in own}
    written = set(written_captions(verdicts))
    labels = [
        _label(image, caption, answer, confidence, config)
        for image, caption, answer, confidence in _said(verdicts)
        if image in images and (caption in captions or (caption in written and answer == "no_match"))
    ]
    groups = {str(pairs["image_id"][i]): pairs["image_sha256"][i] for i in inside}
    return PairLabels(labels=labels, pairs=own, image_groups=groups)


def written_captions(verdicts: Columns) -> dict[str, str]:
    """Caption id → text of the written negatives; empty for a snapshot from before there were any."""
    ids, texts = verdicts["caption_id"], verdicts.get("written", ())
    return {str(id_): text for id_, text in zip(ids, texts) if text is not None}


def _said(verdicts: Columns) -> list[tuple[str, str, Any, float]]:
    columns = zip(
        verdicts["image_id"],
        verdicts["caption_id"],
        verdicts["answer"],
        verdicts["confidence"],
        strict=True,
    )
    return [(str(image), str(caption), answer, confidence) for image, caption, answer, confidence in columns]


def _label(image: str, caption: str, answer: Any, confidence: float, config: LabelsConfig) -> Label:
    return Label(
        image_id=image,
        caption_id=caption,
        verdict=answer,
        treatment=config.match,
        confidence=confidence,
        weight=config.no_match_weight,
        margin=config.no_match_margin,
        visible=config.visible,
    )
