"""The step on a GPU: ViT-B/32 in bf16 autocast, ours against open_clip's accumulation at equal micro-batches.

    make bench-gpu        (python benchmarks/step_gpu.py; --quick on any device for a look at small sizes)

Random pixels and tokens on the device, so that decoding plays no part. Times are medians of interleaved rounds after a
warm-up; memory is torch's own peak. MFU counts 3 forward passes of model FLOPs a pair (what the gradient needs) over the
device's dense bf16 rate, so recomputation counts against it. Results go under `h200` in benchmarks/results/step.json
when the device is an H200; on others they are printed.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from open_clip.loss import ClipLoss
from torch import Tensor
from torch.nn.functional import normalize

from clipcore.gradcache import Pass, cached_backward, saved_bytes
from clipcore.logits import Logits
from clipcore.losses.info_nce import info_nce

BF16_FLOPS = {"NVIDIA H200": 989e12}  # dense, from the data sheet
FORWARD_FLOPS = 2 * (
    4.4e9 + 2.96e9
)  # ViT-B/32: multiply-adds of both towers a pair, from open_clip's model profile
RESULT = Path(__file__).parent / "results/step.json"


class Setup:
    """A model, N pairs on the device in micro-batches of m, and two ways to take the gradient."""

    def __init__(self, n: int, m: int, *, name: str, device: torch.device, budget_gb: float):
        torch.manual_seed(0)
        self.model, self.device = open_clip.create_model(name, device=device).train(), device
        side = self.model.visual.image_size
        side = side[0] if isinstance(side, tuple) else side
        pixels = torch.randn(m, 3, side, side, device=device, dtype=torch.bfloat16)
        tokens = torch.randint(1, 49_000, (n, self.model.context_length), device=device)
        shift = torch.randn(n // m, 1, 1, 1, device=device, dtype=torch.bfloat16)
        self.parts = [[pixels + s for s in shift], list(tokens.split(m))]  # distinct pictures, cheaply made
        passes = zip((self.image, self.caption), self.parts, strict=True)
        self.passes = [Pass(encode, parts, 100_000 * k) for k, (encode, parts) in enumerate(passes)]
        each = [saved_bytes(p.encode, p.micro_batches[0], self.model.parameters()) for p in self.passes]
        self.resident = min(int(budget_gb * 1e9 / max(each)), 2 * (n // m))

    def image(self, pixels: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            return normalize(self.model.encode_image(pixels.float()), dim=1).float()

    def caption(self, tokens: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            return normalize(self.model.encode_text(tokens), dim=1).float()

    def ours(self) -> None:
        """Gradient caching, tiled loss, residency from the budget."""
        cached_backward(
            self.passes,
            lambda x, y: info_nce(Logits(x, y, scale=self.model.logit_scale.exp())),
            num_resident=self.resident,
            device=self.device,
        )

    def accumulated(self) -> None:
        """open_clip's accumulation."""
        with torch.no_grad():
            kept = [[p.encode(part) for part in p.micro_batches] for p in self.passes]
        for j in range(len(kept[0])):
            whole = [
                torch.cat([*features[:j], p.encode(p.micro_batches[j]), *features[j + 1 :]])
                for p, features in zip(self.passes, kept, strict=True)
            ]
            ClipLoss()(*whole, self.model.logit_scale.exp()).backward()

    def time(self, step: Callable[[], None]) -> tuple[float, float]:
        """Seconds, and the peak in GB beyond what lay there before."""
        self.model.zero_grad(set_to_none=True)
        before = _memory(self.device, reset=True)
        began = time.perf_counter()
        step()
        _wait(self.device)
        return time.perf_counter() - began, (_memory(self.device) - before) / 1e9


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device, *, reset: bool = False) -> float:
    """Bytes now (with `reset`, which begins a new peak), or the peak; 0 off CUDA."""
    if device.type != "cuda":
        return 0.0
    _wait(device)
    if reset:
        torch.cuda.reset_peak_memory_stats(device)
        return float(torch.cuda.memory_allocated(device))
    return float(torch.cuda.max_memory_allocated(device))


def loss_memory(n: int, d: int, device: torch.device, *, dense: bool) -> float:
    """GB that forward and backward of the loss take beyond the inputs; nan where it does not fit."""
    x, y = (normalize(torch.randn(n, d, device=device), dim=1).requires_grad_() for _ in "xy")
    scale = torch.tensor(100.0, device=device, requires_grad=True)
    before = _memory(device, reset=True)
    try:
        (ClipLoss()(x, y, scale) if dense else info_nce(Logits(x, y, scale=scale))).backward()
        return (_memory(device) - before) / 1e9
    except torch.OutOfMemoryError:
        return float("nan")


def main() -> None:
    """Measures and prints; writes where the device is the one that the figures are named after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--micro-batch", type=int, default=1024)
    parser.add_argument("--budget-gb", type=float, default=80.0)
    given = parser.parse_args()
    if not torch.cuda.is_available() and not given.quick:
        raise SystemExit(
            "There is no CUDA device here: run it where there is one, or --quick for small sizes."
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    n, m, name = (8, 4, "ViT-S-32") if given.quick else (32_768, given.micro_batch, "ViT-B-32")
    setup = Setup(n, m, name=name, device=device, budget_gb=0.3 if given.quick else given.budget_gb)
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "open_clip": []}
    for turn in range(2 if given.quick else 4):
        for key, step in (("ours", setup.ours), ("open_clip", setup.accumulated)):
            found = setup.time(step)
            times[key] += [found] if turn else []
            print(key, found, flush=True)
    seconds = {key: statistics.median(t for t, _ in found) for key, found in times.items()}
    large = 64 if given.quick else 131_072
    peak = BF16_FLOPS.get(_name(device))
    figures = {
        "device": _name(device),
        "pairs": n,
        "micro_batch": m,
        "resident": setup.resident,
        "speedup": seconds["open_clip"] / seconds["ours"],
        "samples_per_s": n / seconds["ours"],
        "samples_per_s_open_clip": n / seconds["open_clip"],
        "mfu": peak and 3 * FORWARD_FLOPS * n / seconds["ours"] / peak,
        "peak_gb": max(g for _, g in times["ours"]),
        "peak_gb_open_clip": max(g for _, g in times["open_clip"]),
        "loss_gb": loss_memory(n, 512, device, dense=False),
        "loss_gb_open_clip": loss_memory(n, 512, device, dense=True),
        f"loss_gb_{large}": loss_memory(large, 512, device, dense=False),
        f"loss_gb_{large}_open_clip": loss_memory(large, 512, device, dense=True),
    }
    print(json.dumps(figures, indent=2))
    if _name(device) == "NVIDIA H200" and not given.quick:
        found = json.loads(RESULT.read_text(encoding="utf-8"))
        found["figures"]["h200"] = figures
        RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


if __name__ == "__main__":
    main()
