"""Mining against brute force and known truth: what is found, what is never suggested, what verdicts teach."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipcore import ClipcoreError
from clipcore.mining import MiningOptions, check_written, fingerprint, lexicon_of, mine, topk, write_negatives
from clipcore.mining.approximate import NearIndex, approximate_top_k
from clipcore.mining.broken import MOST, broken_probability
from clipcore.mining.calibrate import (
    average_precision,
    calibration_error,
    components,
    cross_validated,
)
from clipcore.mining.duplicates import caption_groups, image_groups
from clipcore.mining.mine import _items
from clipcore.mining.neighbours import find_neighbours
from clipcore.mining.orders import by_anchor, mixed
from clipcore.mining.propose import Proposer
from clipcore.mining.rates import Stratum, expected_collisions, false_negative_rate
from clipcore.mining.signals import SIGNALS
from clipcore.mining.topk import exact_top_k
from clipcore.mining.topk_cpu import CpuSweep
from clipcore.mining.topk_device import DeviceSweep


def unit(rng, n, d):
    x = rng.normal(size=(n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def world(n=60, d=16, seed=0):
    """Pairs whose caption vector lies near the image's, and captions of colours and things."""
    rng = np.random.default_rng(seed)
    image = unit(rng, n, d)
    caption = image + 0.35 * unit(rng, n, d)
    caption /= np.linalg.norm(caption, axis=1, keepdims=True)
    colours, things = ["red", "green", "blue", "black"], ["cup", "chair", "lamp", "shoe", "bag"]
    texts = [f"a {colours[i % 4]} {things[i % 5]} number {i}" for i in range(n)]
    return image, caption, texts, [(i, i) for i in range(n)]


@pytest.mark.parametrize(("n", "m", "k"), [(50, 70, 7), (3, 5, 9), (1, 1, 4)])
def test_exact_top_k_equals_brute_force(n, m, k):
    rng = np.random.default_rng(1)
    a, b = unit(rng, n, 8), unit(rng, m, 8)
    found = exact_top_k(a, b, k=k, panel=16, tile=24)
    for left, right, at, score in (
        (a, b, found.caption_Nk, found.caption_score_Nk),
        (b, a, found.image_Mk, found.image_score_Mk),
    ):
        z = left @ right.T
        order = np.argsort(-z, axis=1, kind="stable")[:, : min(k, len(right))]
        assert np.array_equal(at, order)
        assert np.allclose(score, np.take_along_axis(z, order, 1), atol=1e-6)


def test_ties_go_to_the_smaller_number_whatever_the_tiles():
    a, b = np.ones((40, 4), np.float32) / 2, np.ones((50, 4), np.float32) / 2
    for panel, tile in ((64, 64), (7, 9), (16, 8)):
        found = exact_top_k(a, b, k=5, panel=panel, tile=tile)
        assert (found.caption_Nk == np.arange(5)).all() and (found.image_Mk == np.arange(5)).all()


def test_anchors_whose_neighbours_come_last_and_devices_agree_with_a_full_sort():
    """Scores that rise with the number hit every floor again and again; −0 equals 0; a few anchors have all the hits."""
    rng = np.random.default_rng(3)
    a, b = unit(rng, 90, 6), unit(rng, 700, 6)
    b *= np.linspace(0.1, 3, 700, dtype=np.float32)[:, None]
    a[:3], b[-300:, 0] = np.eye(6, dtype=np.float32)[0], np.arange(300)
    a[5:9], b[10:20] = 0.0, -0.0
    sweeps = [CpuSweep(90, 700, 4), DeviceSweep(90, 700, 4, "cpu")]
    for sweep in sweeps:
        for top in range(0, 90, 40):
            for left in range(0, 700, 128):
                sweep.tile(a[top : top + 40], b[left : left + 128], top=top, left=left)
            sweep.end_panel(top)
    z = a @ b.T
    for number, score in (sweep.arrays()[:2] for sweep in sweeps):
        order = np.argsort(-z, axis=1, kind="stable")[:, :4]
        assert np.array_equal(number, order) and np.allclose(
            score, np.take_along_axis(z, order, 1), rtol=1e-5
        )
    assert all(np.array_equal(x, y) for x, y in zip(sweeps[0].arrays()[2:3], sweeps[1].arrays()[2:3]))


