"""clipcore: the exact, label-aware, memory-bounded contrastive trainer on open_clip. Lazy: torch comes with first use."""

from importlib import import_module
from typing import Any

_HOMES = {
    "ClipcoreError": "errors",
    "Example": "data",
    "FineTuneConfig": "config",
    "FineTuneData": "data",
    "Label": "labels",
    "PairLabels": "labels",
    "Probe": "events",
    "fine_tune": "finetune",
    "load_towers": "towers",
    "preset": "config",
    "retrieval_metrics": "evaluate",
    "zero_shot_metrics": "zero_shot",
    "zero_shot_weights": "zero_shot",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clipcore' has no attribute {name!r}")
    value = getattr(import_module(f"clipcore.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
