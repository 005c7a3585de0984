"""Evaluation against scalar loops: mAP@R with ties, ECCV-Caption's own code, intervals, zero-shot, histograms, loss."""

import itertools
import math

import numpy as np
import open_clip
import pytest
import torch
from eccv_caption._metrics import compute_eccv_metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from clipcore import ClipcoreError
from clipcore.evaluate import (
    HISTOGRAM_EDGES,
    gallery_loss,
    hard_negative_accuracy,
    paired_interval,
    rank_queries,
    retrieval_metrics,
    similarity_histograms,
)
from clipcore.labels import Overlay, PairLabels
from clipcore.logits import Logits
from clipcore.losses.info_nce import info_nce
from clipcore.zero_shot import TEMPLATES, zero_shot_metrics, zero_shot_weights


def vectors(n, width=8, seed=0):
    return normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def scalar(order, relevant):
    """(mAP@R, R-Precision) of one ranked list, as in equation 1 of ECCV-Caption."""
    size, found, total = len(relevant), 0, 0.0
    for place, item in enumerate(order[:size], 1):
        if item in relevant:
            found += 1
            total += found / place
    return total / size, found / size


def orders(scores):
    """Every order of the items by falling score, with tied ones in each possible order."""
    levels = sorted(set(scores), reverse=True)
    tied = [[i for i, s in enumerate(scores) if s == level] for level in levels]
    for parts in itertools.product(*(itertools.permutations(group) for group in tied)):
        yield list(itertools.chain.from_iterable(parts))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.sets(st.integers(0, 5), min_size=1))
def test_map_at_r_and_r_precision_are_the_mean_over_all_orders_of_ties(scores, relevant):
    relevant = {place % len(scores) for place in relevant}
    found = rank_queries(
        torch.ones(1, 1), torch.tensor(scores, dtype=torch.float32)[:, None], [sorted(relevant)]
    )
    by_order = [scalar(order, relevant) for order in orders(scores)]
    ranks = [min(order.index(place) + 1 for place in relevant) for order in orders(scores)]
    assert found.map_at_r[0] == pytest.approx(np.mean([x for x, _ in by_order]), abs=1e-12)
    assert found.r_precision[0] == pytest.approx(np.mean([x for _, x in by_order]), abs=1e-12)
    best = max(scores[place] for place in relevant)
    half = 1 + sum(s > best for s in scores) + (sum(s == best for s in scores) - 1) / 2
    assert found.best_rank[0] == half and min(ranks) <= half <= len(scores)


def test_equal_to_eccv_captions_own_code():
    image, caption = vectors(40, seed=1), vectors(90, seed=2)
    rng = np.random.default_rng(0)
    relevant = [rng.choice(90, rng.integers(1, 9), replace=False).tolist() for _ in range(40)]
    found = rank_queries(image, caption, relevant)
    ranked = (image @ caption.T).argsort(dim=1, descending=True).tolist()
    theirs = compute_eccv_metrics(dict(enumerate(ranked)), dict(enumerate(relevant)))
    assert (
        found.map_at_r.mean() == pytest.approx(theirs["eccv_map_at_r"], abs=1e-12)
        and found.map_at_r.mean() > 0
    )
    assert found.r_precision.mean() == pytest.approx(theirs["eccv_rprecision"], abs=1e-12)
    assert (found.best_rank <= 1).mean() == pytest.approx(theirs["eccv_r1"])


def test_collapsed_model_gets_what_chance_gives_whatever_the_order():
    same = torch.ones(50, 4) / 2
    metrics = retrieval_metrics(same, same, [(k, k) for k in range(50)])
    assert metrics["map_at_r"] == pytest.approx(1 / 50) and metrics["i2t_r@1"] == 0.0
    assert metrics["i2t_median_rank"] == 25.5