SEARCH = """
import sys, time
import numpy as np
import clipcore.mining.topk as topk
topk.SAVE_EVERY_S = 0.0
rng = np.random.default_rng(0)
a, b = (rng.normal(size=(4000, 16)).astype(np.float32) for _ in "ab")
slow = lambda done, total: (time.sleep(float(sys.argv[2])), print(done, flush=True))
found = topk.exact_top_k(a, b, k=9, panel=100, tile=2000, resume_folder=sys.argv[1], progress=slow)
np.savez(sys.argv[1] + "/found.npz", found.caption_Nk, found.image_Mk)
"""


def test_search_killed_in_the_middle_gives_the_same_rows(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    run = [sys.executable, "-c", SEARCH]
    subprocess.run([*run, str(whole), "0"], check=True, capture_output=True, timeout=100)
    process = subprocess.Popen([*run, str(broken), "0.05"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while int(process.stdout.readline() or 99) < 20:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (broken / "top_k.npz").exists() and not (broken / "found.npz").exists()
    again = subprocess.run([*run, str(broken), "0"], check=True, capture_output=True, text=True, timeout=100)
    assert int(again.stdout.split()[0]) > 10  # it did not begin anew
    with np.load(whole / "found.npz") as a, np.load(broken / "found.npz") as b:
        assert all(np.array_equal(a[key], b[key]) for key in a.files)


@pytest.mark.parametrize(("images", "captions"), [(300, 420), (250, 500), (3, 2), (300, 500)])
def test_added_items_extend_a_search_to_what_a_search_anew_finds(images, captions, monkeypatch):
    monkeypatch.setattr(topk, "PANEL", 64)
    monkeypatch.setattr(topk, "TILE", 100)
    rng = np.random.default_rng(0)
    a, b = unit(rng, 300, 8), unit(rng, 500, 8)
    earlier = exact_top_k(a[:images], b[:captions], k=7)
    found, anew = topk.extend_top_k(earlier, a, b, k=7), exact_top_k(a, b, k=7)
    assert np.array_equal(found.caption_Nk, anew.caption_Nk) and np.array_equal(found.image_Mk, anew.image_Mk)
    assert np.allclose(found.image_score_Mk, anew.image_score_Mk, atol=1e-6)
    if min(images, captions) > 7:
        with pytest.raises(ClipcoreError, match="fewer than 9 neighbours"):
            topk.extend_top_k(earlier, a, b, k=9)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_search_reaches_its_recall_and_takes_items_later(kind):
    rng = np.random.default_rng(2)
    centres = unit(rng, 20, 16)
    items = centres[rng.integers(0, 20, 3000)] + 0.3 * unit(rng, 3000, 16)
    items = (items / np.linalg.norm(items, axis=1, keepdims=True)).astype(np.float32)
    queries = items[:200] + 0.05
    index = NearIndex(items[:2000], kind=kind)
    index.add(items[:2000])
    index.add(items[2000:])
    told = index.tune(queries, items, k=10)
    score, number = index.search(queries, k=10)
    exact = np.argsort(-(queries @ items.T), axis=1)[:, :10]
    hits = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(number, exact, strict=True)])
    assert len(index) == 3000 and told.found >= 0.95 and hits >= 0.94
    assert (np.diff(score, axis=1) <= 0).all()
    with pytest.raises(ClipcoreError, match="use ivf or hnsw"):
        NearIndex(items, kind="flat")


def test_approximate_top_k_has_both_directions():
    image, caption, _, _ = world(400)
    found, recalls = approximate_top_k(image, caption, k=5)
    exact = exact_top_k(image, caption, k=5)
    assert min(r.found for r in recalls) >= 0.95
    same = [np.mean([len(set(a) & set(b)) for a, b in zip(*both, strict=True)]) / 5
            for both in ((found.caption_Nk, exact.caption_Nk), (found.image_Mk, exact.image_Mk))]  # fmt: skip
    assert min(same) >= 0.95


def test_nothing_paired_decided_or_across_the_split_is_suggested():
    image, caption, texts, pairs = world()
    split = ["held_out" if i % 6 == 0 else "train" for i in range(60)]
    cold = mine(image, caption, pairs=pairs, captions=texts, image_split=split, caption_split=split)
    assert len(cold) > 50 and (np.diff(cold.impact) <= 1e-12).all()
    found = list(zip(cold.image.tolist(), cold.caption.tolist(), cold.proposed, strict=True))
    assert all((i == c) == (p == "broken_pair") for i, c, p in found)
    assert all(split[i] == split[c] for i, c, _ in found)
    assert len({(i, c) for i, c, _ in found}) == len(found)
    decided = [(i, c) for i, c, _ in found[:9]]
    verdicts = [(i, c, False) for i, c, _ in found[9:15]]
    again = mine(
        image, caption, pairs=pairs, captions=texts, image_split=split, caption_split=split,
        decided=decided, verdicts=verdicts,
    )  # fmt: skip
    left = set(zip(again.image.tolist(), again.caption.tolist(), strict=True))
    assert not left & {*decided, *((i, c) for i, c, _ in verdicts)} and again.num_verdicts == 6


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_data_sets(n):
    image, caption, texts, pairs = world(max(n, 1))
    found = mine(image[:n], caption[:n], pairs=pairs[:n], captions=texts[:n])
    assert len(found) == {0: 0, 1: 0, 2: 2}[n]


def test_all_captions_equal_makes_every_candidate_a_match_of_one_group_an_image():
    image, caption, _, pairs = world(12)
    found = mine(image, caption, pairs=pairs, captions=["a cup"] * 12)
    asked = np.array([p != "broken_pair" for p in found.proposed])
    assert asked.any() and found.probability[asked].min() > 0.3 and np.median(found.probability[asked]) > 0.5
    groups = {}
    for i, g, a in zip(found.image.tolist(), found.group, asked, strict=True):
        if a:
            groups.setdefault(i, set()).add(g)
    assert all(len(some) == 1 for some in groups.values())


def test_false_negatives_rank_above_random_and_verdicts_improve_them():
    rng = np.random.default_rng(3)
    things = unit(rng, 40, 24)
    thing = np.repeat(np.arange(40), 3)  # three pairs of each thing: their captions are true of each other
    image = things[thing] + 0.5 * unit(rng, 120, 24)
    caption = things[thing] + 0.5 * unit(rng, 120, 24)
    image, caption = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, caption))
    texts = [f"thing {t} seen {n % 3}" for n, t in enumerate(thing)]
    pairs = [(n, n) for n in range(120)]
    cold = mine(image, caption, pairs=pairs, captions=texts)
    true = thing[cold.image] == thing[cold.caption]
    ap = average_precision(cold.probability, true)
    assert ap is not None and ap > 2 * true.mean() and true.sum() > 50
    verdicts = [(int(cold.image[n]), int(cold.caption[n]), bool(true[n])) for n in range(100)]
    warm = mine(image, caption, pairs=pairs, captions=texts, verdicts=verdicts)
    truth = thing[warm.image] == thing[warm.caption]
    left = np.array(
        [(i, c) not in {v[:2] for v in verdicts} for i, c in zip(cold.image, cold.caption, strict=True)]
    )
    before = calibration_error(cold.probability[left], true[left])
    assert calibration_error(warm.probability, truth) < before
    assert warm.quality is not None and warm.quality.num_verdicts == 100
    assert warm.rate is not None and warm.rate.low <= warm.rate.rate <= warm.rate.high
    assert warm.rate.num_candidates == 120 * 120 - 120


