"""Label Studio in a temporary environment: from the key that submits to the next task's picture painted."""

import base64
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from chromium import SIZE, key_times, launch, watch_keys
from clock import percentile, wait_for_page
from playwright.sync_api import Page, sync_playwright
from result import ROOT
from servers import free_port

sys.path.insert(0, str(ROOT))
from app.demo.openmoji import drawings, rasterise

EMAIL, PASSWORD = "bench@example.org", "bench-password"
LABELS = """<View><Image name="image" value="$image"/><Text name="caption" value="$caption"/>
<Choices name="answer" toName="image" choice="single"><Choice value="yes" hotkey="y"/><Choice value="no" hotkey="n"/></Choices></View>"""
POST = """async ([path, body]) => {
  const token = document.cookie.match(/csrftoken=([^;]+)/)?.[1] ?? "";
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "X-CSRFToken": token }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${(await answer.text()).slice(0, 300)}`);
  return answer.json();
}"""
PICTURE = "[...document.querySelectorAll('img')].find((i) => i.src.startsWith('data:image/png') || i.src.startsWith('blob:'))"


def label_studio(folder: Path, num_tasks: int) -> dict[str, Any]:
    """Its submit → next picture, p50 and p95; the reason where it could not be measured."""
    folder.mkdir(parents=True)
    try:
        return measure(folder, num_tasks)
    except Exception as error:  # the peer must not cost us our own figures
        return {
            "name": "label-studio",
            "p50_ms": None,
            "reason": f"{type(error).__name__}: {str(error)[-500:]}",
        }


def measure(folder: Path, num_tasks: int) -> dict[str, Any]:
    """Installs it, starts it with an account, and presses its keys."""
    port = free_port()
    uv, venv = Path(sys.executable).parent / "uv", folder / "venv"
    tool = str(uv) if uv.exists() else "uv"
    subprocess.run([tool, "venv", "-q", "--python", sys.executable, str(venv)], check=True)
    subprocess.run(
        [tool, "pip", "install", "-q", "--python", str(venv / "bin/python"), "label-studio"], check=True
    )
    env = os.environ | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
    }
    command = [str(venv / "bin/label-studio"), "start", "--no-browser", "-p", str(port)]
    command += ["--username", EMAIL, "--password", PASSWORD]
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            told = (folder / "log").read_text
            wait_for_page(f"{address}/health", timeout_s=600, told=lambda: told(errors="replace")[-400:])
            return press(address, num_tasks)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def press(address: str, num_tasks: int) -> dict[str, Any]:
    """Signs in, imports the tasks with pictures as data URLs, answers each by key."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page(viewport=SIZE)
        page.goto(f"{address}/user/login")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "login" not in url, timeout=60_000)
        project = new_project(page, num_tasks)
        page.goto(f"{address}/projects/{project}/data?labeling=1")
        page.wait_for_selector("img[src^='data:image/png'], canvas, img[alt=image]", timeout=90_000)
        time.sleep(3)
        watch_keys(page, ["Enter"], PICTURE)
        for _ in range(num_tasks - 5):
            page.keyboard.press("n")
            time.sleep(0.3)
            page.keyboard.press("Control+Enter")
            time.sleep(2.0)
        times = key_times(page)
        about = page.evaluate("fetch('/api/version').then((a) => a.json())")
        browser.close()
    if len(times) < 5:
        raise RuntimeError(f"only {len(times)} pictures were seen to change")
    return {
        "name": f"label-studio {about.get('release', '')}".strip(),
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": percentile(times, 95),
        "num_keys": len(times),
        "tasks": "pictures inside the tasks as data URLs, so that no picture has to be fetched",
    }


def new_project(page: Page, num_tasks: int) -> int:
    """A project with the drawings as tasks, made over the API from the page that is signed in; its id."""
    project: int = page.evaluate(POST, ["/api/projects/", {"title": "bench", "label_config": LABELS}])["id"]
    pictures = [base64.b64encode(rasterise(drawing)).decode() for drawing in drawings()[:num_tasks]]
    tasks = [
        {"data": {"image": f"data:image/png;base64,{data}", "caption": f"caption {at}"}}
        for at, data in enumerate(pictures)
    ]
    for start in range(0, len(tasks), 20):
        page.evaluate(POST, [f"/api/projects/{project}/import", tasks[start : start + 20]])
    return project