def test_chunks_and_queries_without_truth_change_nothing(monkeypatch):
    image, caption = vectors(30), vectors(20, seed=5)
    relevant = [(i, i % 20) for i in range(0, 30, 2)]
    whole = retrieval_metrics(image, caption, relevant)
    loss = gallery_loss(image, caption, relevant, scale=20.0)
    monkeypatch.setattr("clipcore.evaluate.CHUNK", 7)
    chunked = retrieval_metrics(image, caption, relevant)
    assert chunked == pytest.approx(whole, abs=1e-9)
    assert gallery_loss(image, caption, relevant, scale=20.0) == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_gallery_loss_is_info_nce_over_the_whole_gallery(scale):
    image, caption = vectors(33, seed=3), vectors(33, seed=4)
    pairs = [(k, k) for k in range(33)] + [(1, 2), (2, 1), (5, 9)]
    overlay = PairLabels(pairs=[(f"i{a}", f"c{b}") for a, b in pairs]).for_batch(
        [f"i{k}" for k in range(33)], [f"c{k}" for k in range(33)]
    )
    assert isinstance(overlay, Overlay)
    expected = float(
        info_nce(
            Logits(image.double(), caption.double(), scale=torch.tensor(scale).double(), overlay=overlay)
        )
    )
    assert gallery_loss(image, caption, pairs, scale=scale) == pytest.approx(expected, rel=1e-5)
    assert math.isnan(gallery_loss(image, caption, [], scale=scale))


def test_gallery_loss_of_a_model_that_knows_nothing_is_the_log_of_the_gallery():
    same = torch.ones(64, 4) / 2
    assert gallery_loss(same, same, [(k, k) for k in range(64)], scale=50.0) == pytest.approx(math.log(64))


def test_hard_negative_accuracy_gives_a_tie_no_credit():
    image, caption = torch.eye(2), torch.tensor([[1.0, 0.0], [0.5, 0.0], [1.0, 0.0]])
    assert hard_negative_accuracy(image, caption, [(0, 0, 1), (0, 1, 0), (0, 0, 2), (0, 2, 1)]) == 0.5


# -- intervals -------------------------------------------------------------------------------------------------


def slow_interval(before, after, cluster, level, resamples):
    """Clusters drawn with replacement, all their queries together, percentiles of the mean difference."""
    rng = np.random.default_rng(1)
    names = sorted(set(cluster))
    means = []
    for _ in range(resamples):
        drawn = [
            q for name in rng.choice(names, len(names)) for q in np.flatnonzero(np.array(cluster) == name)
        ]
        means.append(np.mean([after[q] - before[q] for q in drawn]))
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2])


def test_paired_cluster_interval_agrees_with_a_slow_one():
    rng = np.random.default_rng(0)
    cluster = [int(c) for c in rng.integers(0, 25, 200)]
    shift = rng.normal(0.05, 0.1, 25)
    before = rng.random(200)
    after = before + shift[cluster] + rng.normal(0, 0.02, 200)
    gain, low, high = paired_interval(before, after, cluster)
    slow_low, slow_high = slow_interval(before, after, cluster, 0.95, 3000)
    width = slow_high - slow_low
    assert gain == pytest.approx((after - before).mean())
    assert abs(low - slow_low) < 0.06 * width and abs(high - slow_high) < 0.06 * width
    naive_low, naive_high = slow_interval(before, after, list(range(200)), 0.95, 500)
    assert width > 1.5 * (naive_high - naive_low)  # queries of one picture are no independent evidence


