"""The two operations of a contrastive loss that cost N²; every head is ordinary autograd over what they return.

D1 `dual_logsumexp`: log Σ e^z over every row and every column. D2 `softplus_sum`: Σ softplus(z).
z_rc = s·⟨x_r, y_c⟩ + b. Both leave out the listed entries of the overlay *inside the tile* (heads add those back
one by one: subtracting afterwards loses every digit at s = 100), hold one tile at a time, and recompute it in the
backward sweep: O(N·D) memory, 2N²D forward and 6N²D backward FLOPs, no N² matrix at any time. With several processes
each sweeps its share of the rows, and the sums go over the ranks.

Shapes: R rows (images), C columns (captions), D embedding, T tile. Accumulation is float32 (float64 for float64).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clipcore.distributed import logsumexp_over_ranks, share, sum_over_ranks

TILE_ROWS = 512  # measured on 2 cores, D = 512: 512 × 1024 floats stay in the L2 cache beside the operands
TILE_COLS = 1024
LISTED_PART = 4096  # listed entries gathered at once: 8 MB at D = 512
CUDA_TILE = 8192  # 256 MB of float32: large enough to keep a GPU's matrix units busy

# A tile is exponentiated once, relative to its rows. Its columns reuse those numbers unless so much underflowed
# that a column's sum could be wrong by more than 1e-7; then the tile is exponentiated again for the columns.
SMALLEST_COLUMN_SUM = 1e-28
LARGEST_SHIFT = 60.0


@dataclass(frozen=True)
class Listed:
    """Listed entries grouped by row tile: `row`, `col` [L] on the device, sorted by row; `row_cpu` for slicing."""

    row_L: Tensor
    col_L: Tensor


def dual_logsumexp(
    x_RD: Tensor, y_CD: Tensor, scale: Tensor, bias: Tensor | None, listed: Listed
) -> tuple[Tensor, Tensor, Tensor]:
    """log Σ_c e^z_rc [R] and log Σ_r e^z_rc [C] over the entries that are not listed (−inf where none is left).

    And ⟨x_r, y_c⟩ [L] of those that are: here, so that one gradient buffer a side serves both. Gradients reach x, y,
    scale and bias. Exact to rounding for any scale: maxima are subtracted inside each tile.
    """
    return _DualLogSumExp.apply(x_RD, y_CD, scale, bias, listed.row_L, listed.col_L)  # type: ignore[no-any-return]


def softplus_sum(
    x_RD: Tensor, y_CD: Tensor, scale: Tensor, bias: Tensor | None, listed: Listed
) -> tuple[Tensor, Tensor]:
    """Σ softplus(z_rc) over the entries that are not listed, a scalar; and ⟨x_r, y_c⟩ [L] of those that are."""
    return _SoftplusSum.apply(x_RD, y_CD, scale, bias, listed.row_L, listed.col_L)  # type: ignore[no-any-return]


def listed_products(x_RD: Tensor, y_CD: Tensor, listed: Listed) -> Tensor:
    """⟨x_r, y_c⟩ [L] of listed entries alone; the gathered rows are not kept."""
    return _ListedProducts.apply(x_RD, y_CD, listed.row_L, listed.col_L)  # type: ignore[no-any-return]


def _tiles(x_RD: Tensor, y_CD: Tensor, row_L: Tensor, col_L: Tensor) -> Any:
    """(rows, cols, listed row, listed col) of each tile of this rank's rows; listed places are relative to the tile."""
    own, num_cols = share(len(x_RD)), len(y_CD)
    high, wide = (CUDA_TILE, CUDA_TILE) if x_RD.is_cuda else (TILE_ROWS, TILE_COLS)
    tops = [*range(own.start, own.stop, high), own.stop]
    bounds = torch.searchsorted(row_L, torch.tensor(tops, device=row_L.device)).tolist()
    for i, (top, bottom) in enumerate(zip(tops, tops[1:])):
        r_l, c_l = row_L[bounds[i] : bounds[i + 1]] - top, col_L[bounds[i] : bounds[i + 1]]
        for left in range(0, num_cols, wide):
            inside = (c_l >= left) & (c_l < left + wide)
            yield slice(top, bottom), slice(left, left + wide), r_l[inside], c_l[inside] - left


def _accumulator(x_RD: Tensor) -> torch.dtype:
    return torch.float64 if x_RD.dtype == torch.float64 else torch.float32


