"""A folder to import: drawings with a table of captions."""

import csv
from pathlib import Path

from app.demo.openmoji import drawings, rasterise


def draw(folder: Path, num: int) -> None:
    """`num` pictures of 64 pixels and metadata.csv; the last fifth is held out."""
    folder.mkdir()
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "text", "split"])
        for number, drawing in enumerate(drawings()[:num]):
            (folder / drawing.key).write_bytes(rasterise(drawing, image_px=64))
            table.writerow([drawing.key, drawing.caption, "held_out" if number >= num * 4 // 5 else "train"])