def test_interval_is_deterministic_and_names_clusters_by_anything():
    before, after = np.zeros(6), np.array([0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    one = paired_interval(before, after, [9, 9, 4, 4, 7, 7])
    assert one == paired_interval(before, after, [9, 9, 4, 4, 7, 7])
    assert one == paired_interval(before, after, ["y", "y", "a", "a", "x", "x"])
    assert one[0] == pytest.approx(4 / 6) and one[1] <= one[0] <= one[2]
    assert math.isnan(paired_interval(before, after, [1] * 6)[1])  # one cluster tells nothing about others


# -- zero-shot -------------------------------------------------------------------------------------------------


LETTERS = "abcdefgh"


def letters(texts):
    """A tokeniser: how often each letter stands in a text."""
    return torch.tensor([[float(text.count(c)) for c in LETTERS] for text in texts])


class Texts:
    """A text tower on those counts, not linear."""

    def encode_text(self, tokens, normalize=False):
        found = (tokens + 0.1).sqrt()
        return torch.nn.functional.normalize(found, dim=1) if normalize else found


def encode(texts):
    return Texts().encode_text(letters(texts), normalize=True)


def test_zero_shot_weights_equal_open_clips_classifier():
    names, templates = ["cab", "bead", "hedge"], ("a photo of a {}.", "a bad {}", "{}")
    theirs = open_clip.build_zero_shot_classifier(
        Texts(), letters, names, [lambda c, t=t: t.format(c) for t in templates]
    )
    ours = zero_shot_weights(encode, names, templates)
    assert torch.allclose(ours, theirs.T, atol=1e-6) and len(set(map(tuple, ours.tolist()))) == 3
    assert zero_shot_weights(encode, names).shape == (3, 8) and len(TEMPLATES) > 1


def test_zero_shot_metrics_against_a_loop():
    image, classes = vectors(200, seed=7), vectors(12, seed=8)
    label = torch.randint(0, 11, (200,), generator=torch.Generator().manual_seed(0))  # class 11 has no image
    scores = image @ classes.T
    top = [scores[i].argsort(descending=True).tolist() for i in range(200)]
    right = [top[i][0] == int(label[i]) for i in range(200)]
    per_class = [
        np.mean([r for r, c in zip(right, label.tolist(), strict=True) if c == k]) for k in range(11)
    ]
    found = zero_shot_metrics(image, classes, label)
    assert found["top1"] == pytest.approx(np.mean(right)) and found["top1"] > 0
    assert found["top5"] == pytest.approx(np.mean([int(label[i]) in top[i][:5] for i in range(200)]))
    assert found["mean_per_class"] == pytest.approx(np.mean(per_class))
    assert zero_shot_metrics(image, torch.ones(12, 8), label)["top1"] == 0.0
    assert math.isnan(zero_shot_metrics(image[:0], classes, [])["top1"])


def test_zero_shot_refuses_with_a_sentence():
    for names, templates, expected in (
        (["a"], ["a photo"], "has no {}"),
        (["a", "a"], ["{}"], "'a' stands twice"),
        ([], ["{}"], "nothing to classify"),
    ):
        with pytest.raises(ClipcoreError, match=expected):
            zero_shot_weights(encode, names, templates)
    with pytest.raises(ClipcoreError, match="3 labels for 2 images"):
        zero_shot_metrics(torch.eye(2), torch.eye(2), [0, 1, 0])
    with pytest.raises(ClipcoreError, match="outside 0 … 1"):
        zero_shot_metrics(torch.eye(2), torch.eye(2), [0, 2])


# -- histograms ------------------------------------------------------------------------------------------------


def test_histograms_count_the_cosines_of_each_kind():
    image, caption = vectors(60, seed=1), vectors(60, seed=2)
    own, hard = [(k, k) for k in range(60)], [(k, (k + 1) % 60) for k in range(30)]
    found = similarity_histograms(image, caption, own, hard, num_random=500)
    for name, pairs in (("positive", own), ("hard_negative", hard)):
        expected = [0] * 50
        for i, c in pairs:
            cosine = float(image[i] @ caption[c])
            expected[next(k for k in range(50) if k == 49 or cosine < HISTOGRAM_EDGES[k + 1])] += 1
        assert found[name] == expected and sum(expected) == len(pairs)
    assert 450 < sum(found["random"]) <= 500
    assert found == similarity_histograms(image, caption, own, hard, num_random=500)


def test_histogram_of_identical_vectors_fills_the_last_bin():
    same = vectors(5).repeat(2, 1)
    found = similarity_histograms(same, same, [(k, k) for k in range(10)], num_random=0)
    assert found["positive"][49] == 10 and sum(found["hard_negative"]) == 0
