"""Gradient caching, labels, composer, checkpoints and the loop on tiny towers."""

import json
import math
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from clipcore import (
    ClipcoreError,
    Example,
    FineTuneConfig,
    FineTuneData,
    Label,
    PairLabels,
    Probe,
    fine_tune,
    preset,
)
from clipcore.batching import Composer
from clipcore.checkpoint import State, load_checkpoint, save_checkpoint
from clipcore.events import Evaluated, Finished, Previewed, Started, StepDone
from clipcore.gradcache import Pass, cached_backward, seeded
from clipcore.logits import Logits
from clipcore.losses.info_nce import info_nce
from clipcore.optimiser import layer_factors
from clipcore.preflight import preflight
from clipcore.towers import load_towers

TINY = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
}


@pytest.fixture(scope="module")
def data() -> FineTuneData:
    rng = np.random.default_rng(0)
    names = [f"{c} {s} {n}" for c in ("red", "green") for s in ("square", "star") for n in range(10)]
    pairs = [
        Example(f"i{k}", f"c{k}", Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)), t)
        for k, t in enumerate(names)
    ]
    held_out = [Example(x.image_id, x.caption_id, x.image, x.caption, "held_out") for x in pairs[::5]]
    return FineTuneData([x for k, x in enumerate(pairs) if k % 5], held_out)


def config(tmp_path: Path, **values) -> FineTuneConfig:
    folder = tmp_path / "architecture"
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(TINY))
    basis = {
        "model": {"name": f"local-dir:{folder}"},
        "batch": {"size": 16, "micro_batch": 5},
        "epochs": 2,
        "device": "cpu",
    }
    return preset("scratch").with_values(basis).with_values(values)


def labels(data: FineTuneData) -> PairLabels:
    said = [Label("i1", "c2", "match"), Label("i3", "c4", "no_match"), Label("i6", "c7", "unsure")]
    return PairLabels(said, pairs=[(x.image_id, x.caption_id) for x in data.train])


@pytest.mark.parametrize("micro,resident", [(3, 0), (3, 2), (7, 0), (20, 99)])
def test_cached_gradient_equals_one_graph_with_dropout(micro, resident):
    torch.manual_seed(0)
    layers = [
        torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 5)).double()
        for _ in "xy"
    ]
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    inputs = [torch.randn(20, 6, dtype=torch.float64) for _ in "xy"]
    leaves = [*layers[0].parameters(), *layers[1].parameters(), scale]

    def loss(x, y):
        normal = torch.nn.functional.normalize
        return info_nce(Logits(normal(x, dim=1), normal(y, dim=1), scale=scale.exp()))

    passes = [
        Pass(layer, list(value.split(micro)), 100 * k)
        for k, (layer, value) in enumerate(zip(layers, inputs, strict=True))
    ]
    cached_backward(passes, loss, num_resident=resident)
    cached = [leaf.grad.clone() for leaf in leaves]
    whole = []
    for p in passes:
        parts = []
        for k, part in enumerate(p.micro_batches):
            with seeded(p.first_seed + k, torch.device("cpu")):
                parts.append(p.encode(part))
        whole.append(torch.cat(parts))
    plain = torch.autograd.grad(loss(*whole), leaves)
    for mine, true in zip(cached, plain, strict=True):
        assert true.norm() > 0 and float((mine - true).norm() / true.norm()) < 1e-10


def test_resumed_run_has_the_same_bits(tmp_path, data):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    list(fine_tune(config(tmp_path), data, labels(data), folder=whole))
    steps = iter(range(99))
    first = list(
        fine_tune(
            config(tmp_path),
            data,
            labels(data),
            folder=broken,
            stop=lambda: "pause" if next(steps) == 1 else None,
        )
    )
    assert isinstance(first[-1], Finished) and first[-1].stopped == "pause"
    list(fine_tune(config(tmp_path), data, labels(data), folder=broken))
    a, b = (load_file(f / "checkpoint/open_clip_model.safetensors") for f in (whole, broken))
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("kind", ["adapter", "all", "lora", "last_blocks", "image_tower", "text_tower"])
def test_result_is_a_plain_open_clip_checkpoint_with_the_same_embeddings(kind, tmp_path, data):
    list(fine_tune(config(tmp_path, epochs=1), data, folder=tmp_path / "base"))
    base = {"name": f"local-dir:{tmp_path / 'base/checkpoint'}", "train": kind, "from_scratch": False}
    tuned = config(tmp_path, model=base, epochs=1)
    events = list(
        fine_tune(tuned, data, labels(data), folder=tmp_path / "run", probes=[Probe("p", "red star 3")])
    )
    assert any(isinstance(e, Previewed) for e in events) and any(isinstance(e, StepDone) for e in events)
    after = [e.metrics for e in events if isinstance(e, Evaluated)][-1]
    again = preset("adapter").with_values(
        {"model": {"name": f"local-dir:{tmp_path / 'run/checkpoint'}"}, "device": "cpu"}
    )
    again = again.with_values({"batch": {"size": 16}, "optimiser": {"lr": 0.0}, "epochs": 1})
    before = next(
        e.metrics for e in fine_tune(again, data, folder=tmp_path / "again") if isinstance(e, Evaluated)
    )
    assert abs(before["modality_gap"] - after["modality_gap"]) < 1e-4
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'run/checkpoint'}")
    assert model.visual is not None


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, State({"w": torch.full((3,), float(step))}, {"step": step}))
    file = tmp_path / "step-00000002/state.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    state, remarks = load_checkpoint(tmp_path)
    assert state is not None and state.values["step"] == 1 and "step-00000002" in remarks[0]


