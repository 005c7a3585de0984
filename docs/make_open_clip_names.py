"""Writes app/api/open_clip_names.json, the list that the model picker offers: the web process has no open_clip to ask.

python docs/make_open_clip_names.py
"""

import json
from pathlib import Path

import open_clip

TARGET = Path(__file__).parents[1] / "app" / "api" / "open_clip_names.json"


def names() -> dict[str, list[str]]:
    """Architecture → tags of its weights."""
    found: dict[str, list[str]] = {}
    for architecture, tag in open_clip.list_pretrained():
        found.setdefault(architecture, []).append(tag)
    return found


if __name__ == "__main__":
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(tags)}" for name, tags in names().items())
    TARGET.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
