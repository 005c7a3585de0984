"""The GPUs of this machine, without a look into torch."""

import os
import shutil
import subprocess


def visible_gpus() -> list[str]:
    """Those that this process may use: CUDA_VISIBLE_DEVICES, else what the driver lists; none for NEARMISS_DEVICE=cpu."""
    if os.environ.get("NEARMISS_DEVICE") == "cpu":
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu for gpu in chosen.split(",") if gpu.strip()]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20).stdout.splitlines()
    return [str(i) for i, line in enumerate(listed) if line.startswith("GPU ")]
