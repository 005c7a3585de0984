"""What a run can be asked for: EMA, best weights, early stop, sweep, replay, appended negatives, global contrast."""

import math

import pytest
import torch
from safetensors.torch import load_file
from test_training import config, data, labels  # noqa: F401  (data is a fixture)

from clipcore import ClipcoreError, FineTuneData, Label, PairLabels, fine_tune
from clipcore.assemble import Assembler
from clipcore.batching import Composer
from clipcore.config import LabelsConfig
from clipcore.data import items
from clipcore.events import EpochDone, Evaluated, Finished, Started, StepDone, Swept
from clipcore.example import Example
from clipcore.identical import identical_captions, identical_images
from clipcore.logits import Logits
from clipcore.losses import GlobalContrast
from clipcore.losses.sigmoid import calibrated_bias
from clipcore.optimiser import MovingAverage
from clipcore.preflight import preflight


def weights(folder):
    return load_file(folder / "checkpoint/open_clip_model.safetensors")


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def interrupted(settings, data, labels, folder, after=2):  # noqa: F811
    """A run stopped after some steps and taken up again."""
    steps = iter(range(99))
    events = list(
        fine_tune(
            settings,
            data,
            labels,
            folder=folder,
            stop=lambda: "pause" if next(steps) == after else None,
        )
    )
    assert events[-1].stopped == "pause"
    events = list(fine_tune(settings, data, labels, folder=folder))
    assert next(e for e in events if isinstance(e, Started)).resumed_from == after + 1
    return events


def test_ema_exports_the_mean_of_the_weights_and_resumes_with_the_same_bits(tmp_path, data):  # noqa: F811
    settings = config(tmp_path, optimiser={"ema": 0.9}, epochs=3)
    list(fine_tune(settings, data, labels(data), folder=tmp_path / "a"))
    interrupted(settings, data, labels(data), tmp_path / "b")
    list(fine_tune(config(tmp_path, epochs=3), data, labels(data), folder=tmp_path / "plain"))
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "plain"))


