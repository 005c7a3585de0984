"""What a picture shows, without its margins: the figure before a plain ground.

The same drawing or product on another ground, larger, or moved aside has other pixels and often another place among a weak
model's vectors, but the same figure. S pairs of pictures, N pictures.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
SIDE = 6  # squares a side: coarse, so that a rotation of some degrees hardly shows (8 was a little worse, 16 much)
BYTES = SIDE * SIDE * 3
STEP = 12  # of 255: what differs more from the ground is figure
PLAIN = 0.9  # of the border's pixels: from here on it is one ground


def figure(picture: Any) -> Bytes:
    """The figure [108] of an RGB PIL image: margins cut away, the ground made white, 6 × 6 squares of colour.

    A picture without plain ground (a photograph) is its own figure.
    """
    from PIL import Image

    pixels = np.asarray(picture.resize((64, 64), Image.Resampling.BOX), dtype=np.float32)
    border = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    ground = np.median(border, axis=0)
    if (np.abs(border - ground).max(axis=1) <= STEP).mean() >= PLAIN:
        is_figure = np.abs(pixels - ground).max(axis=2) > STEP
        if is_figure.any():
            rows, columns = (np.flatnonzero(is_figure.any(axis=side)) for side in (1, 0))
            pixels = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        pixels = pixels * (255 / np.maximum(ground, 128))
    whole = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8).ravel()


def distance(figure_NB: Bytes, first_S: Ints, second_S: Ints) -> NDArray[np.float64]:
    """Root mean square difference of colour [S], 0 … 255."""
    parts = [np.zeros(0)]
    for at in range(0, len(first_S), 65_536):
        a, b = (figure_NB[x[at : at + 65_536]].astype(np.float32) for x in (first_S, second_S))
        parts.append(np.sqrt(((a - b) ** 2).mean(axis=1)).astype(np.float64))
    return np.concatenate(parts)
