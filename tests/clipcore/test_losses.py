"""Every head against slow dense float64 loops written from the formulas, values and gradients."""

import math

import numpy as np
import open_clip.loss
import pytest
import torch
from torch.nn.functional import logsigmoid, normalize, softplus

import clipcore.lse
from clipcore.labels import Label, Overlay, PairLabels
from clipcore.logits import Further, Logits
from clipcore.losses import HEADS

ROWS, COLS, WIDTH = 37, 41, 16


def batch(dtype=torch.float64, scale=20.0, rows=ROWS, cols=COLS, bias=None):
    torch.manual_seed(3)
    x = normalize(torch.randn(rows, WIDTH, dtype=dtype), dim=1).requires_grad_()
    y = normalize(torch.randn(cols, WIDTH, dtype=dtype), dim=1).requires_grad_()
    s = torch.tensor(scale, dtype=dtype, requires_grad=True)
    b = None if bias is None else torch.tensor(bias, dtype=dtype, requires_grad=True)
    return x, y, s, b


def overlay(labelled: bool) -> Overlay:
    diagonal = np.arange(ROWS)
    entries = {(i, i): (0.0, 0.0, 1.0, 0.0) for i in diagonal}
    if labelled:
        entries |= {(0, 5): (-np.inf, -np.inf, 0.0, 0.0), (3, 8): (0.0, 0.0, 1.0, 0.0)}
        entries |= {
            (4, 9): (np.log(2.0), np.log(3.0), 0.0, 0.1),
            (6, 39): (np.log(0.4), np.log(0.4), 0.6, 0.0),
        }
    keys = sorted(entries)
    table = np.array([entries[k] for k in keys])
    row, col = np.array(keys).T
    return Overlay(ROWS, COLS, row, col, *table.T)


def dense(x, y, s, b, o: Overlay):
    """z, λ in both directions with margins, targets: full matrices."""
    z = s * x @ y.T + (0 if b is None else b)
    log_i2t, log_t2i = torch.zeros_like(z), torch.zeros_like(z)
    target, margin = torch.zeros_like(z), torch.zeros_like(z)
    at = torch.as_tensor(o.row), torch.as_tensor(o.col)
    log_i2t[at] = torch.as_tensor(o.log_lambda_i2t, dtype=z.dtype)
    log_t2i[at] = torch.as_tensor(o.log_lambda_t2i, dtype=z.dtype)
    target[at] = torch.as_tensor(o.target, dtype=z.dtype)
    margin[at] = torch.as_tensor(o.margin, dtype=z.dtype)
    return z, log_i2t + s * margin, log_t2i + s * margin, target, margin, log_i2t, log_t2i


def direction(name, z, weight, target, log_lambda, s):
    """The mean over rows of one direction, row by row in plain loops."""
    values = []
    for r in range(len(z)):
        if target[r].sum() == 0:
            continue
        p = target[r] / target[r].sum()
        positive = (p * z[r]).sum()
        negative = target[r] == 0
        count = log_lambda[r][negative].exp().sum()
        e1 = torch.logsumexp((z[r] + weight[r])[negative], 0)
        if name == "info_nce":
            values.append(torch.logsumexp(z[r] + weight[r], 0) - positive)
        elif name == "decoupled":
            values.append(e1 - positive)
        elif name == "hn_nce":
            up = torch.logsumexp((1.25 * z[r] + weight[r])[negative], 0)
            low = torch.logsumexp((0.25 * z[r] + weight[r])[negative], 0)
            values.append(torch.logaddexp(positive, count.log() + up - low) - positive)
        else:
            prior = 0.01
            beta = 0.25 if name == "hard_debiased" else 0.0
            up = torch.logsumexp(((1 + beta) * z[r] + weight[r])[negative], 0)
            low = torch.logsumexp((beta * z[r] + weight[r])[negative], 0) if beta else count.log()
            g = ((up - low).exp() - prior * positive.exp()) / (1 - prior)
            g = torch.maximum(g, (-s).exp())
            values.append(torch.log(positive.exp() + count * g) - positive)
    return torch.stack(values).mean()


def reference(name, x, y, s, b, o):
    z, w_i2t, w_t2i, target, margin, log_i2t, log_t2i = dense(x, y, s, b, o)
    if name == "sigmoid":
        weight = (log_i2t.exp() + log_t2i.exp()) / 2 * (1 - target)
        return (target * softplus(-z) + weight * softplus(z + s * margin)).sum() / len(x)
    a = direction(name, z, w_i2t, target, log_i2t, s)
    return (a + direction(name, z.T, w_t2i.T, target.T, log_t2i.T, s)) / 2


def gradients(value, *leaves):
    found = torch.autograd.grad(value, [leaf for leaf in leaves if leaf is not None])
    assert all(g.abs().sum() > 0 for g in found)
    return found


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(clipcore.lse, "TILE_ROWS", 8)
    monkeypatch.setattr(clipcore.lse, "TILE_COLS", 7)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("name", ["info_nce", "decoupled", "hn_nce", "debiased", "hard_debiased", "sigmoid"])
