"""What every reader yields."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class Row:
    """One pair as its source has it. `key` names the image within the source and stays the same at re-import."""

    key: str
    image: Path | bytes
    caption: str
    split: Split = "train"
    where: str = ""  # "line 12", for messages
    place: int | None = None  # its row among embeddings that the source brings


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be imported; the others are.

    A re-import keeps what stands under `key`, and retires nothing where something could not be read (`unread`).
    """

    where: str
    reason: str  # one sentence with the remedy
    key: str = ""  # its picture, where it is known
    unread: bool = False  # nobody knows what stood there
