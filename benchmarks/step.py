"""Our loss and our step against open_clip's, in one run, with the gradient's error beside the times.

    python benchmarks/step.py [--quick]

Loss alone: tiled InfoNCE against open_clip's ClipLoss (two logit matrices) and a dense loss with one matrix, at s = 100.
Step: gradient caching + tiled loss against open_clip's accumulation (every micro-batch computes the whole loss again)
and against one big batch, and against sentence-transformers' cached symmetric loss where it is installed (pip install
sentence-transformers; it learns no scale). All times are medians of interleaved rounds after a warm-up. Towers are
small transformers on random tokens; memory is the peak of a process of its own. --quick: small sizes, writes nothing.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from open_clip.loss import ClipLoss
from result import write_result
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from clipcore.gradcache import Pass, cached_backward, saved_bytes
from clipcore.logits import Logits
from clipcore.losses.info_nce import info_nce

SCALE = 100.0


def ours(x_ND: Tensor, y_ND: Tensor, scale: Tensor) -> Tensor:
    """Tiled InfoNCE."""
    return info_nce(Logits(x_ND, y_ND, scale=scale))


def theirs(x_ND: Tensor, y_ND: Tensor, scale: Tensor) -> Tensor:
    """open_clip's loss."""
    return ClipLoss()(x_ND, y_ND, scale)


def one_matrix(x_ND: Tensor, y_ND: Tensor, scale: Tensor) -> Tensor:
    """A dense loss that forms its logits once."""
    z_NN, own_N = scale * x_ND @ y_ND.T, torch.arange(len(x_ND))
    return (cross_entropy(z_NN, own_N) + cross_entropy(z_NN.T, own_N)) / 2


@dataclass(frozen=True)
class Shape:
    """A tower: 24·width² FLOPs a token and layer, forward."""

    tokens: int
    width: int
    layers: int

    def flops(self) -> float:
        """Forward FLOPs of one item, attention's own products left out."""
        return 24.0 * self.width**2 * self.tokens * self.layers


SMALL = Shape(tokens=32, width=256, layers=2)  # 0.1 GFLOP an item
LARGE = Shape(
    tokens=26, width=512, layers=3
)  # 0.5 GFLOP an item; wider, so fewer activations a FLOP, as real towers


class Tower(nn.Module):
    """Tokens [m, T, W] → normalised embeddings [m, D]."""

    def __init__(self, shape: Shape, out: int):
        super().__init__()
        width = shape.width
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, out, bias=False)

    def forward(self, item_mTW: Tensor) -> Tensor:
        return normalize(self.head(self.blocks(item_mTW).mean(1)), dim=1)