def test_a_verdict_that_contradicts_everything_is_disputed():
    image, caption, texts, pairs = world(80, seed=5)
    image[1], caption[1], texts[1] = image[0], caption[0], texts[0]  # the same picture with the same words
    cold = mine(image, caption, pairs=pairs, captions=texts)
    false = [
        (int(i), int(c), False)
        for i, c, p in zip(cold.image, cold.caption, cold.proposed, strict=True)
        if p != "broken_pair" and {int(i), int(c)} != {0, 1}
    ][:40]
    found = mine(image, caption, pairs=pairs, captions=texts, verdicts=[*false, (0, 1, False)])
    assert [(i, c) for i, c, p in found.disputed if p > 0.9] == [(0, 1)]


def test_swapped_captions_are_suggested_as_broken_pairs():
    image, caption, texts, pairs = world(200, 32, seed=4)
    caption[[10, 90]] = caption[[90, 10]]
    near = find_neighbours(image, caption, k=20)
    chance = broken_probability(_items(image, caption, pairs, texts, [], None, 0, near))
    assert set(np.argsort(-chance)[:2].tolist()) == {10, 90} and chance[[10, 90]].min() > 0.5
    assert np.mean(chance > 0.5) < 0.05
    found = mine(image, caption, pairs=pairs, captions=texts)
    named = {int(i) for i, p in zip(found.image, found.proposed, strict=True) if p == "broken_pair"}
    assert {10, 90} <= named


