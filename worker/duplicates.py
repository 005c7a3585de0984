"""Keeps the groups of near duplicates that mining sees, for the page."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from app.actions.duplicates import keep_groups
from clipcore.mining.duplicates import caption_groups, image_groups


def duplicates_of(
    image_ids: Sequence[int],
    hashes: Sequence[str],
    prints: Any,
    caption_ids: Sequence[int],
    captions: Sequence[str],
) -> tuple[list[list[int]], list[list[int]]]:
    """(groups of image ids, groups of caption ids) with more than one member each."""
    return _members(image_ids, image_groups(hashes, prints)), _members(caption_ids, caption_groups(captions))


def write_duplicates(
    session: Session, data_set_id: int, images: list[list[int]], captions: list[list[int]]
) -> None:
    """In one transaction."""
    keep_groups(session, data_set_id, kind="image", groups=images)
    keep_groups(session, data_set_id, kind="caption", groups=captions)


def _members(ids: Sequence[int], leaders: Any) -> list[list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for id_, leader in zip(ids, leaders, strict=True):
        groups[int(leader)].append(int(id_))
    return [members for members in groups.values() if len(members) > 1]
