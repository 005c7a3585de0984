"""Embeddings that a source brings become the data set's own, so that mining needs no towers."""

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.actions.add_model import add_model
from app.media.vectors import put_vectors
from app.sources.vectors import Kept
from app.store.models import DataSet
from worker.context import JobContext
from worker.embed import remember


class Places:
    """For each row its place among the embeddings and the ids of its image and caption, 24 bytes a row."""

    def __init__(self) -> None:
        self._numbers = array("q")

    def add(self, rows: Iterable[tuple[int | None, int, int]]) -> None:
        """(place, image id, caption id) of each row; a row without a place is left out."""
        for place, image_id, caption_id in rows:
            if place is not None:
                self._numbers.extend((place, image_id, caption_id))

    def first(self, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(ids ascending, the first place of each): side 0 images, 1 captions."""
        table = np.frombuffer(self._numbers, dtype=np.int64).reshape(-1, 3)
        ids, at = np.unique(table[:, 1 + side], return_index=True)
        return ids, table[at, 0]


def keep_vectors(
    context: JobContext, data_set_id: int, vectors: Kept, places: Places, model_id: int | None
) -> int:
    """Keeps the vectors under the model that made them, or under one that has only vectors; its id."""
    keys, nums = [], []
    for side in (0, 1):
        ids, at = places.first(side)
        keys.append(put_vectors(context.media, ids, vectors.take(side, at)))
        nums.append(len(ids))
    found: list[int] = []

    def write(session: Session) -> None:
        chosen = model_id or _model_without_towers(session, data_set_id)
        remember(session, data_set_id, chosen, (keys[0], keys[1]), nums[0], nums[1])
        found.append(chosen)

    context.database_write(write)
    return found[-1]


def _model_without_towers(session: Session, data_set_id: int) -> int:
    name = session.get_one(DataSet, data_set_id).name
    model = add_model(
        session,
        name=f"{name[:180]}: its embeddings",
        location=f"vectors:{data_set_id}",
    )
    return model.id