def test_a_model_that_contradicts_everything_calls_few_pairs_broken():
    rng = np.random.default_rng(3)
    image, caption = (
        rng.standard_t(1.2, size=(400, 8)).astype(np.float32) for _ in "ic"
    )  # nothing fits, some by far
    image[:300] = caption[:300] = rng.normal(size=(300, 8))  # most it reads perfectly
    image, caption = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, caption))
    pairs, texts = [(n, n) for n in range(400)], [f"thing {n}" for n in range(400)]
    near = find_neighbours(image, caption, k=30)
    chance = broken_probability(_items(image, caption, pairs, texts, [], None, 0, near))
    assert chance.mean() <= MOST + 1 / 400 + 1e-6 and chance.max() > 0.5
    assert (chance >= 0.5).sum() < 40 and (np.argsort(-chance)[:20] >= 300).all()


def test_refit_moves_towards_the_verdicts_and_few_leave_the_start():
    rng = np.random.default_rng(0)
    mined = rng.normal(size=(400, len(SIGNALS)))
    start = Proposer.start(mined)
    told = mined[:200]
    yes = told[:, 0] < 0  # against the start's belief in rarity
    few = start.fit(told[:6], yes[:6])
    assert np.array_equal(few.probability(mined), start.probability(mined))
    fitted = start.fit(told, yes)
    test, truth = mined[200:], mined[200:, 0] < 0
    assert average_precision(fitted.probability(test), truth) > average_precision(
        start.probability(test), truth
    )
    assert fitted.num_verdicts == 200


def test_cross_validation_never_sees_a_component():
    first, second = [0, 0, 1, 2, 3, 3], [0, 1, 1, 2, 3, 4]
    part = components(first, second)
    assert part.tolist() == [part[0]] * 3 + [part[3]] + [part[4]] * 2 and len(set(part.tolist())) == 3
    seen = []

    def fit(x, y):
        seen.append(set(x[:, 0].astype(int).tolist()))
        return lambda z: np.full(len(z), 0.5)

    x = np.arange(6, dtype=float)[:, None]
    cross_validated(fit, x, np.array([True, False] * 3), part)
    for rows in seen:
        assert all(set(np.flatnonzero(part == p).tolist()) <= rows or not set(np.flatnonzero(part == p).tolist()) & rows
                   for p in set(part.tolist()))  # fmt: skip


def test_average_precision_and_calibration_error_against_slow_ones():
    rng = np.random.default_rng(1)
    p = rng.random(97)
    y = rng.random(97) < p**2
    order = np.argsort(-p)
    slow = np.mean([y[order][: r + 1].mean() for r in range(97) if y[order][r]])
    assert abs(average_precision(p, y) - slow) < 1e-12
    bins = np.array_split(np.argsort(p, kind="stable"), 10)
    ece = sum(len(b) * abs(p[b].mean() - y[b].mean()) for b in bins) / 97
    assert abs(calibration_error(p, y) - ece) < 1e-12
    assert average_precision(p, np.zeros(97, dtype=bool)) is None


