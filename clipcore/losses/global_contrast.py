"""Global contrast for small batches: each item remembers a running mean of its negatives' relative weight.

u_i ← (1 − g) u_i + g · mean_neg e^{z − z⁺}; L = mean_i exp(ℓ⁻_i − z⁺_i − log Σλ − log u_i) · stop-gradient on u.
Source: SogCLR (Yuan et al. 2022, algorithm 1), FastCLIP (Wei et al. 2024). u is kept as log u: u itself
overflows at s = 100. The surrogate's *value* is not the loss: `last_loss` reports InfoNCE's estimate beside it.
Not exact by nature: u is stale for items not in the batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from clipcore.errors import ClipcoreError
from clipcore.logits import Logits, mean_of_directions


class GlobalContrast:
    """Holds log u for `num_images` and `num_captions`; `at` names the items of the next batch."""

    def __init__(self, num_images: int, num_captions: int, *, gamma: float = 0.8):
        if not 0.0 < gamma <= 1.0:
            raise ClipcoreError(f"gamma {gamma} is outside 0 … 1: 1 forgets the past at once.")
        self.gamma = gamma
        self.log_u_images = torch.full((num_images,), -torch.inf, dtype=torch.float64)
        self.log_u_captions = torch.full((num_captions,), -torch.inf, dtype=torch.float64)
        self.last_loss = float("nan")
        self._at: tuple[Tensor, Tensor] | None = None

    def at(self, image_index: Sequence[int], caption_index: Sequence[int]) -> "GlobalContrast":
        """Names the rows and columns of the next batch by their place in the data set."""
        self._at = torch.as_tensor(image_index), torch.as_tensor(caption_index)
        return self

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"images": self.log_u_images, "captions": self.log_u_captions}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Goes on from `state()`."""
        self.log_u_images.copy_(state["images"])
        self.log_u_captions.copy_(state["captions"])

    def __call__(self, logits: Logits) -> Tensor:
        """The surrogate, a scalar whose gradient is the global loss's; u is updated on the way."""
        if self._at is None:
            raise ClipcoreError(
                "Global contrast does not know the batch: call at(images, captions) before the loss."
            )
        row_R, col_C = logits.lse(positives=False)
        count_R, count_C = logits.log_num_negatives
        positive_R, positive_C = logits.positive
        relative_R, relative_C = row_R - positive_R - count_R, col_C - positive_C - count_C
        images, captions = self._at
        u_R = self._update(self.log_u_images, images, relative_R.detach())
        u_C = self._update(self.log_u_captions, captions, relative_C.detach())
        with torch.no_grad():
            self.last_loss = float(mean_of_directions(u_R + count_R, u_C + count_C, logits))
        return mean_of_directions((relative_R - u_R).exp(), (relative_C - u_C).exp(), logits)

    def _update(self, log_u: Tensor, at: Tensor, relative: Tensor) -> Tensor:
        old = log_u[at].to(relative.device, relative.dtype)
        first = torch.isneginf(old)
        gamma = torch.tensor(self.gamma, dtype=relative.dtype, device=relative.device)
        mixed = torch.logaddexp(
            torch.where(first, relative, old + torch.log1p(-gamma)), relative + gamma.log()
        )
        new = torch.where(first, relative, mixed)
        log_u[at] = new.to(log_u.device, log_u.dtype)
        return new
