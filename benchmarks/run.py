"""The performance suite in one command: each benchmark against its peer, one JSON, one table, compared with last time.

    python benchmarks/run.py --quick          small sizes, at most half an hour (make bench); writes into a temporary folder
    python benchmarks/run.py                  the sizes of the documentation, hours (make bench-full); writes benchmarks/results
    python benchmarks/run.py --only step,desk

A benchmark that fails does not stop the others; the command then ends with 1. The last committed result is the one of
HEAD, so the table says what a change did. Small sizes are compared with nothing: they are other measurements.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from result import RESULTS, ROOT, git, machine, versions

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Member:
    """A script of the suite and what it is held against in the same run."""

    name: str
    peer: str
    limit_s: int  # with --quick


SUITE = (
    Member("step", "open_clip, one dense matrix, sentence-transformers", 300),
    Member("mining_speed", "sentence-transformers, faiss flat", 300),
    Member("desk", "Label Studio", 420),
    Member("ingest", "a bare decoding loop", 240),
    Member("overhead", "the same training without the workbench", 180),
    Member("growth", "one dense matrix, faiss flat, the machine's limits", 180),
    Member("profiles", "nothing: where the time goes", 120),
)  # the limits are half an hour together
FULL_LIMIT_S = 6 * 3600


def main() -> int:
    """Runs the members one after the other; the machine should do nothing else."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="names with commas: " + ", ".join(m.name for m in SUITE))
    given = parser.parse_args()
    names = [x for x in given.only.split(",") if x] or [m.name for m in SUITE]
    unknown = set(names) - {m.name for m in SUITE}
    if unknown:
        raise SystemExit(
            f"There is no benchmark {sorted(unknown)[0]!r}: use {', '.join(m.name for m in SUITE)}."
        )
    folder = Path(tempfile.mkdtemp(prefix="nearmiss-bench-")) if given.quick else RESULTS
    runs = [run(m, given.quick, folder) for m in SUITE if m.name in names]
    whole = {
        "machine": machine(), "versions": versions(), "commit": git("rev-parse", "HEAD"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "quick": given.quick, "runs": runs,
    }  # fmt: skip
    path = folder / "suite.json"
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print(table(runs, compare=not given.quick))
    print(f"\nwritten: {path}")
    return 0 if all(r["ok"] for r in runs) else 1


def run(member: Member, quick: bool, folder: Path) -> dict[str, Any]:
    """One benchmark in a process of its own, its output passed on, and the figures that it wrote."""
    script = HERE / f"{member.name}.py"
    about: dict[str, Any] = {
        "name": member.name,
        "peer": member.peer,
        "ok": False,
        "figures": {},
        "before": {},
    }
    if not script.exists():
        return about | {"said": "there is no such script in this version"}
    print(f"\n== {member.name}, against {member.peer}", flush=True)
    began, written = time.monotonic(), folder / f"{member.name}.json"
    stamp = written.stat().st_mtime_ns if written.exists() else 0
    try:
        done = subprocess.run(
            [sys.executable, str(script), *(["--quick"] if quick else [])],
            cwd=ROOT,
            env=os.environ | ({"NEARMISS_QUICK_RESULTS": str(folder)} if quick else {}),
            timeout=member.limit_s if quick else FULL_LIMIT_S,
        )
        said = "" if done.returncode == 0 else f"ended with {done.returncode}"
    except subprocess.TimeoutExpired as late:
        said = f"not done after {late.timeout:.0f} s"
    about["seconds"] = round(time.monotonic() - began, 1)
    if not said and (not written.exists() or written.stat().st_mtime_ns == stamp):
        said = "wrote no result"
    if said:
        return about | {"said": said}
    found = json.loads(written.read_text(encoding="utf-8"))
    return about | {"ok": True, "said": "", "figures": found["figures"], "before": committed(member.name)}


def committed(name: str) -> dict[str, Any]:
    """The figures of the last committed result; empty where there is none."""
    text = git("show", f"HEAD:benchmarks/results/{name}.json")
    figures: dict[str, Any] = json.loads(text)["figures"] if text else {}
    return figures


def table(runs: list[dict[str, Any]], *, compare: bool) -> str:
    """One line a figure: now, at the last commit, the ratio."""
    lines = [f"{'benchmark':<14}{'figure':<42}{'now':>12}{'committed':>12}{'ratio':>8}"]
    for found in runs:
        if not found["ok"]:
            lines.append(f"{found['name']:<14}{found['said']}")
        for key, value in found["figures"].items():
            before = found["before"].get(key) if compare else None
            numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (value, before))
            ratio = f"{value / before:.2f}" if numbers and before else ""
            lines.append(f"{found['name']:<14}{key:<42}{_short(value):>12}{_short(before):>12}{ratio:>8}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:12]


if __name__ == "__main__":
    sys.exit(main())
