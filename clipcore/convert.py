"""`python -m clipcore.convert weights.pt weights.safetensors`: tensors out of a pickle, read in a process of its own.

torch's `weights_only` has been bypassed twice (CVE-2025-32434, CVE-2026-24747), so the reading process gets no
environment, an empty working folder, and limits on time, file size and processes. That contains an accident and makes
an attack harder; it is not a jail: convert files of unknown origin on a machine that holds nothing.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from clipcore.errors import ClipcoreError

LIMIT_S = 600
READ = """
import resource, sys, torch
from safetensors.torch import save_file
size = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
resource.setrlimit(resource.RLIMIT_NPROC, (64, 64))
found = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
for key in ("state_dict", "model"):
    if isinstance(found, dict) and isinstance(found.get(key), dict):
        found = found[key]
tensors = {k.removeprefix("module."): v.clone().contiguous() for k, v in found.items() if isinstance(v, torch.Tensor)}
if not tensors:
    sys.exit("it holds no tensors by name")
save_file(tensors, sys.argv[2])
"""


def convert(source: str | Path, target: str | Path) -> None:
    """Writes the named tensors of a pickled checkpoint as safetensors. Raises ClipcoreError with the reason."""
    source, target = Path(source).resolve(), Path(target).resolve()
    if not source.is_file():
        raise ClipcoreError(f"There is no file {source}: name the checkpoint to convert.")
    if target.exists():
        raise ClipcoreError(f"{target} exists already: name another file, or remove it.")
    with tempfile.TemporaryDirectory() as empty:
        out = Path(empty) / "out.safetensors"
        limit = str(2 * source.stat().st_size + 1_000_000)
        command = [sys.executable, "-I", "-c", READ, str(source), str(out), limit]
        try:
            done = subprocess.run(command, cwd=empty, env={}, capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            raise ClipcoreError(f"{source} was not read within {LIMIT_S} s: is it a checkpoint?") from None
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["its process was ended"])[-1]
            raise ClipcoreError(f"{source} could not be converted: {last}")
        target.write_bytes(out.read_bytes())


def main() -> int:
    """The exit code."""
    if len(sys.argv) != 3:
        print("usage: python -m clipcore.convert WEIGHTS.pt WEIGHTS.safetensors", file=sys.stderr)
        return 2
    try:
        convert(*sys.argv[1:])
    except ClipcoreError as error:
        print(f"clipcore: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
