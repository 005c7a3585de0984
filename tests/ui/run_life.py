"""A run's life in headless Chromium on a running Nearmiss that has two runs or more afterwards: set up in the form, a YAML
that is refused, started, the tab closed, attached again, cancelled, resumed, compared, its report opened without a network.

    python tests/ui/run_life.py [ADDRESS]

A command: it starts a run of 60 full steps. Not on data that you care for.
"""

import json
import re
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

QUIET = ["--no-sandbox", "--disable-gpu"]
SLOW_MS = 600_000


def get(address: str, path: str) -> Any:
    with urllib.request.urlopen(address + path, timeout=60) as answer:
        return json.load(answer)


def live(browser: Browser, address: str, folder: Path) -> None:
    """Raises where a step does not come."""
    known = {run["id"] for run in get(address, "/api/runs")["runs"]}
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(address)
    page.get_by_role("tab", name="Fine-tune").click()
    page.get_by_role("radio", name="Full").click()
    page.get_by_text("Budget", exact=True).click()
    for label, value in (("Epochs", "30"), ("Most steps", "60"), ("Batch size", "32"), ("Micro-batch", "16")):
        page.get_by_label(re.compile(f"^{label}")).fill(value)
    page.get_by_text("YAML", exact=True).click()
    page.wait_for_function("/max_steps: 60/.test(document.querySelector('.nm-yaml').value)")
    page.locator(".nm-yaml").evaluate(
        "e => (e.value = e.value.replace('save_every_s: 30.0', 'save_every_s: huge'))"
    )
    page.locator(".nm-yaml").press("End")
    page.locator(".nm-yaml").press("Space")
    page.wait_for_selector(".nm-report .nm-error")
    assert "save_every_s" in page.locator(".nm-report .nm-error").inner_text()
    assert page.locator(".nm-before .nm-primary").is_disabled()
    page.locator(".nm-yaml").evaluate(
        "e => (e.value = e.value.replace('save_every_s: huge', 'save_every_s: 1.0'))"
    )
    page.locator(".nm-yaml").press("Space")
    page.wait_for_selector(".nm-before .nm-primary:enabled")
    page.get_by_label("Name", exact=True).fill("set up by hand")
    page.locator(".nm-before .nm-primary").click()
    page.wait_for_selector(".nm-run .nm-state-running", timeout=SLOW_MS)
    page.close()
    run_id = next(r["id"] for r in get(address, "/api/runs")["runs"] if r["id"] not in known)
    page = browser.new_page(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page.goto(f"{address}/?run={run_id}")
    page.get_by_role("tab", name="Runs").click()
    page.wait_for_selector(".nm-run .nm-chart polyline", timeout=SLOW_MS)
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector(".nm-run .nm-state-cancelled", timeout=SLOW_MS)
    page.get_by_role("button", name="Resume").click()
    page.wait_for_selector(".nm-run .nm-state-finished", timeout=SLOW_MS)
    page.wait_for_selector(".nm-run .nm-headline")
    page.wait_for_selector(".nm-run .nm-matrix td.nm-rel-own")
    assert page.locator(".nm-run .nm-chart-box").count() >= 5
    assert "cancelled" in page.locator(".nm-log").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download report").click()
    report = folder / "report.html"
    download.value.save_as(report)
    for box in page.locator(".nm-run-line input").all()[:2]:
        box.check()
    page.get_by_role("button", name="Compare 2").click()
    page.wait_for_selector(".nm-run .nm-gain")
    assert "Configuration where it differs" in page.locator(".nm-run").inner_text()
    page.close()

    offline = browser.new_context(offline=True)
    complaints = []
    page = offline.new_page()
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request", lambda r: complaints.append(r.url) if not r.url.startswith(("file:", "data:")) else None
    )
    page.goto(report.as_uri())
    page.wait_for_selector(".nm-matrix")
    text = page.locator("main").inner_text()
    assert "set up by hand" in text and "mAP@R" in text and "max_steps: 60" in text
    assert page.locator(".nm-chart-box svg").count() >= 4
    page.locator(".nm-probe img").first.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.nm-probe img').naturalWidth > 0")
    offline.close()
    assert complaints == []


if __name__ == "__main__":
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as place:
        opened = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)
        live(opened, sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860", Path(place))
        opened.close()
    print("lived")