def test_head_equals_dense_float64_loops(name, labelled):
    x, y, s, b = batch(bias=-3.0 if name == "sigmoid" else None, scale=8.0)
    o = overlay(labelled)
    ours = HEADS[name](Logits(x, y, scale=s, bias=b, overlay=o))
    theirs = reference(name, x, y, s, b, o)
    assert abs(float(ours.detach() - theirs.detach())) < 1e-11 * max(1.0, abs(float(theirs)))
    for mine, true in zip(gradients(ours, x, y, s, b), gradients(theirs, x, y, s, b), strict=True):
        assert relative(mine, true) < 1e-10


@pytest.mark.parametrize("dtype,bound", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_no_labels_equals_open_clip_at_scale_100(dtype, bound):
    x, y, s, _ = batch(dtype, 100.0, rows=50, cols=50)
    ours = HEADS["info_nce"](Logits(x, y, scale=s))
    theirs = open_clip.loss.ClipLoss()(x, y, s)
    for mine, true in zip(gradients(ours, x, y, s), gradients(theirs, x, y, s), strict=True):
        assert relative(mine, true) < bound


def test_no_labels_equals_open_clip_siglip():
    x, y, s, b = batch(rows=50, cols=50, scale=10.0, bias=-10.0)
    ours = HEADS["sigmoid"](Logits(x, y, scale=s, bias=b))
    theirs = open_clip.loss.SigLipLoss()(x, y, s, b)
    for mine, true in zip(gradients(ours, x, y, s, b), gradients(theirs, x, y, s, b), strict=True):
        assert relative(mine, true) < 1e-10


def test_columns_far_below_their_rows_stay_exact_in_float32():
    """One column lies 150 below every row's best: what the shared exponential cannot hold is computed again."""
    x = torch.eye(8)[:4].repeat(4, 1).requires_grad_()
    y = torch.cat((torch.eye(8)[:4].repeat(4, 1), -torch.ones(1, 8) / math.sqrt(8))).requires_grad_()
    s, o = (
        torch.tensor(100.0, requires_grad=True),
        Overlay(16, 17, *(np.zeros(0, np.int64),) * 2, *(np.zeros(0),) * 4),
    )
    _, cols = Logits(x, y, scale=s, overlay=o).lse()
    true = torch.logsumexp(100.0 * x.double() @ y.double().T, 0)
    assert float((cols - true).abs().max()) < 1e-3
    assert torch.isfinite(torch.autograd.grad(cols.sum(), y)[0]).all()


def test_owner_only_negatives_reach_their_owner_alone():
    x, y, s, _ = batch(rows=ROWS, cols=ROWS)
    extra = normalize(torch.randn(3, WIDTH, dtype=torch.float64), dim=1).requires_grad_()
    further = Further(
        extra,
        torch.tensor([2, 2, 5]),
        torch.zeros(3, dtype=torch.float64),
        torch.zeros(3, dtype=torch.float64),
    )
    ours = HEADS["info_nce"](Logits(x, y, scale=s, further_captions=further))
    z = s * x @ y.T
    rows = [
        torch.cat((z[r], s * extra[[k for k, o in enumerate([2, 2, 5]) if o == r]] @ x[r]))
        for r in range(ROWS)
    ]
    i2t = torch.stack([torch.logsumexp(row, 0) - z[r, r] for r, row in enumerate(rows)]).mean()
    t2i = (torch.logsumexp(z, 0) - z.diagonal()).mean()
    for mine, true in zip(
        gradients(ours, x, y, s, extra), gradients((i2t + t2i) / 2, x, y, s, extra), strict=True
    ):
        assert relative(mine, true) < 1e-10


def test_hn_nce_weights_have_mean_one_over_each_row():
    """Trap 4: with equal negatives every weight is one, so β changes nothing."""
    x, y = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    s = torch.tensor(5.0, dtype=torch.float64)
    soft = HEADS["hn_nce"](Logits(x, y, scale=s), beta=0.5)
    assert abs(float(soft - HEADS["info_nce"](Logits(x, y, scale=s)))) < 1e-12


def test_hinge_is_zero_without_curated_negatives_and_positive_with_one():
    x, y, s, _ = batch(rows=4, cols=4)
    assert float(HEADS["hinge"](Logits(x, y, scale=s))) == 0.0
    ids = ["a", "b", "c", "d"]
    labels = PairLabels([Label("a", "b", "no_match")], pairs=list(zip(ids, ids, strict=True)))
    value = HEADS["hinge"](Logits(x, y, scale=s, overlay=labels.for_batch(ids, ids)), margin=2.5)
    expected = 2.5 + (2 * x[0] @ y[1] - x[0] @ y[0] - x[1] @ y[1]) / 2
    assert abs(float(value - expected)) < 1e-12


def test_sigmoid_reference_is_log_sigmoid():
    assert torch.allclose(softplus(torch.tensor(2.0)), -logsigmoid(torch.tensor(-2.0)))
