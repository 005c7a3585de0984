"""The same numbers for TensorBoard, where it is installed, and for Weights & Biases, where its environment asks for it."""

import os
from pathlib import Path
from typing import Any


class Trackers:
    """TensorBoard files beside the run with `pip install nearmiss[tracking]`; W&B when WANDB_PROJECT is set too."""

    def __init__(self, folder: Path, *, name: str, config_yaml: str, from_step: int):
        self._tensorboard = _tensorboard(folder / "tensorboard", from_step)
        self._wandb = _wandb(folder, name, config_yaml)

    def take(self, what: str, step: int, values: dict[str, float]) -> None:
        """Numbers of a step or an evaluation (`what`), under `what/NAME`."""
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(f"{what}/{name}", value, step)
        if self._wandb is not None:
            self._wandb.log({f"{what}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """What was taken is written."""
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def _tensorboard(folder: Path, from_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=from_step + 1 if from_step else None)


def _wandb(folder: Path, name: str, config_yaml: str) -> Any:
    if not os.environ.get("WANDB_PROJECT"):
        return None
    try:
        import wandb
        import yaml
    except ImportError:
        return None
    return wandb.init(dir=str(folder), name=name, config=yaml.safe_load(config_yaml), resume="allow")