def test_interval_of_the_false_negative_rate_covers_the_truth():
    rng = np.random.default_rng(0)
    sizes, shares = [500, 5_000, 100_000], [0.6, 0.05, 0.0005]
    truth = sum(n * s for n, s in zip(sizes, shares, strict=True)) / sum(sizes)
    covered = 0
    for seed in range(60):
        strata = [Stratum(n, 80, int(rng.binomial(80, s))) for n, s in zip(sizes, shares, strict=True)]
        rate = false_negative_rate(strata, seed=seed)
        covered += rate.low <= truth <= rate.high
    assert covered >= 52  # 95 % of 60 are 57; Jeffreys' interval is a little short where matches are rare
    with pytest.raises(ClipcoreError, match="cannot be weighed"):
        false_negative_rate([Stratum(10)])


def test_expected_collisions_equal_a_simulation():
    rng = np.random.default_rng(0)
    n, size, matches = 200, 20, [(3, 7), (50, 51), (0, 199)]
    met = 0
    for _ in range(3000):
        batch = np.empty(n, int)
        batch[rng.permutation(n)] = np.arange(n) // size
        met += sum(batch[a] == batch[b] for a, b in matches)
    expected = expected_collisions(3, num_pairs=n, batch_sizes=[size])[size]
    assert abs(met / 3000 - expected) < 0.05 and expected_collisions(3, num_pairs=1)[32] == 0.0


def test_written_negatives_change_one_thing_and_never_become_another_caption():
    texts = ["a red cup on a table", "a blue cup on a table", "two dogs", "a cat left of a dog"]
    written = write_negatives(texts, num_negatives=6)
    said = {t.casefold() for t in texts}
    assert {w.caption for w in written} == {0, 1, 2, 3}
    for w in written:
        assert w.text.casefold() not in said and w.text != texts[w.caption]
        assert w.was.casefold() in texts[w.caption].casefold()
    assert len({w.text for w in written}) == len(written)
    assert not any(w.text == "a blue cup on a table" for w in written)
    assert check_written("  a green   cup ", texts) == "a green cup"
    with pytest.raises(ClipcoreError, match="another image's caption"):
        check_written("A RED cup on the table", texts)
    with pytest.raises(ClipcoreError, match="empty"):
        check_written("  ", texts)


@pytest.mark.parametrize(
    ("language", "caption", "edits", "never"),
    [
        ("fr", "Une voiture rouge devant la maison", {"Une voiture verte devant la maison"}, "vert "),
        ("fr", "deux voitures rouges", {"trois voitures rouges", "deux voitures jaunes"}, "verts"),
        ("fr", "le chien est grand", {"le chien n'est pas grand", "le chien est petit"}, "petite"),
        ("fr", "une rose rouge", {"une rose verte"}, "une jaune"),
        ("fr", "un homme et sa voiture rouge", set(), "vert"),
        ("fr", "un chien devant l'auto rouge", {"un chien derrière l'auto rouge"}, "vert"),
        ("es", "la puerta está abierta", {"la puerta no está abierta", "la puerta está cerrada"}, "cerrado"),
        ("es", "tres gatos negros sobre la mesa", {"tres gatos blancos sobre la mesa"}, "blancas"),
        ("es", "voy a pintar una casa blanca", {"voy a pintar una casa amarilla"}, " an "),
        ("de", "eine rote Tasse auf dem Tisch", {"eine gelbe Tasse auf dem Tisch"}, "gelb "),
        ("de", "eine Frau mit rotem Hut", set(), "Mann"),
    ],
)
def test_written_negatives_of_other_languages_agree_with_their_noun(language, caption, edits, never):
    lexicon = lexicon_of(language)
    written = {w.text for w in write_negatives([caption], lexicon=lexicon, num_negatives=50)}
    assert edits <= written and not any(never in text for text in written)


