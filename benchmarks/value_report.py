"""Tables, intervals and plots of value.py. The comparisons that are corrected together are named here and in docs/evidence.md."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from result import ROOT, write_result

PRIMARY = ("all@300", "plain")
CONFIRM = (
    PRIMARY,
    ("all@300", "gist"),
    ("all@300", "nv_retriever"),
    ("all@300", "all@300_random_in_pool"),
    ("all@300", "sham_all@300"),
    *((f"{way}@300", "plain") for way in ("mask", "attract", "soft", "hard", "written")),
    *((f"sham_{way}@300", "plain") for way in ("mask", "attract", "soft", "hard", "written", "all")),
    ("all@1000", "plain"),
    ("all@pool", "plain"),
    ("bulk@300", "plain"),
    ("hard@300_batch64", "plain_batch64"),
    ("written@300_batch64", "plain_batch64"),
    ("full_all@300", "full_plain"),
    ("full_sham_all@300", "full_plain"),
    ("full_all@pool", "full_plain"),
    ("full_attract@pool", "full_plain"),
)
DRAWS = 4000
Row = dict[str, Any]  # arm → what value_measure found, of one seed


def report(rows: list[Row], *, write: bool, **about: Any) -> None:
    """Prints the tables; with `write`, puts the figures, the tables for docs/evidence.md and the plots in their places."""
    known = set(rows[0])
    means = {arm: summary([row[arm] for row in rows]) for arm in rows[0]}
    confirm = {f"{a} − {b}": compare(rows, a, b) for a, b in CONFIRM if {a, b} <= known}
    holm(confirm)
    against = {
        arm: compare(rows, arm, _reference(arm)) for arm in known - {"base"} if _reference(arm) in known
    }
    text = tables(means, confirm)
    print(text)
    if not write:
        return
    mixes = {f"{a} − {b}": compare(rows, a, b, at="mix") for a, b in CONFIRM if {a, b} <= known}
    other, new = (
        {f"{a} − {b}": compare(rows, a, b, at=at) for a, b in CONFIRM if {a, b} <= known}
        for at in ("other_style", "new_things")
    )
    figures = _figures(means, confirm, rows)
    path = write_result(
        "value", figures, arms=means, confirmatory=confirm, at_the_recommended_mix=mixes, other_style=other, new_things=new,
        against_plain=against, density=[row["plain"]["density"] for row in rows], seeds=len(rows), **about,
    )  # fmt: skip
    plots(means, against, confirm, ROOT / "docs" / "plots")
    print(f"wrote {path}; the page is made by `python docs/make_tables.py`")


def summary(found: list[Row]) -> Row:
    """Means over seeds of one arm."""
    mean = {
        "map_at_r": _mean([np.mean(f["ap"]) for f in found]),
        "r@1": _mean([(f["i2t_r@1"] + f["t2i_r@1"]) / 2 for f in found]),
        "r@5": _mean([(f["i2t_r@5"] + f["t2i_r@5"]) / 2 for f in found]),
        "retention": _mean([f["retention_map_at_r"] for f in found]),
        "other_style": _mean([np.mean(f["other_style"]["ap"]) for f in found]),
        "new_things": _mean([np.mean(f["new_things"]["ap"]) for f in found]),
        "hard_seen": _mean([f["hard_negatives"].get("seen") for f in found]),
        "hard_unseen": _mean([f["hard_negatives"].get("unseen") for f in found]),
        "mix_share": _mean([f["mix"]["share"] for f in found]),
        "mix_map_at_r": _mean([np.mean(f["mix"]["ap"]) for f in found]),
        "mix_retention": _mean([f["mix"]["retention_map_at_r"] for f in found]),
        "mix_other_style": _mean([np.mean(f["mix"]["other_style"]["ap"]) for f in found]),
    }
    low, high = _level(found)
    return mean | {"ci_low": low, "ci_high": high, "labels": [f["labels"] for f in found]}


def compare(rows: list[Row], arm: str, against: str, *, at: str = "") -> dict[str, float]:
    """Mean gain in mAP@R, its 95 % interval by bootstrap over seeds and subjects within them, paired per query."""
    one, two = ([_part(row[name], at) for row in rows] for name in (arm, against))
    gains = [
        (np.array(a["ap"]) - np.array(b["ap"]), np.array(a["cluster"])) for a, b in zip(one, two, strict=True)
    ]
    mean, draws = _bootstrap(gains)
    low, high = np.quantile(draws, [0.025, 0.975])
    p = 2 * min((draws <= 0).mean(), (draws >= 0).mean())
    return {"gain": mean, "low": float(low), "high": float(high), "p": float(min(1.0, max(p, 1 / DRAWS)))}


def holm(found: dict[str, dict[str, float]]) -> None:
    """Adds `p_holm` to each comparison (Holm 1979)."""
    largest = 0.0
    for place, name in enumerate(sorted(found, key=lambda name: found[name]["p"])):
        largest = max(largest, min(1.0, (len(found) - place) * found[name]["p"]))
        found[name]["p_holm"] = largest


def tables(means: Row, confirm: dict[str, dict[str, float]]) -> str:
    """Both tables as Markdown, the comparisons first."""
    rows = ["| comparison | gain in mAP@R | 95 % | p (Holm) |", "|---|---|---|---|"]
    for name, c in confirm.items():
        rows.append(
            f"| {name} | {c['gain']:+.4f} | {c['low']:+.4f} … {c['high']:+.4f} | {_p(c.get('p_holm'))} |"
        )
    if not means:
        return "\n".join(rows)
    rows += [
        "",
        "| arm | mAP@R | R@1 | hard negatives, seen kinds | unseen kinds | new things | other style | kept | mix: share "
        "| mAP@R | other style | kept | labels of the first seed: match / no match |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, m in means.items():
        of = m["labels"][0]
        said = f"{of['match']} / {of['no_match']}" if of else "–"
        rows.append(
            f"| {arm} | {m['map_at_r']:.4f} | {m['r@1']:.3f} | {_n(m['hard_seen'])} | {_n(m['hard_unseen'])} | "
            f"{m['new_things']:.4f} | {m['other_style']:.4f} | {m['retention']:.3f} | {m['mix_share']:.2f} | {m['mix_map_at_r']:.4f} | "
            f"{m['mix_other_style']:.4f} | {m['mix_retention']:.3f} | {said} |"
        )
    return "\n".join(rows)


def plots(means: Row, against: dict[str, Row], confirm: dict[str, Row], folder: Path) -> None:
    """value-arms.svg: gains with intervals; value-budget.svg: gain by number of verdicts and order."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "nearmiss"  # the same file from the same figures
    from matplotlib import pyplot as plt

    folder.mkdir(exist_ok=True)
    names = list(reversed(confirm))
    figure, axes = plt.subplots(figsize=(8, 0.3 * len(names) + 1.2))
    for y, name in enumerate(names):
        c = confirm[name]
        colour = "#999999" if "sham" in name.split(" − ")[0] else "#1f6fb2"
        axes.plot([c["low"], c["high"]], [y, y], color=colour)
        axes.plot(c["gain"], y, "o", color=colour, markersize=4)
    axes.axvline(0, color="black", linewidth=0.7)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("gain in mAP@R on held-out items, 95 % interval (grey: sham)")
    figure.tight_layout()
    figure.savefig(folder / "value-arms.svg", metadata={"Date": None})
    figure, axes = plt.subplots(figsize=(6, 4))
    for label, arms, colour in (
        ("our queue", {100: "all@100", 300: "all@300", 1000: "all@1000"}, "#1f6fb2"),
        ("random in the pool", {b: f"all@{b}_random_in_pool" for b in (100, 300, 1000)}, "#c2571a"),
    ):
        some = {b: against[arm] for b, arm in arms.items() if arm in against}
        if some:
            gain = [c["gain"] for c in some.values()]
            spread = [
                [c["gain"] - c["low"] for c in some.values()],
                [c["high"] - c["gain"] for c in some.values()],
            ]
            axes.errorbar(list(some), gain, yerr=spread, label=label, color=colour, marker="o", capsize=3)
    if "all@pool" in against:
        axes.axhline(against["all@pool"]["gain"], color="#777777", linestyle="--", label="the whole pool")
    axes.axhline(0, color="black", linewidth=0.7)
    axes.set_xscale("log")
    axes.set_xlabel("verdicts")
    axes.set_ylabel("gain in mAP@R over plain fine-tuning")
    axes.legend()
    figure.tight_layout()
    figure.savefig(folder / "value-budget.svg", metadata={"Date": None})
    plt.close("all")


