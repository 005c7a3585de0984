"""The same numbers for TensorBoard, where it is installed, and for Weights & Biases, where its environment asks for it.

A tracker is a guest: one that fails is left out with a line in the log, and the run goes on.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clipcore.evaluate import HISTOGRAM_EDGES


class Trackers:
    """TensorBoard files beside the run with `pip install nearmiss[tracking]`; W&B when WANDB_PROJECT is set too."""

    def __init__(
        self, folder: Path, *, name: str, config_yaml: str, from_step: int, log: Callable[[str], None] = print
    ):
        self._log = log
        self._tensorboard = self._opened(
            "TensorBoard", lambda: _tensorboard(folder / "tensorboard", from_step)
        )
        self._wandb = self._opened("W&B", lambda: _wandb(folder, name, config_yaml))

    def take(self, what: str, step: int, values: dict[str, float]) -> None:
        """Numbers of a step or an evaluation (`what`), under `what/NAME`."""
        named = {f"{what}/{name}": value for name, value in values.items()}
        if self._tensorboard is not None:
            writer = self._tensorboard
            try:
                for name, value in named.items():
                    writer.add_scalar(name, value, step)
            except Exception as error:
                self._tensorboard = self._left_out("TensorBoard", error)
        self._log_to_wandb(step, lambda: named)

    def take_histograms(self, step: int, histograms: dict[str, list[int]]) -> None:
        """Cosines counted in the bins of HISTOGRAM_EDGES, under `similarities/NAME`."""
        counted = {f"similarities/{name}": counts for name, counts in histograms.items() if any(counts)}
        if self._tensorboard is not None:
            writer = self._tensorboard
            try:
                for name, counts in counted.items():
                    writer.add_histogram_raw(name, **_raw(counts), global_step=step)
            except Exception as error:
                self._tensorboard = self._left_out("TensorBoard", error)
        if counted:
            self._log_to_wandb(step, lambda: _for_wandb(counted))

    def _log_to_wandb(self, step: int, values: Callable[[], dict[str, Any]]) -> None:
        if self._wandb is not None:
            try:
                self._wandb.log(values(), step=step)
            except Exception as error:
                self._wandb = self._left_out("W&B", error)

    def close(self) -> None:
        """What was taken is written."""
        for name, end in (
            ("TensorBoard", self._tensorboard and self._tensorboard.close),
            ("W&B", self._wandb and self._wandb.finish),
        ):
            try:
                if end:
                    end()
            except Exception as error:
                self._left_out(name, error)

    def _opened(self, name: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except Exception as error:
            return self._left_out(name, error)

    def _left_out(self, name: str, error: Exception) -> Any:
        self._log(f"{name} is left out of the rest of this run: {type(error).__name__}: {error}")
        return None


def _tensorboard(folder: Path, from_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=from_step + 1 if from_step else None)


def _raw(counts: list[int]) -> dict[str, Any]:
    """A histogram's counts as TensorBoard takes them; sums are those of the bins' middles."""
    edges, number = HISTOGRAM_EDGES, np.array(counts)
    middle, (filled,) = (edges[:-1] + edges[1:]) / 2, number.nonzero()
    return {
        "min": float(edges[filled[0]]),
        "max": float(edges[filled[-1] + 1]),
        "num": int(number.sum()),
        "sum": float((number * middle).sum()),
        "sum_squares": float((number * middle**2).sum()),
        "bucket_limits": edges[1:].tolist(),
        "bucket_counts": counts,
    }


def _for_wandb(counted: dict[str, list[int]]) -> dict[str, Any]:
    import wandb

    return {name: wandb.Histogram(np_histogram=(counts, HISTOGRAM_EDGES)) for name, counts in counted.items()}


def _wandb(folder: Path, name: str, config_yaml: str) -> Any:
    """The W&B run; its id comes from the folder, so that a run which resumes goes on in the same one."""
    if not os.environ.get("WANDB_PROJECT"):
        return None
    try:
        import wandb
        import yaml
    except ImportError:
        return None
    id_ = hashlib.sha256(f"{folder.resolve()}\n{config_yaml}".encode()).hexdigest()[:16]
    return wandb.init(dir=str(folder), id=id_, name=name, config=yaml.safe_load(config_yaml), resume="allow")
