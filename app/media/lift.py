"""Pictures of homes made before one folder level (content_key in store.py) move to where they are looked for now."""

import re
from pathlib import Path

COMPUTED = (
    "images",
    "thumbnails/256",
    "thumbnails/512",
)  # keys that readers compute; all others stand in rows
TWO_DIGITS = re.compile("[0-9a-f]{2}")


def lift_second_level(url: str) -> int:
    """Move KIND/ab/cd/HASH to KIND/ab/HASH in a media folder; returns the number of files. Runs twice without harm."""
    if not url.startswith("file://"):
        return 0  # object stores never had the second level
    root, moved = Path(url.removeprefix("file://")), 0
    for kind in COMPUTED:
        for second in sorted(root.glob(f"{kind}/??/??")):
            if not second.is_dir() or not TWO_DIGITS.fullmatch(second.name):
                continue
            for file in second.iterdir():
                file.replace(second.parent / file.name)
                moved += 1
            second.rmdir()
    return moved
