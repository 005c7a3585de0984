"""Ten of the campaign's kills: `python benchmarks/kill_training.py --kills 200` is the whole of it."""

import subprocess
import sys
from pathlib import Path

CAMPAIGN = Path(__file__).parents[2] / "benchmarks" / "kill_training.py"


def test_training_killed_ten_times_ends_with_the_same_bits():
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), "--kills", "10", "--seed", "7", "--no-write"],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 kills" in done.stdout and done.stdout.strip().endswith(" 0 mismatches")
