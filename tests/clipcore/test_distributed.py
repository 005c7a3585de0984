"""Two and four gloo processes give the gradient of one, towers and scale alike, in float64 to 1e-10, dropout on.

Five micro-batches of 24 rows go to 2 and 4 ranks, so ranks hold different numbers of rows.
"""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.functional import normalize

from clipcore.distributed import sum_gradients
from clipcore.gradcache import Pass, cached_backward
from clipcore.labels import Label, PairLabels
from clipcore.logits import Logits
from clipcore.losses.hn_nce import hn_nce
from clipcore.losses.info_nce import info_nce
from clipcore.losses.sigmoid import sigmoid

N = 24
HEADS = {"info_nce": info_nce, "hn_nce": hn_nce, "sigmoid": sigmoid}


def overlay():
    pairs = [(f"i{k}", f"c{k}") for k in range(N)]
    said = [Label("i1", "c20", "match"), Label("i3", "c4", "no_match"), Label("i6", "c17", "unsure")]
    return PairLabels(said, pairs=pairs).for_batch([i for i, _ in pairs], [c for _, c in pairs])


def gradients(head, *, micro_batch=5, num_resident=1):
    """The gradients of both towers and of the scale, of the whole batch, on this process's share of it."""
    torch.manual_seed(0)
    towers = [torch.nn.Linear(9, 7, dtype=torch.float64) for _ in "xy"]
    items = [torch.randn(N, 9, dtype=torch.float64) for _ in "xy"]
    log_scale = torch.nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
    labels = overlay()
    drop = torch.nn.Dropout(0.2)
    passes = [
        Pass(lambda part, tower=tower: normalize(drop(tower(part)), dim=1), item.split(micro_batch), 1)
        for tower, item in zip(towers, items, strict=True)
    ]

    def loss(x_ND, y_ND):
        return HEADS[head](Logits(x_ND, y_ND, scale=log_scale.exp(), overlay=labels))

    value = cached_backward(passes, loss, num_resident=num_resident)
    sum_gradients(p for tower in towers for p in tower.parameters())
    found = [p.grad for tower in towers for p in tower.parameters()] + [log_scale.grad, value]
    return [tensor.numpy().copy() for tensor in found]


def work(rank, ranks, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    for head in HEADS:
        found = gradients(head)
        np.savez(f"{folder}/{head}-{rank}.npz", *found)
    dist.destroy_process_group()


@pytest.mark.parametrize("ranks", [2, 4])
def test_every_process_holds_the_gradient_of_one(ranks, tmp_path):
    mp.spawn(work, (ranks, str(tmp_path)), nprocs=ranks)
    for head in HEADS:
        exact = gradients(head)
        for rank in range(ranks):
            with np.load(tmp_path / f"{head}-{rank}.npz") as saved:
                for name, value in zip(saved.files, exact, strict=True):
                    apart = np.linalg.norm(saved[name] - value) / np.linalg.norm(value)
                    assert apart <= 1e-10, (head, rank, name, apart)
