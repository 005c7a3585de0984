"""The adapter: one linear map per tower on cached embeddings, merged exactly into the towers' projections.

x = normalise(W·e). Because normalisation is free of scale, W·normalise(h·P) and h·(P·Wᵀ) point the same way, so the
merged checkpoint gives the same embeddings and is a plain open_clip checkpoint.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clipcore.errors import ClipcoreError


class Adapter(nn.Module):
    """Two D × D maps that start as the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.image = nn.Parameter(torch.eye(width))
        self.caption = nn.Parameter(torch.eye(width))

    def images(self, embedding_MD: Tensor) -> Tensor:
        """Adapted, normalised image embeddings [M, D]."""
        return normalize(embedding_MD @ self.image.T, dim=1)

    def captions(self, embedding_MD: Tensor) -> Tensor:
        """Adapted, normalised caption embeddings [M, D]."""
        return normalize(embedding_MD @ self.caption.T, dim=1)


@torch.no_grad()
def merge_adapter(adapter: Adapter, model: nn.Module) -> None:
    """Multiplies the maps into the model's last projections. Raises ClipcoreError where a tower has none."""
    _merge(
        model.visual, ("proj", "head", "attnpool.c_proj", "trunk.head", "head.proj"), adapter.image, "image"
    )
    text = getattr(model, "text", model)
    _merge(text, ("text_projection", "proj", "head"), adapter.caption, "text")


def _merge(tower: object, names: tuple[str, ...], map_DD: Tensor, which: str) -> None:
    for name in names:
        projection = _find(tower, name)
        if isinstance(projection, nn.Sequential):
            projection = projection[-1]
        if isinstance(projection, nn.Linear):
            projection.weight.copy_(map_DD.to(projection.weight) @ projection.weight)
            if projection.bias is not None:
                projection.bias.copy_(map_DD.to(projection.bias) @ projection.bias)
            return
        if isinstance(projection, nn.Parameter):
            projection.copy_(projection @ map_DD.T.to(projection))
            return
    raise ClipcoreError(
        f"The {which} tower ends in no projection that an adapter can be merged into: use LoRA or full."
    )


def _find(tower: object, path: str) -> object:
    found: object = tower
    for name in path.split("."):
        found = getattr(found, name, None)
    return found
