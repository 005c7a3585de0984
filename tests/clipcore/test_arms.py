"""The controls of a comparison, and the looks into a run: they change nothing but what they say."""

import numpy as np
import open_clip  # noqa: F401  imported before the clock of a test begins
import pytest
import torch
from PIL import Image

from clipcore import Example, FineTuneConfig, FineTuneData, Label, PairLabels, fine_tune, preset
from clipcore.arms import labels_of_arm, sham
from clipcore.events import BatchSeen, Evaluated, Finished, SimilaritiesSeen
from clipcore.losses import HEADS
from tests.tiny_towers import tiny_towers

SAID = [
    Label("i0", "c1", "match"),  # identical pictures: known already
    Label("i2", "c3", "match"),
    Label("i4", "c5", "no_match"),
    Label("i6", "c7", "unsure"),
    Label("i8", "c8", "broken_pair"),
]


@pytest.fixture(scope="module")
def data() -> FineTuneData:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)) for _ in range(24)]
    pairs = [Example(f"i{k}", f"c{k}", p, f"a thing of kind {k}") for k, p in enumerate(pictures)]
    return FineTuneData(
        pairs[:18], [Example(x.image_id, x.caption_id, x.image, x.caption, "held_out") for x in pairs[18:]]
    )


@pytest.fixture
def config(tmp_path) -> FineTuneConfig:
    values = {
        "model": {"name": tiny_towers(tmp_path / "architecture")},
        "batch": {"size": 9, "micro_batch": 4},
    }
    return preset("scratch").with_values(values | {"epochs": 2, "device": "cpu"})


def given(data: FineTuneData) -> PairLabels:
    groups = {"i0": "same", "i1": "same"}
    return PairLabels(SAID, pairs=[(x.image_id, x.caption_id) for x in data.train], image_groups=groups)


def test_sham_labels_are_as_many_of_each_kind_and_say_nothing_that_is_known(data):
    labels = given(data)
    own = set(labels.pairs)
    for seed in range(20):
        found = sham(labels, seed=seed)
        kinds = sorted(x.verdict for x in found)
        assert kinds == ["broken_pair", "match", "no_match", "unsure"]
        candidates = {(x.image_id, x.caption_id) for x in found if x.verdict != "broken_pair"}
        assert not candidates & (own | labels.touched()) and len(candidates) == 3
        assert not candidates & {("i0", "c1"), ("i1", "c0")}
        assert all((x.image_id, x.caption_id) in own for x in found if x.verdict == "broken_pair")
    assert sham(labels, seed=1) == sham(labels, seed=1) != sham(labels, seed=2)


def test_sham_list_is_shorter_where_everything_is_judged():
    pairs = [("a", "x"), ("b", "y")]
    labels = PairLabels([Label("a", "y", "no_match"), Label("b", "x", "no_match")], pairs=pairs)
    assert sham(labels, seed=0) == []


def weights_of(config, data, labels, folder):
    events = list(fine_tune(config, data, labels, folder=folder))
    from safetensors.torch import load_file

    finished = next(e for e in events if isinstance(e, Finished))
    return events, load_file(finished.checkpoint / "open_clip_model.safetensors")


def same(one, other) -> bool:
    return all(torch.equal(one[k], other[k]) for k in one)


def test_the_arm_without_labels_is_the_run_without_labels_and_the_others_differ(config, data, tmp_path):
    labels, control = given(data), config.with_values({"labels": {"use": "none"}})
    _, none = weights_of(control, data, labels, tmp_path / "none")
    _, bare = weights_of(config, data, labels_of_arm(labels, "none", seed=0), tmp_path / "bare")
    _, full = weights_of(config, data, labels, tmp_path / "full")
    _, other = weights_of(config.with_values({"labels": {"use": "sham"}}), data, labels, tmp_path / "sham")
    assert same(none, bare)
    assert not same(none, full) and not same(none, other) and not same(full, other)


def test_looking_into_a_run_changes_nothing_and_tells_the_cosines_and_the_labels(config, data, tmp_path):
    labels = given(data)
    events, looked = weights_of(
        config.with_values({"evaluation": {"previews": 4}}), data, labels, tmp_path / "a"
    )
    _, blind = weights_of(config.with_values({"evaluation": {"previews": 0}}), data, labels, tmp_path / "b")
    assert same(looked, blind)
    looks = [e for e in events if isinstance(e, BatchSeen)]
    assert [x.step for x in looks] == [0, 1, 3, 4] and len(
        [e for e in events if isinstance(e, SimilaritiesSeen)]
    ) == 2
    first = looks[0]
    assert len({tuple(x.image_ids) for x in looks}) == 1 and first.cosine != looks[-1].cosine
    assert len(first.cosine) == len(first.image_ids) and len(first.cosine[0]) == len(first.caption_ids)
    place = {id_: n for n, id_ in enumerate(first.image_ids)}
    for relation in first.relations:
        pair = first.image_ids[relation.row], first.caption_ids[relation.col]
        kinds = {("i2", "c3"): "positive", ("i6", "c7"): "masked"}
        hard = pair == ("i4", "c5") and relation.kind in ("hard", "appended")
        own = relation.kind == "own" and pair[0][1:] == pair[1][1:]
        twins = relation.kind == "positive" and set(pair) in ({"i0", "c1"}, {"i1", "c0"})
        assert hard or own or twins or kinds.get(pair) == relation.kind, (pair, relation)
    if "i4" in place:
        assert any(r.row == place["i4"] and r.kind in ("hard", "appended") for r in first.relations)


def test_query_scores_average_to_the_metric_and_name_their_component(config, data, tmp_path):
    events, _ = weights_of(config, data, None, tmp_path / "run")
    for event in (e for e in events if isinstance(e, Evaluated)):
        queries = event.queries
        assert queries is not None and len(queries.ids) == 12 == len(queries.cluster)
        assert np.mean(queries.map_at_r) == pytest.approx(event.metrics["map_at_r"], abs=1e-4)
        cluster = dict(zip(queries.ids, queries.cluster))
        assert cluster["image:i20"] == cluster["caption:c20"] != cluster["image:i21"]


def test_the_names_that_the_preflight_knows_are_the_heads(config):
    from clipcore.config import HEAD_NAMES

    assert set(HEAD_NAMES) == {*HEADS, "global_contrast"}
