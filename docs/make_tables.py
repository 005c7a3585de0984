"""Puts the tables of docs/performance.md and docs/evidence.md between their marks, and draws the growth curves:
`python docs/make_tables.py`. The figures come from benchmarks/results/*.json; a test compares pages and results.
"""

import json
import re
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
PAGES = ("performance.md", "evidence.md")
BLOCK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
Line = tuple[str, str, str]  # key of figures, what it is, the target

LINES: dict[str, list[Line]] = {
    "step": [
        (
            "loss_speedup_6144",
            "InfoNCE forward + backward, N = 6,144: times as fast as open_clip's ClipLoss",
            "1.5",
        ),
        ("loss_speedup_6144_one_matrix", "the same against one dense matrix under autograd", ""),
        ("loss_memory_mb_16384", "memory that the loss adds at N = 16,384, MB", "≤ 150"),
        (
            "step_speedup_4096",
            "step of 4,096 pairs in micro-batches of 32: times open_clip's accumulation",
            "2",
        ),
        ("step_speedup_4096_m128", "in micro-batches of 128", ""),
        ("step_speedup_4096_m512", "in micro-batches of 512", ""),
        ("step_speedup_1024_resident", "1,024 pairs, most micro-batches resident: times open_clip", "1.2"),
        ("resident_ratio", "all resident: time over that of one batch", "≤ 1.05"),
        (
            "step_speedup_1024_sentence_transformers",
            "1,024 pairs: times sentence-transformers' cached loss",
            "",
        ),
        ("n65536_peak_mb", "N = 65,536: peak of the whole process, MB", ""),
        ("max_rel_grad_error_fp64", "largest relative gradient error, float64", "≤ 1e-10"),
        ("max_rel_grad_error_fp32", "the same, float32", ""),
        ("max_rel_grad_error_fp32_one_batch", "that of one dense float32 batch", ""),
    ],
    "mining_speed": [
        (
            "speedup_vs_sentence_transformers",
            "exact top 50, 100 k × 100 k: times as fast as sentence-transformers",
            "",
        ),
        ("speedup_vs_faiss_flat", "times as fast as faiss flat", "1.5"),
        ("matmul_share", "share of the bare matrix product's rate (the limit is 1)", ""),
        ("recall_at_50_1m", "1 M × 1 M, approximate: recall of the exact top 50", ""),
        ("peak_mb", "peak of the process, MB", ""),
    ],
    "desk": [
        (
            "key_to_paint_p50_ms",
            "key to the next picture's paint, p50, ms (one display frame is 16.7)",
            "≤ 20",
        ),
        ("key_to_paint_p95_ms", "p95, ms", "≤ 50"),
        ("first_page_p95_ms", "first question with its pictures, empty cache, p95, ms", "≤ 1,000"),
        ("whole_page_p95_ms", "the whole page, p95, ms", ""),
        ("search_text_p95_ms", "search by meaning over 200,000, words, p95, ms", "≤ 150"),
        ("search_image_p95_ms", "a picture of the set, p95, ms", "≤ 150"),
        ("verdict_p95_ms_50_annotators", "a verdict's save with 50 annotators, p95, ms", ""),
        ("errors", "errors under load", "0"),
        ("lost", "verdicts lost", "0"),
        ("peer_handover_p50_ms", "the peer's key to next task, p50, ms", ""),
        ("peer", "the peer", ""),
    ],
    "ingest": [
        ("decode_share", "import of pictures: share of a bare decoding loop's rate (the limit is 1)", "0.8"),
        ("pictures_per_s", "pictures a second", ""),
        ("bare_pictures_per_s", "the bare loop, pictures a second", ""),
        ("rows_per_s_sqlite", "table rows a second into SQLite (three a pair)", ""),
        ("rows_per_s_postgres", "into Postgres", ""),
        ("page_ms_p95_sqlite", "a page of pairs with all rows there, SQLite, p95, ms", ""),
        ("page_ms_p95_postgres", "Postgres, p95, ms", ""),
        ("peak_mb", "peak, MB", ""),
    ],
    "overhead": [
        (
            "wall_ratio",
            "wall time through the application over that of plain clipcore, after start-up",
            "≤ 1.05",
        ),
        ("same_weights", "the same weights in the end", "yes"),
    ],
    "growth": [
        ("matmul_gflops", "float32 matrix product, 10⁹ operations a second", ""),
        ("memory_gb_s", "memory, read and written, GB/s", ""),
        ("disk_write_mb_s", "disk, written and forced, MB/s", ""),
        ("jpeg_256_per_s_core", "JPEGs of 256 px decoded a second and core", ""),
    ],
}


