"""The images that a lasso of the map has sent to the desk, as requests name them.

They are too many for an address, so that some routes which only look are POST.
"""

from typing import Annotated

from pydantic import BaseModel, Field

from app.api.access import MAX_ID

MAX_SLICE = 10_000  # images


class ImageSlice(BaseModel):
    """Ids of the images that is asked about (null: all)."""

    image_ids: list[Annotated[int, Field(ge=1, le=MAX_ID)]] | None = Field(default=None, max_length=MAX_SLICE)
