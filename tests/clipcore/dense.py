"""Every loss written from its formula with full matrices and a loop over rows: slow, float64, plainly right."""

from dataclasses import dataclass

import torch
from torch.nn.functional import softplus

BETA, PRIOR, MARGIN, GAMMA = 0.25, 0.01, 0.1, 0.8
HEAD_NAMES = [
    "info_nce",
    "decoupled",
    "hn_nce",
    "debiased",
    "hard_debiased",
    "sigmoid",
    "hinge",
    "global_contrast",
]


@dataclass
class Extra:
    """Appended negatives of each anchor: (owner, embedding [D], log λ, margin)."""

    entries: list

    def of(self, owner):
        return [(e, w, m) for o, e, w, m in self.entries if o == owner]


def matrices(x, y, s, b, o):
    """z, and full matrices of log λ both ways, target and margin."""
    z = s * x @ y.T + (0 if b is None else b)
    at = torch.as_tensor(o.row), torch.as_tensor(o.col)
    found = []
    for values in (o.log_lambda_i2t, o.log_lambda_t2i, o.target, o.margin):
        matrix = torch.zeros_like(z)
        matrix[at] = torch.as_tensor(values, dtype=z.dtype)
        found.append(matrix)
    return z, *found


def reference(name, x, y, s, b, o, *, captions=None, images=None):
    """The loss of batch x [R, D], y [C, D] under overlay `o`, with appended captions (of rows) and images (of columns)."""
    z, log_i2t, log_t2i, target, margin = matrices(x, y, s, b, o)
    listed = torch.zeros_like(z, dtype=torch.bool)
    listed[torch.as_tensor(o.row), torch.as_tensor(o.col)] = True
    captions, images = captions or Extra([]), images or Extra([])
    if name == "sigmoid":
        return _sigmoid(x, y, s, b, z, log_i2t, log_t2i, target, margin, captions, images)
    i2t = (x, z, log_i2t, target, margin, listed, captions)
    t2i = (y, z.T, log_t2i.T, target.T, margin.T, listed.T, images)
    if name == "hinge":
        terms = _hinge(*i2t, s, b) + _hinge(*t2i, s, b)
        return sum(w * g for w, g in terms) / max(sum(float(w) for w, _ in terms), 1e-12)
    return (_mean(name, *i2t, s, b) + _mean(name, *t2i, s, b)) / 2


def _mean(name, anchor, z, log_lambda, target, margin, listed, extra, s, b):
    values = []
    for r in range(len(z)):
        if target[r].sum() > 0:
            own = extra.of(r)
            more = [s * anchor[r] @ e + (0 if b is None else b) for e, _, _ in own]
            raw = torch.cat((z[r], torch.stack(more))) if more else z[r]
            weight = torch.cat((log_lambda[r], z.new_tensor([w for _, w, _ in own])))
            push = s * torch.cat((margin[r], z.new_tensor([m for _, _, m in own])))
            p = torch.cat((target[r] / target[r].sum(), z.new_zeros(len(own))))
            values.append(_row(name, raw, weight, push, p, s))
    return torch.stack(values).mean()


def _row(name, z, log_lambda, push, p, s):
    positive, negative = (p * z).sum(), p == 0
    count = log_lambda[negative].exp().sum()

    def lse(gamma, keep):
        return torch.logsumexp((gamma * z + push + log_lambda)[keep], 0)

    if name == "info_nce":
        return lse(1.0, torch.ones_like(negative)) - positive
    if name == "decoupled":
        return lse(1.0, negative) - positive
    if name == "hn_nce":
        return (
            torch.logaddexp(positive, count.log() + lse(1 + BETA, negative) - lse(BETA, negative)) - positive
        )
    if name == "global_contrast":  # the first batch: u is this batch's own mean
        relative = lse(1.0, negative) - positive - count.log()
        return (relative - relative.detach()).exp()
    beta = BETA if name == "hard_debiased" else 0.0
    base = lse(beta, negative) if beta else count.log()
    g = ((lse(1 + beta, negative) - base).exp() - PRIOR * positive.exp()) / (1 - PRIOR)
    return torch.log(positive.exp() + count * torch.maximum(g, (-s).exp())) - positive


def _sigmoid(x, y, s, b, z, log_i2t, log_t2i, target, margin, captions, images):
    weight = (log_i2t.exp() + log_t2i.exp()) / 2 * (1 - target.clamp(max=1.0))
    total = (target * softplus(-z) + weight * softplus(z + s * margin)).sum()
    for anchor, extra in ((x, captions), (y, images)):
        for owner, e, w, m in extra.entries:
            total = total + torch.exp(torch.tensor(w)) * softplus(s * anchor[owner] @ e + b + s * m)
    return total / (target.sum(1) > 0).sum()


def _hinge(anchor, z, log_lambda, target, margin, listed, extra, s, b):
    terms = []
    for r in range(len(z)):
        if target[r].sum() == 0:
            positive = None
        else:
            positive = (target[r] / target[r].sum() * z[r]).sum()
        for c in range(z.shape[1]):
            if positive is not None and listed[r, c] and target[r, c] == 0 and log_lambda[r, c] > -torch.inf:
                gap = MARGIN + margin[r, c] + (z[r, c] - positive) / s
                terms.append((log_lambda[r, c].exp(), gap.clamp_min(0)))
        for e, w, m in extra.of(r):
            raw = s * anchor[r] @ e + (0 if b is None else b)
            terms.append((torch.exp(torch.tensor(w)), (MARGIN + m + (raw - positive) / s).clamp_min(0)))
    return terms
