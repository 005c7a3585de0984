"""2,000 fuzzed cases in every test run; `make fuzz` does 50,000."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))


@pytest.mark.timeout(300)
def test_two_thousand_fuzzed_files_and_requests_crash_nothing():
    pytest.importorskip("schemathesis")
    from fuzz import fuzz

    found = fuzz(2_000, seed=20_261_124)
    assert found.crashes == [] and found.answers_5xx == []
    assert sum(found.cases.values()) > 1_500 and found.refused > 200
    assert 0 < found.child_peak_mb <= 1024
