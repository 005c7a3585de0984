"""What a run cost: time of its steps and peak memory, for the estimate before the next one."""

import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from clipcore.events import Event, Started, StepDone


def peak_memory_bytes() -> int:
    """The most that this process has held: of the GPU where it uses one, else of the machine's memory."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_limit_bytes() -> int:
    """The most that this process may hold: the GPU's memory where there is one, else the machine's or the container's."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        said = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return whole
    return min(whole, int(said)) if said.isdigit() else whole


class Took:
    """What the steps of this attempt cost, for the estimate before the next run."""

    def __init__(self) -> None:
        self.steps, self._began, self._ended = 0, 0.0, 0.0

    def see(self, event: Event) -> None:
        """Counts steps from the first to the last."""
        if isinstance(event, Started):
            self._began = time.monotonic()
        if isinstance(event, StepDone):
            self.steps, self._ended = self.steps + 1, time.monotonic()

    def as_dict(self) -> dict[str, Any]:
        """For the run's row."""
        spent = round(self._ended - self._began, 2) if self.steps else 0.0
        return {"steps": self.steps, "training_s": spent, "memory_bytes": peak_memory_bytes()}
