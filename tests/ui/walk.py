"""Walks the thread in headless Chromium on a running Nearmiss: browse, curate, fine-tune, result, data.

    python tests/ui/walk.py [ADDRESS] [FOLDER FOR SCREENSHOTS]

A command, not yet part of the test suite. Prints the seconds from click to result and what the console complained of.
"""

import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def main(address: str, out: Path) -> None:
    """Takes a screenshot at each stop; raises where a stop cannot be reached."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.wait_for_selector(".nm-card", timeout=30_000)
        time.sleep(1)
        page.screenshot(path=out / "browse.png")
        page.get_by_role("tab", name="Curate").click()
        page.wait_for_selector(".nm-desk", timeout=60_000)
        for key in ("n", "y", "n", "Space", "z"):
            page.keyboard.press(key)
            time.sleep(0.3)
        page.screenshot(path=out / "curate.png")
        page.get_by_role("tab", name="Fine-tune").click()
        page.wait_for_selector(".nm-primary:visible:enabled", timeout=20_000)
        time.sleep(1)
        page.screenshot(path=out / "tune.png")
        began = time.monotonic()
        page.locator(".nm-primary:visible").first.click()
        page.wait_for_selector(".nm-run .nm-state-finished", timeout=120_000)
        print(f"click to result: {time.monotonic() - began:.1f} s")
        time.sleep(1.5)
        page.screenshot(path=out / "runs.png")
        page.get_by_role("tab", name="Data").click()
        time.sleep(1)
        page.screenshot(path=out / "data.png")
        browser.close()
    print("console:", complaints or "silent")


if __name__ == "__main__":
    where = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("docs/screenshots")
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860", where)