class Setup:
    """Two towers, a batch of N pairs in micro-batches of m, and the ways to take its gradient."""

    def __init__(self, n: int, m: int, *, shape: Shape, out: int, dtype: torch.dtype = torch.float32):
        torch.manual_seed(0)
        self.m = m
        self.towers = [Tower(shape, out).to(dtype) for _ in "xy"]
        self.log_scale = nn.Parameter(torch.tensor(SCALE, dtype=dtype).log())
        items = [torch.randn(n, shape.tokens, shape.width, dtype=dtype) for _ in "xy"]
        self.items, self.parts = items, [list(item.split(m)) for item in items]

    def clip(self, x_ND: Tensor, y_ND: Tensor) -> Tensor:
        return ours(x_ND, y_ND, self.log_scale.exp())

    def cached(self, num_resident: int = 0) -> None:
        """Ours."""
        passes = [
            Pass(t, p, 1 + 10_000 * k) for k, (t, p) in enumerate(zip(self.towers, self.parts, strict=True))
        ]
        cached_backward(passes, self.clip, num_resident=num_resident)

    def accumulated(self) -> None:
        """open_clip's accumulation: the loss over all features for each micro-batch, one of them with a graph."""
        with torch.no_grad():
            kept = [
                [tower(part) for part in parts] for tower, parts in zip(self.towers, self.parts, strict=True)
            ]
        for j in range(len(kept[0])):
            whole = []
            for tower, parts, features in zip(self.towers, self.parts, kept, strict=True):
                whole.append(torch.cat([*features[:j], tower(parts[j]), *features[j + 1 :]]))
            theirs(*whole, self.log_scale.exp()).backward()

    def plain(self) -> None:
        """One big batch with open_clip's loss."""
        theirs(*(t(i) for t, i in zip(self.towers, self.items, strict=True)), self.log_scale.exp()).backward()

    def sentence_transformers(self) -> Callable[[], None]:
        """Its cached symmetric loss over the same towers (at a fixed scale)."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.losses import CachedMultipleNegativesSymmetricRankingLoss

        model = SentenceTransformer(modules=[_Both(self.towers)], device="cpu")
        loss = CachedMultipleNegativesSymmetricRankingLoss(
            model, scale=SCALE, mini_batch_size=self.m, show_progress_bar=False
        )
        which = [torch.full((len(item),), k) for k, item in enumerate(self.items)]

        def step() -> None:
            features = [{"item": i, "which": w} for i, w in zip(self.items, which, strict=True)]
            loss(features, torch.zeros(0)).backward()

        return step

    def fits(self, budget_bytes: float) -> int:
        """How many micro-batches keep their graph within the budget."""
        each = [saved_bytes(t, p[0], t.parameters()) for t, p in zip(self.towers, self.parts, strict=True)]
        return min(int(budget_bytes / (sum(each) / len(each))), 2 * len(self.parts[0]))

    def time(self, step: Callable[[], None]) -> float:
        """Seconds of one step."""
        for parameter in self.parameters():
            parameter.grad = None
        began = time.perf_counter()
        step()
        return time.perf_counter() - began

    def parameters(self) -> list[nn.Parameter]:
        return [*self.towers[0].parameters(), *self.towers[1].parameters(), self.log_scale]

    def gradient(self, step: Callable[[], None]) -> list[Tensor]:
        self.time(step)
        return [p.grad.double().clone() for p in self.parameters() if p.grad is not None]


class _Both(nn.Module):
    """Both towers as one sentence-transformers module."""

    def __init__(self, towers: list[Tower]):
        super().__init__()
        self.towers = nn.ModuleList(towers)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        tower = self.towers[int(features["which"][0])]
        return {**features, "sentence_embedding": tower(features["item"])}


def interleaved(setup: Setup, steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each step; every round runs all of them, the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            spent = setup.time(step)
            if turn:
                times[name].append(spent)
    return {name: statistics.median(found) for name, found in times.items()}


def loss_speed(n: int, d: int, rounds: int) -> dict[str, float]:
    """Median seconds of forward + backward, interleaved."""
    torch.manual_seed(0)
    x, y = (normalize(torch.randn(n, d), dim=1).requires_grad_() for _ in "xy")
    scale, times = torch.tensor(SCALE, requires_grad=True), {f: [] for f in (ours, theirs, one_matrix)}
    for turn in range(rounds + 1):
        for loss, found in times.items():
            began = time.perf_counter()
            loss(x, y, scale).backward()
            if turn:
                found.append(time.perf_counter() - began)
    return {loss.__name__: statistics.median(found) for loss, found in times.items()}


def gradient_error(dtype: torch.dtype, *, dense: bool = False) -> float:
    """The largest relative L2 difference of a tensor's gradient from the float64 one-batch step, m not dividing N."""
    reference = Setup(300, 300, shape=Shape(32, 256, 1), out=64, dtype=torch.float64)
    exact = reference.gradient(reference.plain)
    if dense:
        whole = Setup(300, 300, shape=Shape(32, 256, 1), out=64, dtype=torch.float64)
        for parameter in whole.parameters():
            parameter.data = parameter.data.to(dtype)
        whole.items = [item.to(dtype) for item in whole.items]
        return _largest(whole.gradient(whole.plain), exact)
    tried = Setup(300, 64, shape=Shape(32, 256, 1), out=64, dtype=torch.float64)
    for parameter in tried.parameters():
        parameter.data = parameter.data.to(dtype)
    tried.parts = [[part.to(dtype) for part in parts] for parts in tried.parts]
    found = [tried.gradient(lambda r=r: tried.cached(r)) for r in (0, 4, 99)]
    return max(_largest(each, exact) for each in found)


