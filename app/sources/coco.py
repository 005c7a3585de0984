"""COCO captions JSON (`images`, `annotations`), and Karpathy's (`images` with `sentences`)."""

import json
from pathlib import Path
from typing import Any

from app.errors import NearmissError
from app.sources.records import Columns, Rows, rows_of
from app.sources.rows import Rejected

MAX_BYTES = 1 << 30  # the file is read whole; COCO's own has 90 MB
COLUMNS = Columns("image", ("captions",))


def read_coco(path: Path) -> tuple[Rows, int]:
    """Rows and the number of images. Raises NearmissError when the file is something else."""
    if path.stat().st_size > MAX_BYTES:
        raise NearmissError(f"{path.name} has more than {MAX_BYTES:,} bytes; write it as JSON lines")
    try:
        body = json.loads(path.read_bytes())
        images = list(body["images"])
        captions = _captions(body.get("annotations") or [])
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise NearmissError(
            f"{path.name} is no COCO captions file ({str(error)[:80]}); it needs `images` and `annotations`"
        ) from None
    return _rows(path, images, captions), len(images)


def _captions(annotations: list[dict[str, Any]]) -> dict[Any, list[str]]:
    found: dict[Any, list[str]] = {}
    for one in annotations:
        if isinstance(one.get("caption"), str):
            found.setdefault(one.get("image_id"), []).append(one["caption"])
    return found


def _rows(path: Path, images: list[Any], captions: dict[Any, list[str]]) -> Rows:
    roots = _roots(path)
    for number, image in enumerate(images, 1):
        where = f"image {number}"
        if not isinstance(image, dict) or not isinstance(
            image.get("file_name") or image.get("filename"), str
        ):
            yield Rejected(where, "it has no file_name; add it")
            continue
        name = str(image.get("file_name") or Path(str(image.get("filepath") or "")) / str(image["filename"]))
        said = image.get("sentences")
        own = [s.get("raw") for s in said if isinstance(s, dict)] if isinstance(said, list) else []
        record = {
            "image": name,
            "captions": own + captions.get(image.get("id"), []),
            "split": image.get("split"),
        }
        safe = "\0" not in name and len(name) < 1000
        root = next((r for r in roots if safe and (r / name).is_file()), path.parent)
        yield from rows_of(record, COLUMNS, root=root, where=where)


def _roots(path: Path) -> list[Path]:
    """Where COCO's pictures lie: beside the file, or in `train2017` beside the folder `annotations`."""
    split = path.stem.rpartition("_")[2]
    return [root / name for root in (path.parent, path.parent.parent) for name in ("", split, "images")]
