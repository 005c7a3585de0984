"""A headless Chromium, and the milliseconds from a key to the next picture that is painted."""

import shutil
from collections.abc import Sequence

from playwright.sync_api import Browser, Page, Playwright

SIZE = {"width": 1440, "height": 900}
PAINTED = """
window.nmTimes = [];
window.nmPainted = (keys, find) => addEventListener("keydown", (event) => {
  if (!keys.includes(event.key)) return;
  const began = performance.now(), before = find();
  const source = before?.src;
  const painted = () => new Promise((done) => { const to = new MessageChannel(); to.port1.onmessage = done; to.port2.postMessage(0); });
  const look = async () => {
    const now = find();
    if (!now || (now === before && now.src === source)) return requestAnimationFrame(look);
    await Promise.all([now.decode(), painted()]);
    window.nmTimes.push(performance.now() - began);
  };
  requestAnimationFrame(look);
}, true);
"""


def launch(playwright: Playwright, *, options: Sequence[str] = ("--disable-gpu",)) -> Browser:
    """The system's Chromium, or Playwright's own where there is none."""
    chromium = shutil.which("chromium")
    return playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *options])


def watch_keys(page: Page, keys: Sequence[str], find: str) -> None:
    """From now on: a time for each of the keys, until the picture that the JavaScript `find` names is another, decoded and painted."""
    page.evaluate(PAINTED)
    page.evaluate(f"nmPainted({list(keys)!r}, () => {find})")


def key_times(page: Page) -> list[float]:
    """Milliseconds, one a key whose picture came."""
    times: list[float] = page.evaluate("window.nmTimes")
    return times
