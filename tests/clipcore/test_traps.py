"""The traps of public trainers: each is shown to be one, and clipcore is shown to be out of it.

1 accumulation, 2 distributed flags, 3 a chunked sigmoid under autograd, 4 hardness weights on the wrong axis,
6 exponentials at s = 100, 7 BatchNorm. (5, a constant target, is in test_exact.py.)
"""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from open_clip.loss import ClipLoss
from torch import nn
from torch.nn.functional import logsigmoid, normalize

from clipcore.distributed import share, sum_gradients
from clipcore.gradcache import Pass, cached_backward, seeded
from clipcore.logits import Logits
from clipcore.losses.hn_nce import hn_nce
from clipcore.losses.info_nce import info_nce
from clipcore.losses.sigmoid import sigmoid
from clipcore.towers import freeze_batch_norm

N, PARTS = 24, 6


def apart(found, exact):
    return float((found - exact).norm() / exact.norm())


class Setup:
    """Two towers with dropout on 24 pairs in six micro-batches."""

    def __init__(self, rate=0.0, norm=False):
        torch.manual_seed(0)
        self.towers = [
            nn.Sequential(nn.Linear(9, 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.Dropout(rate), nn.Linear(8, 7))
            .double()
            for _ in "xy"
        ]  # fmt: skip
        self.log_scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
        self.items = [torch.randn(N, 9, dtype=torch.float64) for _ in "xy"]
        self.parts = [item.split(N // PARTS) for item in self.items]

    def encode(self, tower, part):
        return normalize(tower(part), dim=1)

    def gradient(self):
        found = [p.grad.clone() for t in self.towers for p in t.parameters() if p.grad is not None]
        scale = self.log_scale.grad.clone()
        for p in (*self.towers[0].parameters(), *self.towers[1].parameters(), self.log_scale):
            p.grad = None
        return torch.cat([g.reshape(-1) for g in found]), scale

    def ours(self, num_resident=0):
        passes = [
            Pass(lambda part, t=t: self.encode(t, part), parts, 100 * k)
            for k, (t, parts) in enumerate(zip(self.towers, self.parts, strict=True))
        ]
        cached_backward(
            passes,
            lambda x, y: info_nce(Logits(x, y, scale=self.log_scale.exp())),
            num_resident=num_resident,
        )
        sum_gradients(p for t in self.towers for p in t.parameters())
        return self.gradient()

    def one_graph(self):
        whole = []
        for k, (tower, parts) in enumerate(zip(self.towers, self.parts, strict=True)):
            found = []
            for j, part in enumerate(parts):
                with seeded(100 * k + j, torch.device("cpu")):
                    found.append(self.encode(tower, part))
            whole.append(torch.cat(found))
        ClipLoss()(*whole, self.log_scale.exp()).backward()
        return self.gradient()

    def open_clip_accumulation(self):
        with torch.no_grad():
            kept = [
                [self.encode(t, p) for p in parts] for t, parts in zip(self.towers, self.parts, strict=True)
            ]
        for j in range(PARTS):
            whole = [
                torch.cat([*features[:j], self.encode(t, parts[j]), *features[j + 1 :]])
                for t, parts, features in zip(self.towers, self.parts, kept, strict=True)
            ]
            ClipLoss()(*whole, self.log_scale.exp()).backward()
        return self.gradient()


def test_accumulation_multiplies_the_gradient_of_the_scale_and_ours_does_not():
    setup = Setup()
    towers, scale = setup.one_graph()
    their_towers, their_scale = setup.open_clip_accumulation()
    assert apart(their_towers, towers) < 1e-10 and abs(float(their_scale / scale) - PARTS) < 1e-9
    for resident in (0, 5, 99):
        mine = setup.ours(resident)
        assert apart(mine[0], towers) < 1e-10 and apart(mine[1], scale) < 1e-10


def test_accumulation_without_replayed_dropout_is_wrong_and_ours_replays():
    setup = Setup(rate=0.1)
    towers, _ = setup.one_graph()
    torch.manual_seed(5)
    assert apart(setup.open_clip_accumulation()[0], towers) > 0.1
    assert apart(setup.ours()[0], towers) < 1e-10


def distributed_gradients(rank, ranks, folder):
    """Ours, and open_clip's two wrong settings with the averaging of DistributedDataParallel."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    found = {"ours": Setup().ours()[0]}
    for name, flags in (("default", {}), ("local", {"local_loss": True})):
        setup = Setup()
        loss = ClipLoss(rank=rank, world_size=ranks, **flags)
        own = [torch.cat([parts[k] for k in share(PARTS)]) for parts in setup.parts]
        embedded = [setup.encode(t, o) for t, o in zip(setup.towers, own, strict=True)]
        loss(*embedded, setup.log_scale.exp()).backward()
        for parameter in (p for t in setup.towers for p in t.parameters()):
            dist.all_reduce(parameter.grad)
            parameter.grad /= ranks
        found[name] = setup.gradient()[0]
    if rank == 0:
        np.savez(f"{folder}/found.npz", **{k: v.numpy() for k, v in found.items()})
    dist.destroy_process_group()


def test_distributed_flags_of_open_clip_change_the_gradient_and_ours_is_the_single_process_one(tmp_path):
    mp.spawn(distributed_gradients, (2, str(tmp_path)), nprocs=2)
    exact, _ = Setup().one_graph()
    with np.load(tmp_path / "found.npz") as saved:
        found = {name: torch.from_numpy(saved[name]) for name in saved.files}
    assert apart(found["ours"], exact) < 1e-10
    assert abs(float(found["default"].norm() / exact.norm()) - 0.5) < 1e-6  # 1/ranks of the true one
    cosine = float(found["local"] @ exact / found["local"].norm() / exact.norm())
    assert cosine < 0.9999  # another direction


def kept_bytes(loss):
    """What autograd keeps for the backward, each storage once."""
    storages = {}

    def note(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = loss()
    assert kept.requires_grad
    return sum(storages.values())


def test_chunked_sigmoid_keeps_every_chunk_and_ours_keeps_none():
    n, d = 2048, 8
    x, y = (normalize(torch.randn(n, d), dim=1).requires_grad_() for _ in "xy")
    scale, bias = torch.tensor(10.0, requires_grad=True), torch.tensor(-10.0, requires_grad=True)

    def chunked():
        sign = 2 * torch.eye(n) - 1
        parts = zip(x.split(256), sign.split(256), strict=True)
        return -sum(logsigmoid(s * (scale * part @ y.T + bias)).sum() for part, s in parts) / n

    ours = lambda: sigmoid(Logits(x, y, scale=scale, bias=bias))  # noqa: E731
    assert abs(float(chunked().detach() - ours().detach())) < 1e-3
    assert kept_bytes(chunked) > 4 * n * n
    assert kept_bytes(ours) < 40 * n * d * 4


@pytest.mark.parametrize("wrong_axis", [False, True])
def test_hardness_weights_have_mean_one_over_the_negatives_of_each_anchor(wrong_axis):
    """With the weights normalised over the other axis their row means are not 1, and the loss is another."""
    torch.manual_seed(1)
    x, y = (normalize(torch.randn(9, 5, dtype=torch.float64), dim=1) for _ in "xy")
    s, beta, own = torch.tensor(9.0, dtype=torch.float64), 0.25, torch.eye(9, dtype=torch.bool)
    z = s * x @ y.T
    total = 0.0
    for logits in (z, z.T):
        hard = (beta * logits).exp().masked_fill(own, 0.0)
        weight = hard * 8 / hard.sum(0 if wrong_axis else 1, keepdim=True)
        mean = weight.sum(1) / 8
        assert bool((mean - 1).abs().max() < 1e-12) is not wrong_axis
        below = logits.diagonal().exp() + (weight * logits.exp()).sum(1)
        total = total + (below.log() - logits.diagonal()).mean() / 2
    difference = abs(float(hn_nce(Logits(x, y, scale=s), beta=beta) - total))
    assert difference > 1e-3 if wrong_axis else difference < 1e-12


def test_exponentials_at_scale_100_overflow_naively_and_stay_exact_here():
    torch.manual_seed(0)
    x, y = (normalize(torch.randn(64, 6), dim=1) for _ in "xy")
    y = x + 0.01 * y
    z = 100.0 * x @ y.T
    assert torch.isinf(z.exp().sum(1)).any()
    x.requires_grad_()
    value = info_nce(Logits(x, y, scale=torch.tensor(100.0)))
    value.backward()
    exact = ClipLoss()(x.detach().double(), y.double(), torch.tensor(100.0, dtype=torch.float64))
    assert abs(float(value.detach()) - float(exact)) < 1e-5 and torch.isfinite(x.grad).all()


def test_masked_entries_subtracted_afterwards_lose_their_row_and_ours_mask_inside_the_tile():
    """At s = 100 a masked twin holds nearly all of a row's sum: what is left after subtracting it is noise."""
    from clipcore.labels import Label, PairLabels

    torch.manual_seed(0)
    x = normalize(torch.randn(64, 32), dim=1)
    y = normalize(x + 0.2 * torch.randn(64, 32), dim=1)
    y[1::2] = x[0::2]  # caption 2k+1 is nearer to image 2k than its own
    ids = [str(k) for k in range(64)]
    masks = [Label(str(k), str(k + 1), "unsure") for k in range(0, 64, 2)]
    overlay = PairLabels(masks, pairs=list(zip(ids, ids, strict=True))).for_batch(ids, ids)
    rows, _ = Logits(x, y, scale=torch.tensor(100.0), overlay=overlay).lse()
    z = 100.0 * x.double() @ y.double().T
    z[range(0, 64, 2), range(1, 64, 2)] = -torch.inf
    exact = torch.logsumexp(z, 1)
    single = 100.0 * x @ y.T
    everything = torch.logsumexp(single, 1)[0::2]
    twin = single[range(0, 64, 2), range(1, 64, 2)]
    subtracted = everything + torch.log1p(-(twin - everything).exp())
    assert float((rows - exact).abs().max()) < 1e-4
    assert not float((subtracted - exact[0::2]).abs().max()) < 1e-2


def test_batch_norm_in_training_mode_makes_cached_and_plain_differ_and_frozen_they_agree():
    setup = Setup(norm=True)

    def whole_batch():
        embedded = [setup.encode(t, i) for t, i in zip(setup.towers, setup.items, strict=True)]
        ClipLoss()(*embedded, setup.log_scale.exp()).backward()
        return setup.gradient()[0]

    assert apart(setup.ours()[0], whole_batch()) > 1e-3
    assert sum(freeze_batch_norm(t) for t in setup.towers) == 2
    assert apart(setup.ours()[0], whole_batch()) < 1e-10
