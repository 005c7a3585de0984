"""The desk in headless Chromium: the first page, keys in the focus view, a page of thumbnails."""

import statistics
import time
from typing import Any

from chromium import SIZE, key_times, launch, watch_keys
from clock import percentile
from desk_map import map_frames
from playwright.sync_api import Browser, Page, sync_playwright

NUM_FIRST_PAGES, NUM_KEYS, NUM_THUMBNAILS = 20, 120, 20
FIRST = """
window.nmFirst = {};
const seen = (name, found) => { if (!(name in nmFirst) && found) nmFirst[name] = performance.now(); };
const shown = (image) => image.complete && image.naturalWidth;
const look = () => {
  const cell = document.querySelector(".nm-cell");
  const drawn = cell?.checkVisibility() && [...document.querySelectorAll(".nm-board img")].every(shown);
  seen("question_ms", drawn);
  seen("whole_ms", drawn && cell.closest("#nm-curate"));
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


def browse(address: str) -> dict[str, Any]:
    """Milliseconds of first pages, keys, thumbnails and the map."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        firsts = [first_page(browser, address) for _ in range(NUM_FIRST_PAGES)]
        page = browser.new_page(viewport=SIZE)
        page.goto(address)
        thumbnails = thumbnails_shown(page)
        times = keys(page)
        browser.close()
        mapped = map_frames(playwright, address)
    questions, wholes = ([first[name] for first in firsts] for name in ("question_ms", "whole_ms"))
    return {
        "key_to_paint_p50_ms": round(statistics.median(times), 1),
        "key_to_paint_p95_ms": percentile(times, 95),
        "num_keys": len(times),
        "first_page_p50_ms": round(statistics.median(questions), 1),
        "first_page_p95_ms": percentile(questions, 95),
        "whole_page_p50_ms": round(statistics.median(wholes), 1),
        "whole_page_p95_ms": percentile(wholes, 95),
        "thumbnails_shown_ms": round(thumbnails, 1),
        **mapped,
    }


def first_page(browser: Browser, address: str) -> dict[str, float]:
    """Milliseconds from navigation, empty cache, to the first board on the screen with its pictures (keys work from then
    on), and until it stands in Gradio's page with the other tabs beside it."""
    context = browser.new_context(viewport=SIZE)
    context.add_init_script(FIRST)
    page = context.new_page()
    page.goto(f"{address}/?view=board", wait_until="commit")
    page.wait_for_function("window.nmFirst.whole_ms", timeout=60_000)
    found: dict[str, float] = page.evaluate("window.nmFirst")
    context.close()
    return found


def thumbnails_shown(page: Page) -> float:
    """Milliseconds from the click on Explore to its first twenty pictures."""
    page.get_by_role("tab", name="Explore").click()
    began = time.monotonic()
    pictures = "[...document.querySelectorAll('#nm-explore img')]"
    page.wait_for_function(f"{pictures}.length >= {NUM_THUMBNAILS}")
    page.wait_for_function(f"{pictures}.slice(0, {NUM_THUMBNAILS}).every((i) => i.complete)")
    return 1000 * (time.monotonic() - began)


def keys(page: Page) -> list[float]:
    """Milliseconds from each key to after the paint of the next decoded picture."""
    page.get_by_role("tab", name="Curate").click()
    page.get_by_role("button", name="Focus").click()
    page.wait_for_selector(".nm-desk", timeout=60_000)
    watch_keys(page, "ny", "document.querySelector('.nm-picture img')")
    time.sleep(1)
    for at in range(NUM_KEYS):
        page.keyboard.press("ny"[at % 2])
        time.sleep(0.4 if at % 10 else 1.0)
    page.wait_for_function("document.querySelector('.nm-sync').textContent === 'all saved'")
    times = key_times(page)
    if len(times) < 0.9 * NUM_KEYS:
        raise SystemExit(f"only {len(times)} of {NUM_KEYS} pictures were seen to change")
    return times
