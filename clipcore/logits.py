"""What a loss head sees of a batch's logits: O(N + L) numbers, never the matrix.

R rows (images), C columns (captions), L listed entries, K further negatives met by their owner only.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from clipcore.labels import Overlay
from clipcore.lse import Listed, dual_logsumexp, listed_products, softplus_sum


@dataclass(frozen=True)
class Further:
    """Appended negatives that only their owner meets.

    `embedding_KD` are captions (owners are rows) or images (owners are columns); `owner_K` says whose they are.
    """

    embedding_KD: Tensor
    owner_K: Tensor
    log_lambda_K: Tensor
    margin_K: Tensor


def segment_logsumexp(value_L: Tensor, segment_L: Tensor, num_segments: int) -> Tensor:
    """log Σ e^value over each segment [num_segments]; −inf (without gradient) where a segment is empty."""
    top = torch.full((num_segments,), -torch.inf, dtype=value_L.dtype, device=value_L.device)
    top = top.scatter_reduce(0, segment_L, value_L.detach(), "amax")
    shift = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
    total = torch.zeros_like(shift).index_add(0, segment_L, (value_L - shift[segment_L]).exp())
    empty = total <= 0
    return torch.where(empty, -torch.inf, torch.where(empty, 1.0, total).log() + shift)


def logaddexp(a: Tensor, b: Tensor) -> Tensor:
    """log(e^a + e^b); where both are −inf the result is −inf and no gradient flows (torch's own gives nan)."""
    both = torch.isneginf(a) & torch.isneginf(b)
    safe_a = torch.where(both, 0.0, a)
    return torch.where(both, -torch.inf, torch.logaddexp(safe_a, b))


class Logits:
    """One batch: z_rc = s·⟨x_r, y_c⟩ + b, the overlay's listed entries, and the two N² reductions on demand."""

    def __init__(
        self,
        x_RD: Tensor,
        y_CD: Tensor,
        *,
        scale: Tensor,
        bias: Tensor | None = None,
        overlay: Overlay | None = None,
        further_captions: Further | None = None,
        further_images: Further | None = None,
    ):
        self.x_RD, self.y_CD, self.scale, self.bias = x_RD, y_CD, scale, bias
        self.num_rows, self.num_cols = len(x_RD), len(y_CD)
        self.further_captions, self.further_images = further_captions, further_images
        overlay = overlay if overlay is not None else Overlay.own_pairs(len(x_RD))
        self.dtype = torch.float64 if x_RD.dtype == torch.float64 else torch.float32
        device = x_RD.device
        self.row_L = torch.as_tensor(overlay.row, device=device)
        self.col_L = torch.as_tensor(overlay.col, device=device)
        self.log_lambda_i2t_L = torch.as_tensor(overlay.log_lambda_i2t, dtype=self.dtype, device=device)
        self.log_lambda_t2i_L = torch.as_tensor(overlay.log_lambda_t2i, dtype=self.dtype, device=device)
        self.target_L = torch.as_tensor(overlay.target, dtype=self.dtype, device=device)
        self.margin_L = torch.as_tensor(overlay.margin, dtype=self.dtype, device=device)
        self.listed = Listed(self.row_L, self.col_L)
        self._products_L: Tensor | None = None

    @cached_property
    def z_L(self) -> Tensor:
        """The listed logits, without weight or margin."""
        if self._products_L is None:
            self._products_L = listed_products(self.x_RD, self.y_CD, self.listed)
        z_L = self.scale * self._products_L
        return z_L if self.bias is None else z_L + self.bias

    def further_z(self, further: Further, owners_ND: Tensor) -> Tensor:
        """The raw logits [K] of appended negatives against their owners."""
        each_K = torch.arange(len(further.owner_K), device=further.owner_K.device)
        z_K = self.scale * listed_products(owners_ND, further.embedding_KD, Listed(further.owner_K, each_K))
        return z_K if self.bias is None else z_K + self.bias

    @cached_property
    def unlisted_lse(self) -> tuple[Tensor, Tensor]:
        """D1 over everything that is not listed: [R], [C]."""
        return self._sweep(1.0)

    def _sweep(self, gamma: float) -> tuple[Tensor, Tensor]:
        """D1 of γz; the first sweep also brings the listed products."""
        bias = None if self.bias is None else gamma * self.bias
        row_R, col_C, products_L = dual_logsumexp(self.x_RD, self.y_CD, gamma * self.scale, bias, self.listed)
        self._products_L = products_L if self._products_L is None else self._products_L
        return row_R, col_C

    def lse(self, *, gamma: float = 1.0, positives: bool = True) -> tuple[Tensor, Tensor]:
        """log Σ λ·e^{γz + s·margin} over rows [R] and columns [C]; without `positives`, entries with a target are out."""
        row_R, col_C = self.unlisted_lse if gamma == 1.0 else self._sweep(gamma)
        keep = torch.ones_like(self.target_L, dtype=torch.bool) if positives else self.target_L == 0
        weighted = gamma * self.z_L + self.scale * self.margin_L
        row_L, col_L = self.row_L[keep], self.col_L[keep]
        i2t = (weighted + self.log_lambda_i2t_L)[keep]
        t2i = (weighted + self.log_lambda_t2i_L)[keep]
        row_R = logaddexp(row_R, segment_logsumexp(i2t, row_L, self.num_rows))
        col_C = logaddexp(col_C, segment_logsumexp(t2i, col_L, self.num_cols))
        return self._with_further(row_R, col_C, gamma)

    def _with_further(self, row_R: Tensor, col_C: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
        for further, owners, is_caption in (
            (self.further_captions, self.x_RD, True),
            (self.further_images, self.y_CD, False),
        ):
            if further is None or len(further.owner_K) == 0:
                continue
            z_K = (
                gamma * self.further_z(further, owners) + self.scale * further.margin_K + further.log_lambda_K
            )
            if is_caption:
                row_R = logaddexp(row_R, segment_logsumexp(z_K, further.owner_K, self.num_rows))
            else:
                col_C = logaddexp(col_C, segment_logsumexp(z_K, further.owner_K, self.num_cols))
        return row_R, col_C

    @cached_property
    def log_num_negatives(self) -> tuple[Tensor, Tensor]:
        """log Σ λ over each row's [R] and column's [C] negatives (N − 1 without labels)."""
        return self._log_count(
            self.row_L, self.log_lambda_i2t_L, self.num_rows, self.num_cols, self.further_captions
        ), (
            self._log_count(
                self.col_L, self.log_lambda_t2i_L, self.num_cols, self.num_rows, self.further_images
            )
        )

    def _log_count(
        self, at_L: Tensor, log_lambda_L: Tensor, size: int, across: int, further: Further | None
    ) -> Tensor:
        listed = torch.zeros(size, dtype=self.dtype, device=at_L.device)
        listed = listed.index_add(0, at_L, torch.ones_like(self.target_L))
        negative = torch.where(self.target_L == 0, log_lambda_L.exp(), 0.0)
        count = (across - listed).index_add(0, at_L, negative)
        if further is not None:
            count = count.index_add(0, further.owner_K, further.log_lambda_K.exp())
        return count.log()

    @cached_property
    def targets(self) -> tuple[Tensor, Tensor]:
        """The listed targets [L], normalised to sum to 1 over each row, and over each column."""
        row_sum = torch.zeros(self.num_rows, dtype=self.dtype, device=self.row_L.device)
        col_sum = torch.zeros(self.num_cols, dtype=self.dtype, device=self.row_L.device)
        row_sum = row_sum.index_add(0, self.row_L, self.target_L)
        col_sum = col_sum.index_add(0, self.col_L, self.target_L)
        tiny = torch.finfo(self.dtype).tiny
        by_row = self.target_L / row_sum.clamp_min(tiny)[self.row_L]
        return by_row, self.target_L / col_sum.clamp_min(tiny)[self.col_L]

    @cached_property
    def positive(self) -> tuple[Tensor, Tensor]:
        """Σ p·z with the raw z: the positive's logit of each row [R] and column [C]."""
        by_row, by_col = self.targets
        row = torch.zeros(self.num_rows, dtype=self.dtype, device=self.row_L.device)
        col = torch.zeros(self.num_cols, dtype=self.dtype, device=self.row_L.device)
        return row.index_add(0, self.row_L, by_row * self.z_L), col.index_add(
            0, self.col_L, by_col * self.z_L
        )

    @cached_property
    def has_positive(self) -> tuple[Tensor, Tensor]:
        """Which rows [R] and columns [C] have a target at all; the others only serve as negatives."""
        row = torch.zeros(self.num_rows, dtype=self.dtype, device=self.row_L.device)
        col = torch.zeros(self.num_cols, dtype=self.dtype, device=self.row_L.device)
        return row.index_add(0, self.row_L, self.target_L) > 0, col.index_add(
            0, self.col_L, self.target_L
        ) > 0

    def unlisted_softplus(self) -> Tensor:
        """D2 over everything that is not listed, a scalar."""
        total, products_L = softplus_sum(self.x_RD, self.y_CD, self.scale, self.bias, self.listed)
        self._products_L = products_L if self._products_L is None else self._products_L
        return total


def mean_of_directions(row_R: Tensor, col_C: Tensor, logits: Logits) -> Tensor:
    """½ (mean over rows + mean over columns), over those that have a positive."""
    has_row, has_col = logits.has_positive
    row = torch.where(has_row, row_R, torch.zeros_like(row_R)).sum() / has_row.sum().clamp_min(1)
    col = torch.where(has_col, col_C, torch.zeros_like(col_C)).sum() / has_col.sum().clamp_min(1)
    return (row + col) / 2
