"""The map of 100,000 points: until it is drawn, and milliseconds a frame while it is dragged and zoomed."""

import statistics
import time
from typing import Any

from chromium import SIZE, launch
from clock import percentile
from playwright.sync_api import Page, Playwright

SOFTWARE = ("--enable-unsafe-swiftshader", "--use-angle=swiftshader")
FRAMES = """
window.nmFrames = [];
window.nmWatch = true;
let before = performance.now();
const frame = () => {
  const now = performance.now();
  nmFrames.push(now - before);
  before = now;
  if (nmWatch) requestAnimationFrame(frame);
};
requestAnimationFrame(frame);
"""
RENDERER = """() => {
  const gl = document.createElement("canvas").getContext("webgl");
  return gl.getParameter(gl.getExtension("WEBGL_debug_renderer_info").UNMASKED_RENDERER_WEBGL);
}"""


def map_frames(playwright: Playwright, address: str) -> dict[str, Any]:
    """Without a graphics card Chromium's SwiftShader draws on the processor; `map_renderer` says what drew."""
    browser = launch(playwright, options=SOFTWARE)
    page = browser.new_page(viewport=SIZE)
    page.goto(address)
    page.wait_for_selector("#nm-explore .nm-card")
    began = time.monotonic()
    page.get_by_role("button", name="Map", exact=True).click()
    page.wait_for_selector(".nm-map-canvas[data-drawn]")
    found: dict[str, Any] = {"map_first_draw_ms": round(1000 * (time.monotonic() - began), 1)}
    page.wait_for_timeout(2000)  # the index of places is made beside it
    box = page.locator(".nm-map-canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.evaluate(FRAMES)
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(40):
        page.mouse.move(x + 4 * step, y + step)
    page.mouse.up()
    found |= frames(page, "pan")
    page.evaluate(FRAMES)
    for _ in range(20):
        page.mouse.wheel(0, -40)
    found |= frames(page, "zoom")
    found["map_renderer"] = page.evaluate(RENDERER)
    browser.close()
    return found


def frames(page: Page, name: str) -> dict[str, float]:
    """Milliseconds a frame since FRAMES began to watch."""
    times: list[float] = page.evaluate("() => { window.nmWatch = false; return window.nmFrames; }")
    return {
        f"map_{name}_frame_p50_ms": round(statistics.median(times), 1),
        f"map_{name}_frame_p95_ms": percentile(times, 95),
    }
