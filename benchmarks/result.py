"""What every benchmark writes beside its figures: the machine, the versions, the commit, the command, the date."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "torch",
    "open_clip_torch",
    "gradio",
    "celery",
    "sqlalchemy",
    "numpy",
    "sentence-transformers",
    "faiss-cpu",
)


RESULTS = ROOT / "benchmarks" / "results"


def write_result(name: str, figures: dict[str, Any], *, quick: bool = False, **notes: Any) -> Path | None:
    """Prints the figures as a table and writes benchmarks/results/NAME.json.

    Figures of `quick` sizes never go there: run.py names a folder for them in NEARMISS_QUICK_RESULTS, else none are kept.
    """
    for key, value in figures.items():
        print(f"{key:<32} {value:.4g}" if isinstance(value, float) else f"{key:<32} {value}")
    result = {
        "machine": machine(),
        "versions": versions(),
        "commit": git("rev-parse", "HEAD") + (" with changes" if _changed() else ""),
        "command": " ".join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "figures": figures,
        **notes,
    }
    folder = os.environ.get("NEARMISS_QUICK_RESULTS") if quick else RESULTS
    if not folder:
        return None
    path = Path(folder) / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GB, accelerator."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    names = [x.split(":")[1].strip() for x in _cpuinfo() if x.startswith("model name")]
    found: dict[str, Any] = {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory, 1),
        "system": platform.platform(),
    }
    try:
        import torch

        found["gpu"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    except ImportError:
        found["gpu"] = None
    return found


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide a figure."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _changed() -> str:
    """What differs from the commit, but for results, which the benchmark before this one may just have written."""
    return git("status", "--porcelain", "--", ".", ":!benchmarks/results", ":!docs/plots")


def git(*arguments: str) -> str:
    """What git says, stripped; empty when it fails."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()
