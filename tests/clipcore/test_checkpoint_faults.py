"""Checkpoints under a disk that fails: the one before stays whole, and what is damaged is never taken for whole."""

import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from clipcore.checkpoint import State, checkpoints, load_checkpoint, save_checkpoint
from clipcore.errors import ClipcoreError, DiskFull

pytestmark = pytest.mark.timeout(600)
FLIPS = 1000


def state(step: int) -> State:
    tensors = {"parameter.w": torch.full((4, 5), float(step)), "optimiser.exp_avg.w": torch.ones(20)}
    return State(tensors, {"step": step, "fingerprint": "f", "before": {"r@1": 0.5}, "best": {}})


def test_of_a_thousand_bit_flips_none_is_taken_for_a_whole_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state(1))
    newest = save_checkpoint(tmp_path, state(2))
    files = [newest / "state.safetensors", newest / "state.json"]
    whole = {file: file.read_bytes() for file in files}
    chance = random.Random(0)
    for _ in range(FLIPS):
        file = chance.choice(files)
        bit = chance.randrange(8 * len(whole[file]))
        damaged = bytearray(whole[file])
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        found, remarks = load_checkpoint(tmp_path)
        file.write_bytes(whole[file])
        assert found is not None
        if found.values["step"] == 1:
            assert "step-00000002 is damaged" in remarks[0]
        else:  # a flip that changes nothing that is read, as in a blank
            assert found.values == state(2).values | {"step": 2}
            assert all(torch.equal(v, state(2).tensors[k]) for k, v in found.tensors.items())


@pytest.mark.parametrize("fault, expected", [("ENOSPC", DiskFull), ("EIO", ClipcoreError)])
def test_a_write_that_the_disk_refuses_leaves_the_checkpoint_before_whole(
    tmp_path: Path, fault: str, expected: type[ClipcoreError]
) -> None:
    strace = shutil.which("strace")
    if strace is None:
        if os.environ.get("CI"):
            pytest.fail("strace is missing; install it")
        pytest.skip("strace is missing, so no fault is injected here")
    script = textwrap.dedent(f"""
        import pathlib, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_checkpoint_faults import save_checkpoint, state
        from clipcore.errors import ClipcoreError
        folder = pathlib.Path({str(tmp_path)!r})
        save_checkpoint(folder, state(1))
        try:
            save_checkpoint(folder, state(2))
        except ClipcoreError as error:
            print(type(error).__name__, error)
    """)
    inject = f"inject=fsync:error={fault}:when=5+"  # the first checkpoint takes four
    command = [
        strace,
        "-f",
        "-qq",
        "-e",
        "trace=fsync",
        "-e",
        inject,
        "-o",
        "/dev/null",
        sys.executable,
        "-c",
        script,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    if "ptrace" in done.stderr.lower() and not os.environ.get("CI"):
        pytest.skip("this machine does not let strace watch a process")
    assert done.stdout.startswith(expected.__name__), done.stdout + done.stderr
    assert "the one before is intact" in done.stdout
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000001"]
    found, remarks = load_checkpoint(tmp_path)
    assert found is not None and not remarks and not list(tmp_path.glob(".writing-*"))


def test_a_full_disk_says_what_is_needed_and_what_is_free(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount the small disk of this test")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail("a small tmpfs could not be mounted")
        pytest.skip("this machine does not let the test mount a small disk")
    try:
        big = State({"parameter.w": torch.zeros(500_000)}, state(1).values)
        save_checkpoint(disk, big)
        bigger = State({"parameter.w": torch.zeros(500_000)}, state(2).values)
        with pytest.raises(DiskFull, match=r"needs 2\.0 MB, 1\.\d MB free: make room, then resume"):
            save_checkpoint(disk, bigger)
        found, _ = load_checkpoint(disk)
        assert found is not None and found.values["step"] == 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