def _figures(means: Row, confirm: dict[str, Row], rows: list[Row]) -> dict[str, Any]:
    """The figures that the issue names."""
    first, sham = confirm[f"{PRIMARY[0]} − {PRIMARY[1]}"], confirm["sham_all@300 − plain"]
    mined = min(confirm[f"all@300 − {rule}"]["low"] for rule in ("gist", "nv_retriever"))
    per_arm = {f"{arm}.{key}": means[arm][key] for arm in means for key in ("map_at_r", "ci_low", "ci_high")}
    return {
        "gain_300_queue": first["gain"],
        "gain_300_queue_ci_low": first["low"],
        "gain_300_queue_ci_high": first["high"],
        "gain_sham_ci": [sham["low"], sham["high"]],
        "gain_vs_model_mined_ci_low": mined,
        "verdict_ratio_vs_random_order": verdict_ratio(rows),
        "retention_loss": means["base"]["retention"] - means["all@300"]["mix_retention"],
        "retention_loss_tuned_end": means["base"]["retention"] - means["all@300"]["retention"],
        **per_arm,
    }


def verdict_ratio(rows: list[Row]) -> float | None:
    """How many times 300 verdicts random order in the pool needs for the queue's gain at 300, by interpolation.

    None where the queue's gain is not clear of zero, or random order does not reach it with 1,000.
    """
    gain = compare(rows, "all@300", "plain")
    if gain["low"] <= 0:
        return None
    budgets = [0, 100, 300, 1000]
    random = [0.0] + [compare(rows, f"all@{b}_random_in_pool", "plain")["gain"] for b in budgets[1:]]
    reached = np.maximum.accumulate(random)
    if reached[-1] < gain["gain"]:
        return None
    return float(np.interp(gain["gain"], reached, budgets)) / 300


