"""Every loss on real towers against the float64 one-graph dense reference: labels, caching, residency, dropout, ranks.

The towers are open_clip's, with patch dropout in the image tower and dropout behind both. The reference encodes each
micro-batch under its own seed with one graph and takes the dense loss of tests/clipcore/dense.py.
"""

import numpy as np
import open_clip
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from dense import HEAD_NAMES, Extra, reference
from torch.nn.functional import dropout, normalize

from clipcore.distributed import sum_gradients
from clipcore.gradcache import Pass, cached_backward, seeded
from clipcore.labels import Label, Overlay, PairLabels
from clipcore.logits import Further, Logits
from clipcore.losses import HEADS, GlobalContrast

N, MICRO = 22, 5  # five micro-batches, the last of two rows
OWNERS_C, OWNERS_I = (
    [2, 2, 7],
    [4, 9],
)  # rows that own the appended captions, columns that own the appended images
LAMBDA, MARGIN = 2.0, 0.05
BOUND = {torch.float64: 1e-10, torch.float32: 1e-5}


def towers(dtype):
    torch.manual_seed(0)
    return open_clip.CLIP(
        embed_dim=16,
        vision_cfg={
            "image_size": 16,
            "layers": 1,
            "width": 16,
            "patch_size": 4,
            "head_width": 8,
            "patch_dropout": 0.3,
        },
        text_cfg={"context_length": 6, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
    ).to(dtype)


def overlay(labelled):
    pairs = [(f"i{k}", f"c{k}") for k in range(N)]
    said = [
        Label("i1", "c20", "match"),
        Label("i3", "c4", "no_match", weight=3.0, margin=0.1),
        Label("i6", "c17", "unsure"),
        Label("i8", "c12", "match", treatment="soft", confidence=0.7),
        Label("i5", "c11", "match", treatment="mask"),
    ]
    labels = PairLabels(said if labelled else [], pairs=pairs)
    return labels.for_batch([i for i, _ in pairs], [c for _, c in pairs])


class Setup:
    """Towers, items and the passes of one step."""

    def __init__(self, dtype, labelled, micro=MICRO):
        self.model, self.dtype, self.labelled = towers(dtype).train(), dtype, labelled
        generator = torch.Generator().manual_seed(1)
        pixels = torch.randn(N, 3, 16, 16, generator=generator, dtype=torch.float64).to(dtype)
        more_pixels = torch.randn(2, 3, 16, 16, generator=generator, dtype=torch.float64).to(dtype)
        tokens = torch.randint(1, 49, (N, 6), generator=generator)
        more_tokens = torch.randint(1, 49, (3, 6), generator=generator)
        self.scale = torch.nn.Parameter(torch.tensor(2.5, dtype=dtype))
        self.bias = torch.nn.Parameter(torch.tensor(-3.0, dtype=dtype))
        self.overlay = overlay(labelled)
        work = [(self.images, pixels), (self.captions, tokens)]
        if labelled:
            work += [(self.captions, more_tokens), (self.images, more_pixels)]
        self.passes = [Pass(f, list(v.split(micro)), 100 * k) for k, (f, v) in enumerate(work)]

    def images(self, pixels):
        return normalize(dropout(self.model.encode_image(pixels), 0.2), dim=1)

    def captions(self, tokens):
        return normalize(dropout(self.model.encode_text(tokens), 0.2), dim=1)

    def leaves(self, name):
        scalars = [self.scale, self.bias] if name == "sigmoid" else [self.scale]
        weights = [p for n, p in self.model.named_parameters() if not n.startswith("logit_")]
        return [*(p for p in weights if p.requires_grad), *scalars]

    def cached(self, name, resident):
        head = GlobalContrast(N, N).at(range(N), range(N)) if name == "global_contrast" else HEADS[name]

        def loss(x, y, *extra):
            further = [None, None]
            for k, owners in enumerate((OWNERS_C, OWNERS_I) if extra else ()):
                log_lambda = torch.full((len(owners),), LAMBDA, dtype=self.dtype).log()
                further[k] = Further(
                    extra[k], torch.tensor(owners), log_lambda, torch.full_like(log_lambda, MARGIN)
                )
            bias = self.bias if name == "sigmoid" else None
            found = Logits(
                x, y, scale=self.scale.exp(), bias=bias, overlay=self.overlay,
                further_captions=further[0], further_images=further[1],
            )  # fmt: skip
            return head(found)

        for leaf in self.leaves(name):
            leaf.grad = None
        value = cached_backward(self.passes, loss, num_resident=resident)
        sum_gradients(p for p in self.leaves(name) if p is not self.scale and p is not self.bias)
        return [leaf.grad.clone() for leaf in self.leaves(name)], float(value)

    def one_graph(self, name):
        whole = []
        for p in self.passes:
            parts = []
            for k, part in enumerate(p.micro_batches):
                with seeded(p.first_seed + k, torch.device("cpu")):
                    parts.append(p.encode(part))
            whole.append(torch.cat(parts))
        extra = [
            Extra([(o, e, float(np.log(LAMBDA)), MARGIN) for o, e in zip(owners, values, strict=True)])
            for owners, values in zip((OWNERS_C, OWNERS_I), whole[2:])
        ] or [None, None]
        bias = self.bias if name == "sigmoid" else None
        s = self.scale.exp()
        value = reference(name, *whole[:2], s, bias, self.overlay, captions=extra[0], images=extra[1])
        return torch.autograd.grad(value, self.leaves(name), allow_unused=True), float(value)


def assert_equal(found, exact, bound, name):
    (found, value), (exact, true) = found, exact
    assert abs(value - true) <= 10 * bound * max(1.0, abs(true)), name
    moved = 0
    for mine, right in zip(found, exact, strict=True):
        right = torch.zeros_like(mine) if right is None else right
        if float(right.norm()) > 1e-12:
            moved += 1
            assert float((mine.double() - right.double()).norm() / right.double().norm()) <= bound, name
    assert moved > 20  # the towers and the scale did receive a gradient


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("name", HEAD_NAMES)
def test_cached_step_equals_one_graph(name, labelled):
    if name == "hinge" and not labelled:
        pytest.skip("without curated negatives the hinge is 0: test_losses.py asserts that")
    for micro in (3, MICRO, N):
        setup = Setup(torch.float64, labelled, micro)
        exact = setup.one_graph(name)
        for resident in (0, 3, 99):
            assert_equal(setup.cached(name, resident), exact, 1e-10, (name, micro, resident))


@pytest.mark.parametrize("name", HEAD_NAMES)
def test_float32_is_as_exact_as_the_dense_float32_loss(name):
    exact = Setup(torch.float64, True).one_graph(name)
    # one seed draws other masks in float32: compare without dropout
    setups = {dtype: Setup(dtype, True) for dtype in (torch.float64, torch.float32)}
    for setup in setups.values():
        setup.model.eval()
        setup.images = lambda v, m=setup.model: normalize(m.encode_image(v), dim=1)
        setup.captions = lambda v, m=setup.model: normalize(m.encode_text(v), dim=1)
        setup.passes = [
            Pass(setup.images if k in (0, 3) else setup.captions, p.micro_batches, p.first_seed)
            for k, p in enumerate(setup.passes)
        ]
    exact = setups[torch.float64].one_graph(name)
    dense, _ = setups[torch.float32].one_graph(name)
    for mine, plain, right in zip(setups[torch.float32].cached(name, 3)[0], dense, exact[0], strict=True):
        if right is None or float(right.norm()) < 1e-9:
            continue
        error, allowed = (float((g.double() - right).norm() / right.norm()) for g in (mine, plain))
        assert error <= max(1e-5, 2 * allowed), name


def work(rank, ranks, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    for name in HEAD_NAMES:
        gradients, value = Setup(torch.float64, True, MICRO_OF[ranks]).cached(name, 1)
        np.savez(f"{folder}/{name}-{rank}.npz", *[g.numpy() for g in gradients], value)
    dist.destroy_process_group()


MICRO_OF = {2: MICRO, 4: 8}  # five micro-batches for two ranks; three for four, so that one rank has no row


@pytest.mark.parametrize("ranks", MICRO_OF)
def test_every_process_holds_the_gradient_of_one(ranks, tmp_path):
    """The ranks hold different numbers of rows."""
    mp.spawn(work, (ranks, str(tmp_path)), nprocs=ranks)
    for name in HEAD_NAMES:
        exact = Setup(torch.float64, True, MICRO_OF[ranks]).one_graph(name)
        for rank in range(ranks):
            with np.load(tmp_path / f"{name}-{rank}.npz") as saved:
                *gradients, value = (torch.from_numpy(saved[key]) for key in saved.files)
            assert_equal((gradients, float(value)), exact, 1e-10, (name, rank))


def test_loss_does_not_change_with_the_order_of_the_batch():
    """Trap 5: a cross-entropy whose target is column 0 for every row would."""
    torch.manual_seed(2)
    x, y = (normalize(torch.randn(9, 7, dtype=torch.float64), dim=1) for _ in "xy")
    s, order = torch.tensor(10.0, dtype=torch.float64), torch.arange(9).roll(4)
    for name in HEAD_NAMES[:6]:
        bias = torch.tensor(-2.0) if name == "sigmoid" else None
        plain, shuffled = (
            float(HEADS[name](Logits(a, b, scale=s, bias=bias))) for a, b in ((x, y), (x[order], y[order]))
        )
        assert abs(plain - shuffled) < 1e-12
    trapped = [
        float(torch.nn.functional.cross_entropy(s * b @ b.T, torch.zeros(9, dtype=torch.long)))
        for b in (y, y[order])
    ]
    assert abs(trapped[0] - trapped[1]) > 1e-3


def test_overlay_of_no_pairs_is_empty():
    empty = PairLabels().for_batch(["a"], ["b"])
    assert isinstance(empty, Overlay) and len(empty.row) == 0
