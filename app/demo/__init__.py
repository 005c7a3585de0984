"""The demo data set: OpenMoji drawings with their Unicode names, and a small base model trained on them."""

from pathlib import Path

ATTRIBUTION = (
    "All drawings designed by OpenMoji (openmoji.org), the open-source emoji and icon project. "
    "Licence: CC BY-SA 4.0. Rasterised by Nearmiss; captions from the Unicode CLDR short names."
)
LICENCE = "CC BY-SA 4.0"
NAME = "OpenMoji"
BASE_MODEL = Path(__file__).parent / "openmoji-tiny"
"""A plain open_clip folder, derived from the drawings and under the same licence (see its README)."""