def test_the_captions_tell_their_language_and_an_unknown_one_is_refused():
    said = {
        "en": ["a red cup", "two dogs with a ball"],
        "de": ["eine rote Tasse", "der Hund ist schwarz"],
        "fr": ["une tasse rouge", "le chien est noir"],
        "es": ["una taza roja", "el perro está en la casa"],
    }
    assert {code: lexicon_of("auto", texts).language for code, texts in said.items()} == {c: c for c in said}
    assert lexicon_of("auto", ["木", "犬"]).language == "en"
    with pytest.raises(ClipcoreError, match="no lexicon for 'tlh'"):
        lexicon_of("tlh")


def test_duplicates_of_pictures_and_captions_share_a_group():
    from PIL import Image

    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (8, 9, 3), dtype=np.uint8)).resize(
        (90, 80), Image.Resampling.BICUBIC
    )
    larger = picture.resize((180, 160), Image.Resampling.BICUBIC)
    other = Image.fromarray(rng.integers(0, 255, (80, 90, 3), dtype=np.uint8))
    tinted = Image.eval(picture, lambda v: min(255, v + 60))
    prints = np.stack([fingerprint(p) for p in (picture, larger, other, tinted)])
    assert image_groups(["a", "b", "c", "d"], prints).tolist() == [0, 0, 2, 3]
    assert image_groups(["a", "b", "a"]).tolist() == [0, 1, 0]
    assert caption_groups(["A red cup.", "red cup", "the red  cup", "cup red"]).tolist() == [0, 0, 0, 3]


def test_mixed_order_deals_six_three_one_and_anchors_stay_together():
    rng = np.random.default_rng(0)
    impact, probability = rng.random(50), rng.random(50)
    order = mixed(impact, probability)
    assert sorted(order.tolist()) == list(range(50))
    assert order[0] == impact.argmax() and set(np.argsort(-impact)[:6].tolist()) <= set(order[:10].tolist())
    anchor = rng.integers(0, 7, 50)
    together = anchor[by_anchor(anchor, order)]
    assert 1 + int((np.diff(together) != 0).sum()) == len(set(anchor.tolist()))
    assert together[0] == anchor[order[0]]


def test_options_follow_sentence_transformers_and_bad_ones_are_refused():
    image, caption, texts, pairs = world()
    bounded = mine(image, caption, pairs=pairs, captions=texts,
                   options=MiningOptions(max_score=0.3, min_score=0.0, num_neighbours=0))  # fmt: skip
    asked = np.array([p != "broken_pair" for p in bounded.proposed])
    assert asked.any() and bounded.score[asked].max() <= 0.3 and bounded.score[asked].min() >= 0.0
    for values, told in (({"range_min": 5, "range_max": 5}, "empty"), ({"num_negatives": 0}, "num_negatives"),
                         ({"sampling_strategy": "best"}, "top or random")):  # fmt: skip
        with pytest.raises(ClipcoreError, match=told):
            MiningOptions(**values)
    with pytest.raises(ClipcoreError, match="give one text a vector"):
        mine(image, caption, pairs=pairs, captions=texts[:3])


def test_option_names_are_those_of_sentence_transformers():
    util = pytest.importorskip("sentence_transformers.util")
    import inspect

    names = set(inspect.signature(util.mine_hard_negatives).parameters)
    ours = {"range_min", "range_max", "max_score", "min_score", "absolute_margin", "relative_margin",
            "num_negatives", "sampling_strategy"}  # fmt: skip
    assert ours <= names and ours <= set(MiningOptions.__dataclass_fields__)


def test_search_asked_to_stop_goes_on_from_there(tmp_path: Path):
    image, caption, _, _ = world(300)
    calls = iter(range(99))
    from clipcore.mining.topk import Stopped

    with pytest.raises(Stopped):
        exact_top_k(image, caption, k=4, panel=50, stop=lambda: next(calls) == 3, resume_folder=tmp_path)
    done: list[int] = []
    again = exact_top_k(
        image, caption, k=4, panel=50, resume_folder=tmp_path, progress=lambda d, t: done.append(d)
    )
    assert done[0] > 2 and np.array_equal(again.caption_Nk, exact_top_k(image, caption, k=4).caption_Nk)