def test_bad_settings_are_refused_with_a_sentence(tmp_path, data):
    with pytest.raises(ClipcoreError, match="above the 32 pairs"):
        list(fine_tune(config(tmp_path, batch={"size": 99}), data, folder=tmp_path / "r"))
    with pytest.raises(ClipcoreError, match="Unknown key"):
        FineTuneConfig.from_yaml("epoch: 3")
    with pytest.raises(ClipcoreError, match="pickle"):
        list(fine_tune(config(tmp_path, model={"pretrained": "x.pt"}), data, folder=tmp_path / "r"))


@pytest.mark.parametrize(
    "num_pairs,changes,sentence",
    [
        (0, {}, "There are 0 pairs"),
        (1, {}, "There are 1 pairs"),
        (32, {"batch": {"size": 33}}, "above the 32 pairs"),
        (32, {"batch": {"size": 1}}, "at least 2"),
        (32, {"batch": {"micro_batch": 0}}, "micro-batch is 0"),
        (32, {"batch": {"replay": 1.0}}, "batch.replay is 1.0"),
        (32, {"epochs": 0}, "make no step"),
        (32, {"max_steps": -1}, "At most -1 steps"),
        (32, {"optimiser": {"warmup": 1.0}}, "the whole run"),
        (32, {"optimiser": {"warmup": math.nan}}, "warm-up is nan"),
    ],
)
def test_a_run_of_no_step_is_refused(num_pairs, changes, sentence, tmp_path, data):
    few = FineTuneData(data.train[:num_pairs], data.held_out)
    with pytest.raises(ClipcoreError, match=sentence):
        next(fine_tune(config(tmp_path, **changes), few, folder=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_of_pairs_that_are_all_broken_none_is_trained_on(tmp_path, data):
    pairs = [(x.image_id, x.caption_id) for x in data.train]
    broken = PairLabels([Label(*pair, "broken_pair") for pair in pairs], pairs=pairs)
    with pytest.raises(ClipcoreError, match="There are 0 pairs"):
        next(fine_tune(config(tmp_path), data, broken, folder=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_what_the_data_cannot_carry_is_flagged(tmp_path, data):
    pairs = [(x.image_id, x.caption_id) for x in data.train]
    own = PairLabels([Label(*pairs[0], "no_match")], pairs=pairs)
    warnings = preflight(config(tmp_path), pairs, own).warnings
    assert any("1 candidates carry contradicting statements" in text for text in warnings)
    same = dict.fromkeys((caption for _, caption in pairs), "a thing")
    refused = preflight(config(tmp_path), pairs, PairLabels(pairs=pairs), captions=same).refusals
    assert refused[0].startswith("All 32 pairs bear the same caption")
    first, *others = data.train
    long = Example(first.image_id, "long", first.image, "word " * 20)
    run = fine_tune(config(tmp_path), FineTuneData([long, *others]), folder=tmp_path / "run")
    started = next(event for event in run if isinstance(event, Started))
    assert started.remarks == ["1 of 32 captions are longer than 12 tokens and lose their end."]
    run.close()


def test_configuration_survives_yaml():
    for name in ("adapter", "lora", "full", "siglip", "scratch"):
        assert FineTuneConfig.from_yaml(preset(name).to_yaml()) == preset(name)


def test_conflicting_statements_are_reported_and_masked():
    found = PairLabels(
        [Label("a", "y", "match"), Label("a", "y", "no_match")], pairs=[("a", "x"), ("b", "y")]
    )
    assert len(found.conflicts) == 1
    overlay = found.for_batch(["a", "b"], ["x", "y"])
    at = [(int(r), int(c)) for r, c in zip(overlay.row, overlay.col, strict=True)]
    assert np.isneginf(overlay.log_lambda_i2t[at.index((0, 1))])


def test_identical_captions_are_true_of_each_other():
    found = PairLabels(pairs=[("a", "x"), ("b", "y")], caption_groups={"x": "same", "y": "same"})
    assert found.for_batch(["a", "b"], ["x", "y"]).target.tolist() == [1.0, 1.0, 1.0, 1.0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20),
    st.lists(st.integers(0, 7), max_size=9),
)
def test_overlay_lists_exactly_the_related_entries(pairs, batch):
    found = PairLabels(pairs=[(f"i{a}", f"c{b}") for a, b in pairs])
    overlay = found.for_batch([f"i{k}" for k in batch], [f"c{k}" for k in reversed(batch)])
    expected = [
        (r, c) for r, a in enumerate(batch) for c, b in enumerate(reversed(batch)) if (a, b) in set(pairs)
    ]
    assert list(zip(overlay.row.tolist(), overlay.col.tolist(), strict=True)) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(2, 20), st.integers(0, 3))
def test_composer_uses_every_pair_once_an_epoch(num_pairs, size, epoch):
    partners = [[(i + 7) % num_pairs] for i in range(num_pairs)]
    composer = Composer(num_pairs=num_pairs, batch_size=size, seed=1, hard_partners=partners, together=0.5)
    used = [pair for part in composer.epoch(epoch) for pair in part]
    assert len(used) == len(set(used)) and len(used) >= num_pairs - 1
    assert composer.epoch(epoch) == composer.epoch(epoch)


def test_composer_brings_hard_negatives_together():
    partners = [[i ^ 1] for i in range(200)]
    loose = Composer(num_pairs=200, batch_size=20, seed=1, hard_partners=partners)
    close = Composer(num_pairs=200, batch_size=20, seed=1, hard_partners=partners, together=0.5)
    assert close.coverage(0) > 0.8 > 0.3 > loose.coverage(0)


def test_preflight_counts_what_verdicts_become(data):
    report = preflight(
        preset("full").with_values({"batch": {"size": 16}}),
        [(x.image_id, x.caption_id) for x in data.train],
        labels(data),
    )
    assert (report.labels["extra_positives"], report.labels["hard_negatives"], report.labels["masks"]) == (
        1,
        1,
        1,
    )
    assert report.steps == 2 and not report.refusals


def test_verdicts_on_held_out_candidates_are_measured(data, tmp_path):
    held = data.held_out
    said = [
        Label(held[0].image_id, held[1].caption_id, "no_match"),
        Label(held[2].image_id, held[3].caption_id, "match"),
    ]
    held_out = PairLabels(said, pairs=[(x.image_id, x.caption_id) for x in held])
    events = list(fine_tune(config(tmp_path), data, None, held_out_labels=held_out, folder=tmp_path / "run"))
    after = next(e.metrics for e in events if isinstance(e, Evaluated) and e.when == "after")
    assert after["hard_negative_accuracy"] in (0.0, 1.0)
    plain = list(fine_tune(config(tmp_path), data, None, folder=tmp_path / "plain"))
    without = next(e.metrics for e in plain if isinstance(e, Evaluated) and e.when == "after")
    assert without["hard_negative_accuracy"] != without["hard_negative_accuracy"]  # nothing to measure: nan
    assert after["i2t_map_at_r"] != without["i2t_map_at_r"]  # the match is one more truth


def test_lower_layers_learn_at_the_decayed_rate(data, tmp_path):
    names = [
        "visual.conv1.weight",
        "visual.transformer.resblocks.0.ln_1.weight",
        "visual.transformer.resblocks.1.ln_1.weight",
        "visual.proj",
        "token_embedding.weight",
        "transformer.resblocks.0.mlp.c_fc.weight",
        "text_projection",
        "logit_scale",
    ]
    assert list(layer_factors(names, 0.5).values()) == [0.25, 0.5, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0]
    moved = {}
    for kind, decay in (("plain", 1.0), ("still", 1e-9)):
        chosen = config(tmp_path, optimiser={"layer_decay": decay}, max_steps=1)
        torch.manual_seed(chosen.seed)
        before = load_towers(chosen.model).model.state_dict()
        list(fine_tune(chosen, data, None, folder=tmp_path / kind))
        after = load_file(next((tmp_path / kind / "checkpoint").glob("*.safetensors")))
        for name in ("visual.conv1.weight", "visual.proj"):
            moved[kind, name] = float((after[name] - before[name]).abs().max())
    assert moved["still", "visual.conv1.weight"] < 1e-3 * moved["plain", "visual.conv1.weight"]
    assert moved["still", "visual.proj"] == moved["plain", "visual.proj"] > 0
