"""What docs/evidence.md rests on: intervals paired per query, seeds and clusters drawn, Holm's correction, sham labels."""

import importlib
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("value_report")


def rows(gain, *, noise=0.02, seeds=5):
    """Two arms whose queries differ by `gain` on average; queries of a cluster differ alike."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(seeds):
        cluster = np.repeat(np.arange(60), 5)
        hard = rng.random(300)
        off = gain + noise * np.repeat(rng.standard_normal(60), 5)
        found.append(
            {
                "plain": {"ap": hard.tolist(), "cluster": cluster.tolist()},
                "all@300": {"ap": (hard + off).tolist(), "cluster": cluster.tolist()},
            }
        )
    return found


def test_a_gain_far_smaller_than_the_spread_of_queries_is_seen_because_they_are_paired(report):
    found = report.compare(rows(0.01), "all@300", "plain")
    assert found["low"] > 0 and abs(found["gain"] - 0.01) < 0.005


def test_queries_of_one_cluster_do_not_count_as_independent(report):
    found = report.compare(rows(0.0), "all@300", "plain")
    alone = 1.96 * 0.02 / np.sqrt(5 * 300)  # what five times as many independent queries would give
    assert found["high"] - found["low"] > 1.6 * 2 * alone
    assert found["low"] < found["gain"] < found["high"]


def test_holm_multiplies_the_smallest_p_by_all_and_never_falls(report):
    found = {name: {"p": p} for name, p in (("a", 0.01), ("b", 0.02), ("c", 0.5))}
    report.holm(found)
    assert [round(found[n]["p_holm"], 3) for n in "abc"] == [0.03, 0.04, 0.5]
