"""The performance suite: small sizes stay out of the results, a failing member is said, the table compares."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def suite(monkeypatch, tmp_path):
    """benchmarks/run.py, whose members are scripts in a temporary folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    run = importlib.import_module("run")
    monkeypatch.setattr(run, "HERE", tmp_path)
    return run


def script(folder, text):
    (folder / "member.py").write_text(f"import os, pathlib, sys, time\n{text}\n")


WRITES = """
folder = pathlib.Path(os.environ["NEARMISS_QUICK_RESULTS"])
(folder / "member.json").write_text('{"figures": {"quick": %d}}' % ("--quick" in sys.argv))
"""


def test_a_member_is_told_that_sizes_are_small_and_where_its_figures_go(suite, tmp_path):
    script(tmp_path, WRITES)
    found = suite.run(suite.Member("member", "a peer", 100), True, tmp_path)
    assert found["ok"] and found["figures"] == {"quick": 1}


def test_figures_of_small_sizes_never_lie_among_the_results(suite, tmp_path, monkeypatch):
    result = importlib.import_module("result")
    monkeypatch.setattr(result, "machine", dict)
    monkeypatch.setattr(result, "RESULTS", tmp_path / "results")
    monkeypatch.delenv("NEARMISS_QUICK_RESULTS", raising=False)
    assert result.write_result("member", {"s": 2.0}, quick=True) is None
    monkeypatch.setenv("NEARMISS_QUICK_RESULTS", str(tmp_path))
    assert result.write_result("member", {"s": 2.0}, quick=True) == tmp_path / "member.json"
    assert not (tmp_path / "results").exists()


def test_a_member_that_fails_or_writes_nothing_is_no_success(suite, tmp_path):
    script(tmp_path, "sys.exit(3)")
    assert suite.run(suite.Member("member", "", 100), True, tmp_path)["said"] == "ended with 3"
    script(tmp_path, "")
    assert suite.run(suite.Member("member", "", 100), True, tmp_path)["said"] == "wrote no result"
    script(tmp_path, "time.sleep(30)")
    assert "not done" in suite.run(suite.Member("member", "", 1), True, tmp_path)["said"]


def test_the_table_says_the_ratio_to_the_committed_figure(suite):
    found = {"name": "member", "ok": True, "said": "", "figures": {"s": 3.0}, "before": {"s": 2.0}}
    assert "1.50" in suite.table([found], compare=True)
    assert "1.50" not in suite.table([found], compare=False)


def test_limits_of_the_small_sizes_are_half_an_hour_together(suite):
    assert sum(member.limit_s for member in suite.SUITE) <= 1800
