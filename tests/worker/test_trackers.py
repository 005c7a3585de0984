"""TensorBoard and W&B get a run's numbers, and their failures are theirs."""

import sys
from types import SimpleNamespace

import pytest

from clipcore.events import Evaluated, Finished, SimilaritiesSeen, Started, StepDone
from worker.run_folder import RunFolder

COUNTS = [0] * 40 + [3, 1] + [0] * 8  # three cosines in 0.60 … 0.64, one in 0.64 … 0.68


def events(from_step=0):
    step = dict(epoch=0, total_steps=2, parts={"info_nce": 2.5}, lr=0.1, logit_scale=3.0, pairs_per_s=9.0)
    yield Started(resumed_from=from_step, total_steps=2, remarks=[])
    yield StepDone(step=from_step + 1, loss=2.5, eta_s=1.0, **step)
    yield SimilaritiesSeen(from_step + 1, {"positive": COUNTS, "hard_negative": [0] * 50})
    yield Evaluated(from_step + 1, "after", {"map_at_r": 0.25}, {}, None)
    yield Finished(step=from_step + 1, stopped="", checkpoint=None)


def take(folder, **more):
    notes = RunFolder(folder, config_yaml="epochs: 2\n", snapshot={}, name="mine")
    for event in events(**more):
        notes.take(event)
    return (folder / "train.log").read_text()


@pytest.fixture
def wandb(monkeypatch):
    told = SimpleNamespace(opened=[], logged=[], ended=0)

    def end():
        told.ended += 1

    run = SimpleNamespace(log=lambda values, step: told.logged.append((step, values)), finish=end)

    def init(**how):
        told.opened.append(how)
        return run

    monkeypatch.setitem(
        sys.modules, "wandb", SimpleNamespace(init=init, Histogram=lambda np_histogram: np_histogram)
    )
    monkeypatch.setenv("WANDB_PROJECT", "negatives")
    return told


def test_wandb_gets_the_numbers_and_a_run_that_resumes_goes_on_in_the_same_one(wandb, tmp_path):
    take(tmp_path / "run-1")
    take(tmp_path / "run-1", from_step=1)
    take(tmp_path / "run-2")
    first, again, other = (how["id"] for how in wandb.opened)
    assert first == again != other and wandb.opened[0]["config"] == {"epochs": 2}
    assert wandb.logged[0][0] == 1 and wandb.logged[0][1]["step/loss"] == 2.5
    step, seen = wandb.logged[1]
    assert (
        step == 1 and list(seen) == ["similarities/positive"] and seen["similarities/positive"][0] == COUNTS
    )
    assert wandb.logged[2] == (1, {"after/map_at_r": 0.25}) and wandb.ended == 3


def test_without_its_environment_wandb_is_not_touched(wandb, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT")
    take(tmp_path / "run-1")
    assert wandb.opened == []


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(wandb, tmp_path, monkeypatch):
    def no_network(**_):
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=no_network))
    log = take(tmp_path / "run-1")
    assert "W&B is left out of the rest of this run: ConnectionError: no network" in log
    assert "finished" in log and len((tmp_path / "run-1" / "metrics.jsonl").read_text().splitlines()) == 2


def test_tensorboard_files_lie_beside_the_run_and_hold_its_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    take(tmp_path / "run-1")
    read = EventAccumulator(str(tmp_path / "run-1" / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in read.Scalars("after/map_at_r")] == [(1, 0.25)]
    histogram = read.Histograms("similarities/positive")[0].histogram_value
    assert (histogram.num, round(histogram.min, 2), round(histogram.max, 2)) == (4, 0.6, 0.68)
    assert sum(histogram.bucket) == 4 and read.Tags()["histograms"] == ["similarities/positive"]