class _Operands:
    """x scaled once, y, and one tile's buffer, all in the accumulator's type."""

    def __init__(self, x_RD: Tensor, y_CD: Tensor, scale: Tensor, bias: Tensor | None):
        dtype = _accumulator(x_RD)
        self.x_RD, self.y_CD = x_RD.detach().to(dtype), y_CD.detach().to(dtype)
        self.scale = float(scale.detach())
        self.bias = 0.0 if bias is None else float(bias.detach())
        high, wide = (CUDA_TILE, CUDA_TILE) if x_RD.is_cuda else (TILE_ROWS, TILE_COLS)
        size = min(high, len(x_RD)) * min(wide, len(y_CD))
        self.buffers = [torch.empty(size, dtype=dtype, device=x_RD.device) for _ in range(2)]

    def view(self, which: int, high: int, wide: int) -> Tensor:
        return self.buffers[which][: high * wide].view(high, wide)

    def tile(self, rows: slice, cols: slice, shift_R: Tensor | None, which: int = 0) -> Tensor:
        """z − shift for one tile, in place of the buffer `which`."""
        x, y = self.x_RD[rows], self.y_CD[cols]
        z = self.view(which, len(x), len(y))
        torch.mm(x, y.T, out=z)
        z.mul_(self.scale)
        offset = self.bias - shift_R[:, None] if shift_R is not None else self.bias
        return z.add_(offset)


def _finite(shift: Tensor) -> Tensor:
    """−inf (an empty row so far) shifts by nothing."""
    return torch.where(torch.isfinite(shift), shift, torch.zeros_like(shift))


class _DualLogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_RD, y_CD, scale, bias, row_L, col_L):  # type: ignore[no-untyped-def]
        operands = _Operands(x_RD, y_CD, scale, bias)
        dtype, device = operands.x_RD.dtype, x_RD.device
        row_lse = torch.full((len(x_RD),), -torch.inf, dtype=dtype, device=device)
        col_lse = torch.full((len(y_CD),), -torch.inf, dtype=dtype, device=device)
        for rows, cols, r_l, c_l in _tiles(x_RD, y_CD, row_L, col_L):
            z = operands.tile(rows, cols, None)
            z[r_l, c_l] = -torch.inf
            a_R = _finite(z.amax(dim=1))
            e = torch.sub(z, a_R[:, None], out=operands.view(1, *z.shape)).exp_()
            row_lse[rows] = torch.logaddexp(row_lse[rows], e.sum(dim=1).log_().add_(a_R))
            n = a_R.max()
            sum_C = torch.mv(e.T, (a_R - n).exp_())
            if float(sum_C.min()) < SMALLEST_COLUMN_SUM:
                col = torch.logsumexp(z, dim=0)
            else:
                col = sum_C.log_().add_(n)
            col_lse[cols] = torch.logaddexp(col_lse[cols], col)
        whole = logsumexp_over_ranks(torch.cat((row_lse, col_lse)))
        row_lse, col_lse = whole[: len(x_RD)], whole[len(x_RD) :]
        ctx.save_for_backward(x_RD, y_CD, scale, bias, row_L, col_L, row_lse, col_lse)
        ctx.set_materialize_grads(False)
        return row_lse, col_lse, _products(x_RD, y_CD, row_L, col_L)

    @staticmethod
    def backward(ctx: Any, grad_row, grad_col, grad_L):  # type: ignore[no-untyped-def]
        x_RD, y_CD, scale, bias, row_L, col_L, row_lse, col_lse = ctx.saved_tensors
        operands = _Operands(x_RD, y_CD, scale, bias)
        grad_row, grad_col = _where_finite(row_lse, grad_row), _where_finite(col_lse, grad_col)
        row_shift, col_shift = _finite(row_lse), _finite(col_lse)
        dx, dy = torch.zeros_like(operands.x_RD), torch.zeros_like(operands.y_CD)
        for rows, cols, r_l, c_l in _tiles(x_RD, y_CD, row_L, col_L):
            a_R, l_C = row_shift[rows], col_shift[cols]
            e = operands.tile(rows, cols, a_R)
            e[r_l, c_l] = -torch.inf
            e.exp_()
            g = _weigh(operands, e, a_R, l_C, grad_row[rows], grad_col[cols], (rows, cols, r_l, c_l))
            dx[rows].addmm_(g, operands.y_CD[cols])
            dy[cols].addmm_(g.T, operands.x_RD[rows])
        sum_over_ranks(dx), sum_over_ranks(dy)
        dscale = torch.vdot(dx.view(-1), operands.x_RD.reshape(-1)).to(scale.dtype).reshape(scale.shape)
        dbias = None if bias is None else (grad_row.sum() + grad_col.sum()).to(bias.dtype).reshape(bias.shape)
        dx, dy = dx.mul_(operands.scale), dy.mul_(operands.scale)
        _add_products_gradient(dx, dy, x_RD, y_CD, row_L, col_L, grad_L)
        return dx.to(x_RD.dtype), dy.to(y_CD.dtype), dscale, dbias, None, None


def _where_finite(lse: Tensor, gradient: Tensor | None) -> Tensor:
    """No gradient where no entry was left; none at all where the loss did not use the result."""
    zero = torch.zeros_like(lse)
    return zero if gradient is None else torch.where(torch.isfinite(lse), gradient, zero)