def _largest(found: list[Tensor], exact: list[Tensor]) -> float:
    return max(float((g - e).norm() / e.norm()) for g, e in zip(found, exact, strict=True))


def child(n: int, d: int) -> None:
    """Prints the process's peak in MB, and how much of it forward and backward added to the inputs (Linux)."""
    for rows in (64, n):
        x, y = (normalize(torch.randn(rows, d), dim=1).requires_grad_() for _ in "xy")
        scale = torch.tensor(SCALE, requires_grad=True)
        before = _status_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        ours(x, y, scale).backward()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, _status_mb("VmHWM") - before)


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def in_child(n: int, d: int) -> tuple[float, float]:
    """Whole-process peak and the loss's share of it, MB."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(n), str(d)], capture_output=True, text=True
    )
    whole, own = done.stdout.split()
    return float(whole), float(own)


def main() -> None:
    """Measures, prints, writes benchmarks/results/step.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--child", nargs=2, type=int)
    given = parser.parse_args()
    if given.child:
        return child(*given.child)
    k = 8 if given.quick else 1
    errors = [gradient_error(dtype) for dtype in (torch.float64, torch.float32)]
    speed = loss_speed(6144 // k, 512, 5)
    print("loss, s:", speed, flush=True)
    loss_mb = in_child(16384 // k, 512)[1]
    peak = in_child(65536 // k, 256)[0]
    print(f"loss memory {loss_mb:.0f} MB, peak at 65,536: {peak:.0f} MB", flush=True)
    accumulated = {}
    for m in (512, 128, 32):
        setup = Setup(4096 // k, m, shape=SMALL, out=256)
        found = interleaved(
            setup, {"ours_s": setup.cached, "open_clip_s": setup.accumulated}, 1 + given.quick
        )
        accumulated[m] = found | {"speedup": found["open_clip_s"] / found["ours_s"]}
        print(f"step m={m}:", accumulated[m], flush=True)
    heavy = Setup(1024 // k, 64, shape=LARGE, out=256)
    resident = heavy.fits(4e9)
    steps = {"ours_s": lambda: heavy.cached(resident), "open_clip_s": heavy.accumulated}
    with_room = interleaved(heavy, steps, 3)
    print(f"1,024 with {resident} of {2 * len(heavy.parts[0])} resident:", with_room, flush=True)
    light = Setup(512 // k, 64, shape=SMALL, out=256)
    full = interleaved(light, {"ours_s": lambda: light.cached(99), "plain_s": light.plain}, 7)
    print("all resident against one batch:", full, flush=True)
    peer = None
    if find_spec("sentence_transformers"):
        same = Setup(1024 // k, 64, shape=SMALL, out=256)
        steps = {"ours_s": same.cached, "sentence_transformers_s": same.sentence_transformers()}
        peer = interleaved(same, steps, 3)
        print("against sentence-transformers' cached loss:", peer, flush=True)
    figures = {
        "loss_memory_mb_16384": loss_mb,
        "loss_speedup_6144": speed["theirs"] / speed["ours"],
        "loss_speedup_6144_one_matrix": speed["one_matrix"] / speed["ours"],
        "step_speedup_4096": accumulated[32]["speedup"],
        "step_speedup_4096_m128": accumulated[128]["speedup"],
        "step_speedup_4096_m512": accumulated[512]["speedup"],
        "step_speedup_1024_resident": with_room["open_clip_s"] / with_room["ours_s"],
        "resident_ratio": full["ours_s"] / full["plain_s"],
        "step_speedup_1024_sentence_transformers": peer and peer["sentence_transformers_s"] / peer["ours_s"],
        "n65536_peak_mb": peak,
        "max_rel_grad_error_fp64": errors[0],
        "max_rel_grad_error_fp32": errors[1],
        "max_rel_grad_error_fp32_one_batch": gradient_error(torch.float32, dense=True),
        "h200": None,
    }
    write_result(
        "step",
        figures,
        quick=given.quick,
        loss_seconds_6144=speed,
        step_seconds_4096=accumulated,
        resident_1024={"micro_batches": resident, "of": 2 * len(heavy.parts[0])} | with_room,
        resident_512=full,
        sentence_transformers_1024=peer,
    )


if __name__ == "__main__":
    main()