def test_moving_average_is_the_recursion():
    parameter, mean = torch.nn.Parameter(torch.zeros(1)), 0.0
    average = MovingAverage({"w": parameter}, 0.9)
    for step in range(1, 30):
        parameter.data.fill_(float(step))
        decay = min(0.9, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * step
        average.update({"w": parameter}, step)
    assert abs(float(average.mean["w"]) - mean) < 1e-5


def test_best_weights_are_those_of_the_best_evaluation(tmp_path, data):  # noqa: F811
    chosen = {"every_epochs": 1, "keep": "best", "metric": "t2i_map_at_r"}
    settings = config(tmp_path, evaluation=chosen, epochs=8, optimiser={"lr": 3e-3})
    events = list(fine_tune(settings, data, labels(data), folder=tmp_path / "a"))
    measured = {e.step: e.metrics["t2i_map_at_r"] for e in events if isinstance(e, Evaluated) and e.step}
    finished = events[-1]
    after = next(e for e in events if isinstance(e, Evaluated) and e.when == "after")
    assert isinstance(finished, Finished)
    assert after.metrics["t2i_map_at_r"] == max(measured.values())
    if finished.best_step != finished.step:
        assert measured[finished.best_step] == max(measured.values())
    resumed = interrupted(settings, data, labels(data), tmp_path / "b", after=7)
    assert resumed[-1].best_step == finished.best_step
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_early_stop_ends_after_evaluations_that_bring_nothing_better(tmp_path, data):  # noqa: F811
    settings = config(
        tmp_path, evaluation={"every_epochs": 1, "patience": 2}, epochs=20, optimiser={"lr": 0.0}
    )
    events = list(fine_tune(settings, data, labels(data), folder=tmp_path / "a"))
    steps = [e.step for e in events if isinstance(e, StepDone)]
    assert max(steps) == 3 * 2  # the first evaluation is the best, two more bring nothing; two steps an epoch
    assert isinstance(events[-1], Finished) and events[-1].checkpoint is not None


@pytest.mark.parametrize("kind", ["all", "lora", "adapter"])
def test_sweep_goes_from_the_base_to_the_tuned_model(kind, tmp_path, data):  # noqa: F811
    base = {"name": f"local-dir:{tmp_path / 'base/checkpoint'}", "train": kind, "from_scratch": False}
    list(fine_tune(config(tmp_path, epochs=1), data, folder=tmp_path / "base"))
    tuned = config(tmp_path, model=base, evaluation={"sweep": 3, "export_mix": "recommended"}, epochs=4)
    events = list(fine_tune(tuned, data, labels(data), folder=tmp_path / "run"))
    before, after = (
        next(e.metrics for e in events if isinstance(e, Evaluated) and e.when == w)
        for w in ("before", "after")
    )
    swept = next(e for e in events if isinstance(e, Swept))
    assert [m.share for m in swept.mixes] == [0.0, 0.5, 1.0]
    assert math.isclose(swept.mixes[0].metrics["modality_gap"], before["modality_gap"], rel_tol=1e-4)
    chosen = next(m for m in swept.mixes if m.share == swept.recommended)
    assert math.isclose(chosen.metrics["modality_gap"], after["modality_gap"], rel_tol=1e-4)
    assert after["map_at_r"] >= before["map_at_r"] - 1e-9
    assert swept.mixes[2].metrics["modality_gap"] != swept.mixes[0].metrics["modality_gap"]


def test_retention_is_measured_on_pairs_without_a_verdict(tmp_path, data):  # noqa: F811
    held = data.held_out
    said = [Label(held[0].image_id, held[1].caption_id, "no_match")]
    found = PairLabels(said, pairs=[(x.image_id, x.caption_id) for x in held])
    events = list(fine_tune(config(tmp_path), data, None, held_out_labels=found, folder=tmp_path / "r"))
    metrics = [e.metrics for e in events if isinstance(e, Evaluated)]
    assert metrics[0]["retention_change"] == 0.0
    assert metrics[1]["retention_change"] == pytest.approx(
        metrics[1]["retention_map_at_r"] - metrics[0]["retention_map_at_r"]
    )


def test_replay_draws_uncurated_pairs_beside_the_epoch(tmp_path, data):  # noqa: F811
    composer = Composer(
        num_pairs=30, batch_size=10, seed=3, replay=0.3, replay_from=list(range(20, 30)) + [30, 31]
    )
    batches = composer.epoch(0)
    assert len(batches) == composer.steps_per_epoch == 5
    own = [n for batch in batches[:4] for n in batch[:7]] + batches[4][:2]
    assert sorted(own) == list(range(30))  # every pair once; what follows is replayed
    for batch in batches[:4]:
        assert len(batch) == len(set(batch)) == 10 and all(n >= 20 for n in batch[7:])
    more = [Example(f"r{k}", f"rc{k}", x.image, f"{x.caption} again") for k, x in enumerate(data.train[:6])]
    wide = FineTuneData(data.train, data.held_out, replay=more)
    settings = config(tmp_path, batch={"size": 16, "micro_batch": 5, "replay": 0.25}, max_steps=3)
    with pytest.raises(ClipcoreError, match="for_data"):
        list(fine_tune(settings, wide, labels(data), folder=tmp_path / "x"))
    events = list(fine_tune(settings, wide, PairLabels.for_data(wide), folder=tmp_path / "y"))
    assert [e.step for e in events if isinstance(e, StepDone)] == [1, 2, 3]


def test_negatives_visible_to_all_are_columns_and_those_of_the_owner_are_appended():
    pairs = [Example(f"i{k}", f"c{k}", None, f"caption {k}") for k in range(8)]
    said = [
        Label("i0", "c6", "no_match", visible="all", margin=0.2),
        Label("i1", "c7", "no_match"),
        Label("i2", "c6", "match"),
        Label("i5", "c3", "no_match"),
    ]
    data = FineTuneData(pairs)  # noqa: F811
    found = PairLabels.for_data(data, said)
    settings = LabelsConfig(hard_negatives_per_row=2, hard_images_per_caption=1)
    batch = Assembler(items(data), found, settings).batch(pairs[:5], 0)
    assert batch.captions == [0, 1, 2, 3, 4, 6] and batch.images == [0, 1, 2, 3, 4]
    listed = dict(
        zip(zip(batch.overlay.row.tolist(), batch.overlay.col.tolist(), strict=True), batch.overlay.target)
    )
    assert listed[(0, 5)] == 0.0 and listed[(2, 5)] == 1.0  # wrong for image 0, true of image 2
    assert batch.further_captions is not None and batch.further_images is not None
    assert (batch.further_captions.numbers, batch.further_captions.owner) == ([7], [1])
    assert (batch.further_images.numbers, batch.further_images.owner) == ([5], [3])


def test_coverage_counts_negatives_met_in_the_batch_or_appended(tmp_path, data):  # noqa: F811
    train = data.train
    said = [Label(train[0].image_id, x.caption_id, "no_match") for x in train[1:9]]
    found = PairLabels.for_data(data, said)
    for most, together, least, largest in ((8, 0.0, 1.0, 1.0), (0, 0.0, 0.0, 0.8), (2, 0.0, 0.25, 0.99)):
        settings = config(
            tmp_path,
            labels={"hard_negatives_per_row": most},
            batch={"size": 8, "micro_batch": 8, "together": together},
        )
        events = list(fine_tune(settings, data, found, folder=tmp_path / f"r{most}"))
        told = [e.coverage for e in events if isinstance(e, EpochDone)]
        assert len(told) == 2 and all(least <= share <= largest for share in told)


@pytest.mark.parametrize("visible", ["owner", "all"])
def test_appended_images_and_captions_train_and_resume_with_the_same_bits(visible, tmp_path, data):  # noqa: F811
    train = data.train
    said = [
        Label(train[k].image_id, train[-k - 1].caption_id, "no_match", visible=visible) for k in range(12)
    ]
    settings = config(
        tmp_path,
        labels={"hard_images_per_caption": 1},
        loss={"heads": {"info_nce": 1.0, "hinge": 0.5, "sigmoid": 0.1}},
        batch={"size": 8, "micro_batch": 3},
    )
    found = PairLabels.for_data(data, said)
    list(fine_tune(settings, data, found, folder=tmp_path / "a"))
    interrupted(settings, data, found, tmp_path / "b")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_global_contrast_is_trained_remembered_and_resumed(tmp_path, data):  # noqa: F811
    settings = config(
        tmp_path,
        loss={"heads": {"global_contrast": 1.0}, "options": {"global_contrast": {"gamma": 0.5}}},
        batch={"size": 8, "micro_batch": 3},
    )
    events = list(fine_tune(settings, data, labels(data), folder=tmp_path / "a"))
    told = next(e.parts for e in events if isinstance(e, StepDone))
    assert abs(told["global_contrast"] - 1.0) < 1e-5  # the surrogate's value says nothing
    assert told["global_contrast_loss"] > 0.5  # the loss it stands for does
    interrupted(settings, data, labels(data), tmp_path / "b")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_global_contrast_with_whole_data_batches_points_along_decoupled_loss_weights():
    """With every item in the batch and gamma 1, u is the batch's own mean: ∂L/∂z = softmax of negatives − positive."""
    torch.manual_seed(0)
    x, y = (
        torch.nn.functional.normalize(torch.randn(7, 5, dtype=torch.float64), dim=1).requires_grad_()
        for _ in "xy"
    )
    head = GlobalContrast(7, 7, gamma=1.0).at(range(7), range(7))
    from clipcore.losses.decoupled import decoupled

    s = torch.tensor(100.0, dtype=torch.float64)
    mine = torch.autograd.grad(head(Logits(x, y, scale=s)), (x, y))
    true = torch.autograd.grad(decoupled(Logits(x, y, scale=s)), (x, y))
    for a, b in zip(mine, true, strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-10
    with pytest.raises(ClipcoreError, match="outside"):
        GlobalContrast(1, 1, gamma=0.0)


def test_calibrated_bias_makes_the_expected_positives_one_a_row():
    torch.manual_seed(0)
    x, y = (torch.nn.functional.normalize(torch.randn(50, 128), dim=1) for _ in "xy")
    bias = calibrated_bias(x, y, 1.0)
    z = x @ y.T + bias
    expected = torch.sigmoid(z).sum() - torch.sigmoid(z).diagonal().sum()
    assert abs(float(expected) / 50 - 49 / 50) < 0.05
    assert abs(calibrated_bias(x, y, 1.0, batch_size=32768) + math.log(32767)) < 0.1


def test_sigmoid_on_a_checkpoint_without_a_bias_starts_calibrated(tmp_path, data):  # noqa: F811
    settings = config(tmp_path, loss={"heads": {"sigmoid": 1.0}}, max_steps=1)
    plain = config(tmp_path, loss={"heads": {"sigmoid": 1.0}, "calibrate_bias": False}, max_steps=1)
    first = [
        next(e.loss for e in fine_tune(s, data, folder=tmp_path / n) if isinstance(e, StepDone))
        for n, s in (("a", settings), ("b", plain))
    ]
    assert first[0] < 0.7 * first[1]  # without it the 15 negatives of each row outweigh its positive


def test_identical_captions_and_images_are_grouped_by_themselves(tmp_path):
    for name, content in (("a", b"1234"), ("b", b"1234"), ("c", b"4321"), ("d", b"12345")):
        (tmp_path / name).write_bytes(content)
    pairs = [Example(n, f"c{n}", tmp_path / n, t) for n, t in zip("abcd", ("x", "y ", "y", "z"), strict=True)]
    assert set(identical_images(pairs)) == {"a", "b"}
    assert set(identical_captions(pairs)) == {"cb", "cc"}
    overlay = PairLabels.for_data(FineTuneData(pairs)).for_batch(list("abcd"), ["ca", "cb", "cc", "cd"])
    listed = set(zip(overlay.row.tolist(), overlay.col.tolist(), strict=True))
    own = {(k, k) for k in range(4)}
    assert listed == own | {
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 1),
        (0, 2),
    }  # image a is image b, whose caption is also c's
    assert (2, 0) not in listed  # the transitive closure is not taken


def test_preflight_counts_the_collisions_that_labels_leave():
    pairs = [(f"i{k}", f"c{k}") for k in range(6)]
    texts = {f"c{k}": t for k, t in enumerate(["a cup", "A cup", "a cup", "x", "y", "z"])}
    from clipcore import preset

    settings = preset("full").with_values({"batch": {"size": 6}})
    loose = preflight(settings, pairs, PairLabels(pairs=pairs), captions=texts)
    grouped = PairLabels(pairs=pairs, caption_groups={"c0": "a cup", "c2": "a cup"})
    close = preflight(settings, pairs, grouped, captions=texts)
    assert loose.collisions_without_labels == loose.collisions_with_labels == 6.0
    assert close.collisions_without_labels == 6.0 and close.collisions_with_labels == 4.0


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"evaluation": {"patience": 2}}, "every_epochs"),
        ({"evaluation": {"sweep": 1}}, "sweep"),
        ({"evaluation": {"metric": "nope", "keep": "best", "every_epochs": 1}}, "no metric 'nope'"),
        ({"optimiser": {"ema": 1.0}}, "EMA"),
        ({"batch": {"size": 16, "replay": 0.9}}, "replay"),
        ({"loss": {"heads": {"nonsense": 1.0}}}, "There is no head 'nonsense'"),
        ({"loss": {"options": {"info_nce": {"beta": 1.0}}}}, "no option 'beta'"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_sentence(values, told, tmp_path, data):  # noqa: F811
    with pytest.raises(ClipcoreError, match=told):
        list(fine_tune(config(tmp_path, **values), data, folder=tmp_path / "r"))
    with pytest.raises(ClipcoreError, match="held-out"):
        settings = config(tmp_path, evaluation={"keep": "best"})
        list(fine_tune(settings, FineTuneData(data.train), folder=tmp_path / "s"))


def test_checkpointed_towers_give_the_same_run(tmp_path, data):  # noqa: F811
    for name, on in (("a", False), ("b", True)):
        settings = config(tmp_path, batch={"size": 16, "micro_batch": 5, "grad_checkpointing": on})
        list(fine_tune(settings, data, labels(data), folder=tmp_path / name))
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a)
