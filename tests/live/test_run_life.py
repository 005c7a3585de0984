"""A run's whole life in headless Chromium: set up in the form, a YAML that is refused, started, the tab closed, the web
killed, attached again, cancelled, resumed, compared, its checkpoint and report taken away and opened elsewhere.
"""

import re
import zipfile

import pytest

pytestmark = pytest.mark.timeout(900)  # on a machine that eight others use
SLOW_MS = 300_000
BUDGET = (("Epochs", "30"), ("Most steps", "60"), ("Batch size", "32"), ("Micro-batch", "16"))


@pytest.fixture(scope="module")
def earlier(nearmiss):
    """A finished run of another configuration to compare with: an adapter that finished before, else a quick one."""
    runs = nearmiss.get("/api/runs")["runs"]
    finished = [run for run in runs if run["state"] == "finished" and run["preset"] == "adapter"]
    if finished:
        return finished[0]["id"]
    body = {"data_set_id": 1, "model_id": 1, "preset": "adapter", "overrides": {"epochs": 2}}
    run_id = nearmiss.post("/api/runs", body)["run"]["id"]
    over = lambda: nearmiss.get(f"/api/runs/{run_id}")["state"] == "finished"  # noqa: E731
    nearmiss.wait("the earlier run", over, timeout_s=280)
    return run_id


@pytest.fixture(scope="module")
def lived(browser, nearmiss, earlier, tmp_path_factory):
    """(id of the run, folder with what was downloaded)."""
    folder = tmp_path_factory.mktemp("taken")
    run_id = begin(browser, nearmiss)  # and the tab is closed
    page = browser.new_page(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page.goto(f"{nearmiss.address}/?run={run_id}")
    page.get_by_role("tab", name="Runs").click()
    page.wait_for_selector(".nm-run .nm-chart polyline", timeout=SLOW_MS)
    nearmiss.kill("app.web")
    page.wait_for_selector(".nm-run .nm-error", timeout=SLOW_MS)
    assert "attaches again" in page.locator(".nm-run .nm-error").inner_text()
    page.wait_for_function("!document.querySelector('.nm-run .nm-error')", timeout=SLOW_MS)
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.wait_for_selector(".nm-run .nm-state-cancelled", timeout=SLOW_MS)
    done = nearmiss.get(f"/api/runs/{run_id}")["done"]
    assert 0 < done < 60, "it was cancelled in the middle"
    page.get_by_role("button", name="Resume", exact=True).click()
    page.wait_for_selector(".nm-run .nm-state-finished", timeout=SLOW_MS)
    page.wait_for_selector(".nm-run .nm-matrix td.nm-rel-own")
    assert page.locator(".nm-run .nm-chart-box").count() >= 5
    log = page.locator(".nm-log").inner_text()
    assert "cancelled" in log and "resumed from step" in log
    for link, name in (("Download checkpoint", "checkpoint.zip"), ("Download report", "report.html")):
        with page.expect_download() as download:
            page.get_by_role("link", name=link).click()
        download.value.save_as(folder / name)
    for chosen in (run_id, earlier):
        page.locator(f"[data-focus=tick-{chosen}]").check()
    page.get_by_role("button", name="Compare 2").click()
    page.wait_for_selector(".nm-run .nm-gain")
    assert "Configuration where it differs" in page.locator(".nm-run").inner_text()
    page.close()
    return run_id, folder


def begin(browser, nearmiss):
    """Started from the form; a mistake in the YAML is refused on the way."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(nearmiss.address)
    page.get_by_role("tab", name="Fine-tune").click()
    page.get_by_role("radio", name="Full").click(timeout=SLOW_MS)
    page.get_by_text("Budget", exact=True).click()
    for label, value in BUDGET:
        page.get_by_label(re.compile(f"^{label}")).fill(value)
    page.get_by_text("YAML", exact=True).click()
    page.wait_for_function("/max_steps: 60/.test(document.querySelector('.nm-yaml').value)", timeout=SLOW_MS)
    for before, after, refused in (("30.0", "huge", True), ("huge", "0.5", False)):
        page.locator(".nm-yaml").evaluate(
            "(e, [before, after]) => (e.value = e.value.replace(`save_every_s: ${before}`, `save_every_s: ${after}`))",
            [before, after],
        )
        page.locator(".nm-yaml").press("Space")
        if refused:
            page.wait_for_selector(".nm-report .nm-error")
            assert "save_every_s" in page.locator(".nm-report .nm-error").inner_text()
            assert page.locator(".nm-before .nm-primary").is_disabled()
    page.get_by_label("Name", exact=True).fill("set up by hand")
    page.locator(".nm-before .nm-primary").click(timeout=SLOW_MS)
    page.wait_for_selector(".nm-run .nm-state-running", timeout=SLOW_MS)
    page.close()
    return next(run["id"] for run in nearmiss.get("/api/runs")["runs"] if run["name"] == "set up by hand")


def test_a_run_outlives_its_tab_and_the_web_is_cancelled_resumed_and_compared(nearmiss, lived):
    run_id, _ = lived
    view = nearmiss.get(f"/api/runs/{run_id}")
    assert view["state"] == "finished" and view["done"] == 60
    found, after = [], 0
    while page := nearmiss.get(f"/api/runs/{run_id}/events?limit=1000&after={after}")["events"]:
        found += page
        after = page[-1]["id"]
    steps = [point[0] for e in found if e["kind"] == "step" for point in e["body"]["points"]]
    assert set(steps) == set(range(1, 61)), "no step is missing from the charts"
    told = [e["body"]["to"] for e in found if e["kind"] == "state"]
    assert told.count("finished") == 1 and "cancelled" in told


def test_the_checkpoint_that_the_page_gives_is_plain_open_clip(lived, tmp_path):
    import open_clip

    with zipfile.ZipFile(lived[1] / "checkpoint.zip") as archive:
        archive.extractall(tmp_path)
    folder = next(tmp_path.rglob("open_clip_config.json")).parent
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    assert model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(["a cook"])).shape[0] == 1


def test_the_report_that_the_page_gives_opens_without_a_network_and_complains_of_nothing(browser, lived):
    offline = browser.new_context(offline=True)
    complaints = []
    page = offline.new_page()
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request", lambda r: complaints.append(r.url) if not r.url.startswith(("file:", "data:")) else None
    )
    page.goto((lived[1] / "report.html").as_uri())
    page.wait_for_selector(".nm-matrix")
    text = page.locator("main").inner_text()
    assert "set up by hand" in text and "mAP@R" in text and "max_steps: 60" in text
    assert page.locator(".nm-chart-box svg").count() >= 4
    page.locator(".nm-probe img").first.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.nm-probe img').naturalWidth > 0")
    offline.close()
    assert complaints == []
