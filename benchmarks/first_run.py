"""The first minutes of a new user, by the clock: clone, `make run`, verdicts by key, the adapter, one full epoch.

    python benchmarks/first_run.py [--warm-cache]

Clones this repository's HEAD into a temporary folder and runs `make run` there; package downloads start from an empty
cache unless --warm-cache. Verdicts come by key in headless Chromium under a fixed rule (yes when
the page says that the pictures are the same, else no), so the gain on held-out is what that rule buys, not what a person would.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from chromium import SIZE, launch
from clock import percentile, wait
from playwright.sync_api import Page, sync_playwright
from result import ROOT, write_result
from servers import free_port

NUM_VERDICTS = 150
PAUSE_S = 0.15  # between keys: about 400 a minute, faster than a person
SHOWN = """
window.nmTimes = [];
addEventListener("keydown", (event) => {
  if (!"ny".includes(event.key)) return;
  const began = performance.now(), before = document.querySelector(".nm-picture img");
  const look = async () => {
    const now = document.querySelector(".nm-picture img");
    if (now === before || !now) return requestAnimationFrame(look);
    await now.decode();
    requestAnimationFrame(() => window.nmTimes.push(performance.now() - began));
  };
  requestAnimationFrame(look);
}, true);
"""


class Instance:
    """`make run` in a clone."""

    def __init__(self, clone: Path, port: int, env: dict[str, str]):
        self.address = f"http://127.0.0.1:{port}"
        self.began = time.monotonic()
        self.log = (clone / "first_run.log").open("ab")
        self.process = subprocess.Popen(
            ["make", "run"],
            cwd=clone,
            env=os.environ | env | {"NEARMISS_PORT": str(port)},
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def until(self, found: Any, *, timeout_s: float = 600.0) -> float:
        """Seconds from the start until `found` is true."""
        left_s = self.began + timeout_s - time.monotonic()
        told = f"see {self.log.name}"
        wait("it", found, timeout_s=left_s, pause_s=0.05, told=lambda: told)
        return time.monotonic() - self.began

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json", "X-Nearmiss": "1"}
        request = urllib.request.Request(self.address + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def page(self) -> bool:
        with urllib.request.urlopen(self.address, timeout=5) as answer:
            return b"nm-explore" in answer.read()

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(60)
        time.sleep(2)


def main() -> None:
    """Measures, prints, writes benchmarks/results/first_run.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm-cache", action="store_true", help="use this machine's package cache")
    given = parser.parse_args()
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="nm-first-", dir="/tmp"))
    env = {} if given.warm_cache else {"UV_CACHE_DIR": str(folder / "cache"), "PIP_NO_CACHE_DIR": "1"}
    try:
        figures = measure(folder, port, env)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write_result(
        "first_run", figures, package_cache="warm" if given.warm_cache else "empty", num_verdicts=NUM_VERDICTS
    )


def measure(folder: Path, port: int, env: dict[str, str]) -> dict[str, float]:
    """All figures, in the order in which a person meets them."""
    clone = folder / "nearmiss"
    began = time.monotonic()
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    cloned = time.monotonic() - began
    first = Instance(clone, port, env)
    install = first.until((clone / ".venv" / "ready").exists)
    to_page = cloned + first.until(first.page)
    first.until(lambda: first.get("/api/data-sets")[0]["num_open_suggestions"])
    mined = first.until(lambda: first.get("/api/data-sets")[0]["mining_job"]["state"] == "finished")
    print(f"page after {to_page:.1f} s, suggestions complete after {cloned + mined:.1f} s")
    first.stop()
    second = Instance(clone, port, env)
    second_start = second.until(second.page)
    second.until(lambda: any(w["queue"] == "gpu" for w in second.get("/api/workers")))
    time.sleep(20)  # a person looks around; the worker's spare process warms up
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport=SIZE)
        page.goto(second.address)
        times = decide(page)
        adapter = click_to_result(page)
        browser.close()
    runs = second.get("/api/runs")["runs"]
    full = full_epoch(second)
    second.stop()
    return {
        "clone_to_page_s": round(to_page, 2),
        "of_which_install_s": round(install, 2),
        "second_start_s": round(second_start, 2),
        "verdict_p50_ms": round(statistics.median(times), 1),
        "verdict_p95_ms": percentile(times, 95),
        "adapter_s": round(adapter, 2),
        "full_epoch_s": round(full, 2),
        "map_at_r_base": runs[0]["metrics_before"]["map_at_r"],
        "map_at_r_after": runs[0]["metrics_after"]["map_at_r"],
    }


def decide(page: Page) -> list[float]:
    """Milliseconds from key to the next picture painted, for each verdict."""
    page.get_by_role("tab", name="Curate").click()
    page.get_by_role("button", name="Focus").click()
    page.wait_for_selector(".nm-desk", timeout=60_000)
    page.evaluate(SHOWN)
    time.sleep(1)
    for _ in range(NUM_VERDICTS):
        same = "same picture" in page.locator(".nm-desk .nm-meta").first.inner_text()
        page.keyboard.press("y" if same else "n")
        time.sleep(PAUSE_S)
    page.wait_for_function("document.querySelector('.nm-sync').textContent === 'all saved'")
    times: list[float] = page.evaluate("window.nmTimes")
    if len(times) < NUM_VERDICTS - 1:
        raise SystemExit(f"only {len(times)} of {NUM_VERDICTS} pictures were seen to change")
    return times


def click_to_result(page: Page) -> float:
    """Seconds from the button to the finished run with its table."""
    page.get_by_role("tab", name="Fine-tune").click()
    page.wait_for_selector(".nm-report .nm-facts", timeout=20_000)
    began = time.monotonic()
    page.locator(".nm-tune .nm-primary:visible").first.click()
    page.wait_for_selector(".nm-run .nm-state-finished", timeout=300_000)
    page.wait_for_selector(".nm-run .nm-table")
    return time.monotonic() - began


def full_epoch(instance: Instance) -> float:
    """Seconds from submitting one epoch of all weights to its result."""
    began = time.monotonic()
    body = {"data_set_id": 1, "model_id": 1, "preset": "full", "overrides": {"epochs": 1}}
    run_id = instance.post("/api/runs", body)["run"]["id"]
    while True:
        run = instance.get(f"/api/runs/{run_id}")
        if run["state"] in ("finished", "failed"):
            break
        time.sleep(0.2)
    if run["state"] == "failed":
        raise SystemExit(f"the full fine-tune failed: {run['reason']}")
    print(
        f"full epoch: mAP@R {run['metrics_before']['map_at_r']:.3f} → {run['metrics_after']['map_at_r']:.3f}"
    )
    return time.monotonic() - began


if __name__ == "__main__":
    main()