def _weigh(
    operands: _Operands, e: Tensor, a_R: Tensor, l_C: Tensor, g_R: Tensor, g_C: Tensor, place: Any
) -> Tensor:
    """∂L/∂z of one tile from e = exp(z − row lse): e·g_r + exp(z − column lse)·g_c, in place where that is safe."""
    n = a_R.max()
    if float(n - l_C.min()) <= LARGEST_SHIFT:
        left = torch.stack((g_R, (a_R - n).exp()), dim=1)
        right = torch.stack((torch.ones_like(g_C), g_C * (n - l_C).exp()), dim=0)
        return e.mul_(torch.mm(left, right, out=operands.view(1, *e.shape)))
    rows, cols, r_l, c_l = place
    by_column = operands.tile(rows, cols, None, which=1).sub_(l_C)
    by_column[r_l, c_l] = -torch.inf
    return e.mul_(g_R[:, None]).add_(by_column.exp_().mul_(g_C))


class _SoftplusSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_RD, y_CD, scale, bias, row_L, col_L):  # type: ignore[no-untyped-def]
        operands = _Operands(x_RD, y_CD, scale, bias)
        total = torch.zeros((), dtype=torch.float64, device=x_RD.device)
        for rows, cols, r_l, c_l in _tiles(x_RD, y_CD, row_L, col_L):
            z = operands.tile(rows, cols, None)
            z[r_l, c_l] = -torch.inf
            total += torch.nn.functional.softplus(z).sum(dtype=torch.float64)
        ctx.save_for_backward(x_RD, y_CD, scale, bias, row_L, col_L)
        total = sum_over_ranks(total)
        ctx.set_materialize_grads(False)
        return total.to(operands.x_RD.dtype), _products(x_RD, y_CD, row_L, col_L)

    @staticmethod
    def backward(ctx: Any, grad, grad_L):  # type: ignore[no-untyped-def]
        x_RD, y_CD, scale, bias, row_L, col_L = ctx.saved_tensors
        operands = _Operands(x_RD, y_CD, scale, bias)
        dx, dy = torch.zeros_like(operands.x_RD), torch.zeros_like(operands.y_CD)
        sum_g = torch.zeros((), dtype=torch.float64, device=x_RD.device)
        for rows, cols, r_l, c_l in _tiles(x_RD, y_CD, row_L, col_L):
            z = operands.tile(rows, cols, None)
            z[r_l, c_l] = -torch.inf
            g = torch.sigmoid_(z)
            sum_g += g.sum(dtype=torch.float64)
            dx[rows].addmm_(g, operands.y_CD[cols])
            dy[cols].addmm_(g.T, operands.x_RD[rows])
        sum_over_ranks(dx), sum_over_ranks(dy), sum_over_ranks(sum_g)
        dscale = torch.vdot(dx.view(-1), operands.x_RD.reshape(-1))
        dscale = (grad * dscale).to(scale.dtype).reshape(scale.shape)
        dbias = None if bias is None else (grad * sum_g).to(bias.dtype).reshape(bias.shape)
        factor = grad * operands.scale
        dx, dy = dx.mul_(factor), dy.mul_(factor)
        _add_products_gradient(dx, dy, x_RD, y_CD, row_L, col_L, grad_L)
        return dx.to(x_RD.dtype), dy.to(y_CD.dtype), dscale, dbias, None, None


class _ListedProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_RD, y_CD, row_L, col_L):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x_RD, y_CD, row_L, col_L)
        return _products(x_RD, y_CD, row_L, col_L)

    @staticmethod
    def backward(ctx: Any, grad_L):  # type: ignore[no-untyped-def]
        x_RD, y_CD, row_L, col_L = ctx.saved_tensors
        dx, dy = (torch.zeros_like(t, dtype=grad_L.dtype) for t in (x_RD, y_CD))
        _add_products_gradient(dx, dy, x_RD, y_CD, row_L, col_L, grad_L)
        return dx.to(x_RD.dtype), dy.to(y_CD.dtype), None, None


def _products(x_RD: Tensor, y_CD: Tensor, row_L: Tensor, col_L: Tensor) -> Tensor:
    dot_L = torch.empty(len(row_L), dtype=_accumulator(x_RD), device=x_RD.device)
    for part in _listed_parts(row_L):
        x, y = x_RD[row_L[part]].to(dot_L.dtype), y_CD[col_L[part]].to(dot_L.dtype)
        dot_L[part] = x.mul_(y).sum(dim=1)
    return dot_L


def _add_products_gradient(
    dx: Tensor, dy: Tensor, x_RD: Tensor, y_CD: Tensor, row_L: Tensor, col_L: Tensor, grad_L: Tensor | None
) -> None:
    if grad_L is None:
        return
    for part in _listed_parts(row_L):
        row, col, g = row_L[part], col_L[part], grad_L[part, None]
        dx.index_add_(0, row, y_CD[col].to(g.dtype).mul_(g))
        dy.index_add_(0, col, x_RD[row].to(g.dtype).mul_(g))


def _listed_parts(row_L: Tensor) -> Any:
    return (slice(i, i + LISTED_PART) for i in range(0, len(row_L), LISTED_PART))