def _reference(arm: str) -> str:
    if arm.startswith("full_"):
        return "full_plain"
    return "plain_batch64" if arm.endswith("_batch64") else "plain"


def _part(found: Row, at: str) -> Row:
    return found[at] if at else found


def _bootstrap(values: list[tuple[Any, Any]]) -> tuple[float, Any]:
    """(mean over seeds of the mean over queries, DRAWS draws of it); values and clusters of each seed."""
    rng = np.random.default_rng(0)
    seeds = []
    for value, cluster in values:
        _, at = np.unique(cluster, return_inverse=True)
        seeds.append((np.bincount(at, weights=value), np.bincount(at)))
    mean = float(np.mean([total.sum() / size.sum() for total, size in seeds]))
    within = []
    for place, (total, size) in enumerate(
        seeds
    ):  # each seed's own draws; which seeds a draw takes is drawn after
        weight = _resamples(len(total), len(seeds), place)
        within.append(((weight @ total) / (weight @ size)).reshape(DRAWS, len(seeds)))
    pick = rng.integers(len(seeds), size=(DRAWS, len(seeds)))
    draws = np.stack(within)[pick, np.arange(DRAWS)[:, None], np.arange(len(seeds))].mean(axis=1)
    return mean, draws


@cache
def _resamples(num_clusters: int, num_seeds: int, place: int) -> Any:
    """How often each cluster is drawn [DRAWS · seeds, clusters]; the same draws for every comparison."""
    rng = np.random.default_rng(place + 1)
    even = np.full(num_clusters, 1 / num_clusters)
    return rng.multinomial(num_clusters, even, size=DRAWS * num_seeds).astype(np.float32)


def _level(found: list[Row]) -> tuple[float, float]:
    _, draws = _bootstrap([(np.array(f["ap"]), np.array(f["cluster"])) for f in found])
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def _mean(values: list[Any]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _n(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.01" if value < 0.01 else f"{value:.2f}"