def main() -> None:
    """Replaces the tables, and the plots of benchmarks/results/growth.json where matplotlib is installed."""
    for page in PAGES:
        path = DOCS / page
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
    if "--no-plots" not in sys.argv:
        draw()


def filled(page: str) -> str:
    """The page with every table as the results say it."""
    return BLOCK.sub(lambda m: f"{m[1]}{table(m[2])}\n{m[3]}", page)


def table(name: str) -> str:
    """The table of one result; one sentence where there is no result."""
    file, _, part = name.partition(":")
    found = result(file)
    if found is None:
        return f"*Not measured yet: `python benchmarks/{file}.py`.*"
    if file == "value":
        return _value(found, part)
    if file in ("value_many", "value_bases", "value_sweep"):
        return f"*{_when(found)}; {found['seeds']} seeds*\n\n" + "\n".join(found["table"])
    if file == "profiles":
        return _profile(found["paths"][part], found["before"]["paths"].get(part), found["before"]["commit"])
    if part:
        return f"{_curve(found[part])}\n\n![growth](plots/growth-{part}.svg)"
    figures = found["figures"]
    lines = LINES.get(file) or [(key, key, "") for key in figures]
    rows = [f"*{_when(found)}*", "", "| what | figure | target |", "|---|---|---|"]
    rows += [f"| {words} | {number(figures.get(key))} | {target} |" for key, words, target in lines]
    return "\n".join(rows)


def _profile(now: Any, before: Any, commit: str) -> str:
    """Where the time of a hot path goes, beside an earlier commit's; the head holds the seconds of the same work."""
    if not before:
        return "\n".join(
            [
                f"| spent in ({now[0]:.2f} s) | share |",
                "|---|---|",
                *(f"| `{what}` | {share:.0%} |" for what, share in now[1]),
            ]
        )
    rows = zip_longest(now[1], before[1], fillvalue=("", None))
    cells = (" | ".join(f"`{w}` | {s:.0%}" if w else " | " for w, s in row) for row in rows)
    return "\n".join(
        [
            f"| now: {now[0]:.2f} s | share | at {commit}: {before[0]:.2f} s | share |",
            "|---|---|---|---|",
            *(f"| {c} |" for c in cells),
        ]
    )


def result(name: str) -> dict[str, Any] | None:
    """The committed JSON, or None."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return found


def number(value: Any) -> str:
    """Three or four digits; a dash for what was not measured."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _when(found: dict[str, Any]) -> str:
    about = found["machine"]
    return (
        f"{found['date'][:10]}, {about['cores']} cores of {about['cpu'] or 'an unnamed processor'}, "
        f"{about['memory_gb']:.0f} GB, GPU: {about['gpu'] or 'none'}, commit {found['commit'][:7]}"
    )


def _curve(points: list[dict[str, float]]) -> str:
    keys = list(points[0])
    rows = [f"| {' | '.join(keys)} |", f"|{'---|' * len(keys)}"]
    return "\n".join([*rows, *(f"| {' | '.join(number(p.get(k)) for k in keys)} |" for p in points)])


def _value(found: dict[str, Any], part: str) -> str:
    sys.path.insert(0, str(DOCS.parent / "benchmarks"))
    from value_report import tables

    if "at_the_recommended_mix" not in found:
        return "*Not measured yet: `python benchmarks/value.py`; the committed result is that of the first protocol.*"
    if part:
        return tables({}, found[part])
    return f"*{_when(found)}; {found['seeds']} seeds*\n\n" + tables(found["arms"], found["confirmatory"])


def draw() -> None:
    """docs/plots/growth-*.svg."""
    found = result("growth")
    if found is None:
        return
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "nearmiss"
    from matplotlib import pyplot as plt

    (DOCS / "plots").mkdir(exist_ok=True)
    for name, unit in (("batch", "s"), ("mining", "s"), ("data_set", "ms"), ("annotators", "ms")):
        points = found[name]
        along, *keys = points[0]
        figure, axes = plt.subplots(figsize=(5, 3.4))
        for key in [k for k in keys if k.endswith(f"_{unit}")]:
            some = [(p[along], p[key]) for p in points if key in p]
            axes.plot(*zip(*some, strict=True), marker="o", label=key.removesuffix(f"_{unit}"))
        axes.set(xscale="log", yscale="log", xlabel=along, ylabel=unit, title=name.replace("_", " "))
        axes.legend()
        figure.tight_layout()
        figure.savefig(DOCS / "plots" / f"growth-{name}.svg", metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
