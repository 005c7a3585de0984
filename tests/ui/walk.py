"""Walks the thread in headless Chromium on a running Nearmiss and takes a screenshot of each tab, in both themes and
at 1440 and 390 px.

    python tests/ui/walk.py [ADDRESS] [FOLDER FOR SCREENSHOTS] [TAB …]

A command for eyes; the claims are in tests/live. Without tabs it visits all, gives verdicts and starts a run; in the
sweep it draws a sample. Not on data that you care for.
"""

import re
import sys
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

QUIET = [
    "--no-sandbox",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
]
TABS = {
    "explore": ("Explore", ".nm-card"),
    "curate": ("Curate", ".nm-board .nm-cell"),
    "tune": ("Fine-tune", ".nm-report .nm-facts"),
    "runs": ("Runs", ".nm-run .nm-table"),
    "data": ("Data", ".nm-sets li"),
}


def main(address: str, out: Path, tabs: list[str]) -> None:
    """Raises where a stop cannot be reached."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)
        complaints = [] if tabs else act(browser, address)
        for theme in ("light", "dark"):
            for width, height in ((1440, 900), (390, 844)):
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
                page.goto(address)
                for name in tabs or TABS:
                    visit(page, name)
                    suffix = ("" if theme == "light" else "-dark") + ("" if width == 1440 else f"-{width}")
                    page.screenshot(path=out / f"{name}{suffix}.png")
                    if name == "explore":
                        explore(page, address, out, suffix)
                    if name == "curate":
                        desk(page, out, suffix)
                    if name == "tune":
                        for section in ("What verdicts become", "Show code"):
                            page.get_by_text(section, exact=True).click()
                        time.sleep(0.5)
                        page.screenshot(path=out / f"form{suffix}.png", full_page=True)
                    if name == "runs":
                        page.locator("img").evaluate_all("all => all.forEach(i => (i.loading = 'eager'))")
                        time.sleep(1)
                        page.screenshot(path=out / f"run{suffix}.png", full_page=True)
                    wide = page.evaluate("document.documentElement.scrollWidth")
                    if wide > width:
                        complaints.append(f"{name} at {width} px is {wide} px wide")
                page.close()
        browser.close()
    print("complaints:", complaints or "none")


def desk(page: Page, out: Path, suffix: str) -> None:
    """The other views of the queue, the numbers beside it and a blind sample."""
    page.keyboard.press("p")
    page.wait_for_selector(".nm-panel dd")
    time.sleep(0.5)
    page.screenshot(path=out / f"progress{suffix}.png", full_page=True)
    page.keyboard.press("p")
    views = {
        "Focus": ".nm-desk .nm-picture img",
        "Disagreements": ".nm-votes li, .nm-notice",
        "Sweep": ".nm-sweep-form",
    }
    for view, ready in views.items():
        switch = page.get_by_role("button", name=re.compile(rf"^{view}( \(\d+\))?$"))
        if not switch.count():  # nobody disagrees
            continue
        switch.click()
        page.wait_for_selector(ready)
        time.sleep(0.5)
        page.screenshot(path=out / f"{view.lower()}{suffix}.png")
    begun = page.get_by_role("button", name="Judge the other")
    (begun if begun.count() else page.get_by_role("button", name="Draw the sample")).click()
    page.wait_for_selector(".nm-sweep .nm-picture img")
    time.sleep(0.5)
    page.screenshot(path=out / f"sample{suffix}.png")
    page.get_by_role("button", name="Anchor board").click()


def explore(page: Page, address: str, out: Path, suffix: str) -> None:
    """The filters, the page of an item, the map (made where there is none) and the duplicates."""
    stops = {
        "filters": ("?q=face&answer=none", ".nm-card"),
        "item": ("?item=1500", ".nm-item-page img"),
        "map": ("?explore=map", ".nm-map-canvas"),
        "duplicates": ("?explore=duplicates", ".nm-group img"),
    }
    for name, (place, ready) in stops.items():
        page.goto(f"{address}/{place}")
        page.wait_for_selector(f"{ready}, :text('Make the map')", timeout=60_000)
        if name == "map" and page.get_by_role("button", name="Make the map").count():
            page.get_by_role("button", name="Make the map").click()
            page.wait_for_selector(ready, timeout=600_000)
        time.sleep(2)
        page.screenshot(path=out / f"{name}{suffix}.png")
    page.goto(address)


def act(browser: Browser, address: str) -> list[str]:
    """Some keys and one click; what the console complained of."""
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    visit(page, "curate")
    for key in ("1", "Enter", "Enter", "z"):
        page.keyboard.press(key)
        time.sleep(0.3)
    visit(page, "tune")
    began = time.monotonic()
    page.locator(".nm-tune .nm-primary:visible").first.click()
    page.wait_for_selector(".nm-run .nm-state-finished", timeout=120_000)
    print(f"click to result: {time.monotonic() - began:.1f} s")
    page.close()
    return complaints


def visit(page: Page, name: str) -> None:
    """Opens a tab and waits until it shows what it is for."""
    tab, ready = TABS[name]
    page.wait_for_selector(".nm-card", state="attached", timeout=30_000)
    place = page.get_by_role("tab", name=tab, exact=True)
    if not place.is_visible():  # narrow: behind the overflow menu
        page.locator(".overflow-menu button").first.click()
        page.locator(".overflow-dropdown button", has_text=tab).click()
    else:
        place.click()
    page.wait_for_selector(f"{ready}:visible", timeout=60_000)
    time.sleep(0.8)


if __name__ == "__main__":
    where = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("docs/screenshots")
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860", where, sys.argv[3:])
