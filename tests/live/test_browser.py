"""Steps 1 to 6 of the thread, by mouse and keys in headless Chromium, with a silent console."""

import pytest

pytestmark = pytest.mark.timeout(300)
KEYS = (("n", "no_match"), ("y", "match"), ("Space", "unsure"), ("x", "broken_pair"))


@pytest.fixture
def page(browser, nearmiss):
    complaints = []
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    lost = "net::ERR_INTERNET_DISCONNECTED"  # only where a test takes the network away
    page.on(
        "console", lambda m: complaints.append(m.text) if m.type == "error" and lost not in m.text else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(nearmiss.address)
    yield page
    page.close()
    assert not complaints


def test_explore_filters_in_the_address_selects_all_that_match_and_undoes_in_one_step(page, nearmiss):
    page.wait_for_selector(".nm-card", timeout=30_000)
    assert page.locator(".nm-card").count() > 10
    page.get_by_label("Words in captions").fill("dark skin tone")
    only_dark = """() => { const shown = [...document.querySelectorAll('.nm-card-caption')];
                   return shown.length > 0 && shown.every(c => /dark/.test(c.textContent)); }"""
    page.wait_for_function(only_dark)
    page.reload()
    page.wait_for_function(only_dark)
    num = nearmiss.get("/api/data-sets/1/explore/count?q=dark+skin+tone")["num"]
    page.get_by_role("button", name="Select all matching").click()
    page.wait_for_function(f"document.querySelector('.nm-selected').textContent.startsWith('All {num} ')")
    page.get_by_role("button", name="Tag …").click()
    page.locator("dialog input").fill("night")
    page.get_by_role("button", name="Put on").click()
    page.wait_for_function(
        f"document.querySelector('.nm-selection .nm-notice')?.textContent.startsWith('{num} tagged')"
    )
    assert nearmiss.get("/api/data-sets/1/explore/count?tag=night")["num"] == num
    page.locator(".nm-selection").get_by_role("button", name="Undo").click()
    nearmiss.wait("the undo", lambda: nearmiss.get("/api/data-sets/1/explore/count?tag=night")["num"] == 0)


def test_explore_tells_how_far_an_import_is_and_offers_what_came_after_its_last_page(page, nearmiss):
    told = nearmiss.get("/api/data-sets")
    job = told[0]["import_job"] | {"state": "running", "done": 2000, "total": 3944}

    def answer(**changes):
        page.unroute("**/api/data-sets")
        page.route("**/api/data-sets", lambda route: route.fulfill(json=[told[0] | changes]))

    answer(num_pairs=350, num_verdicts=7, import_job=job)
    page.goto(f"{nearmiss.address}/?q=dark+skin")
    head = "document.querySelector('.nm-explore .nm-meta')?.textContent"
    page.wait_for_function(f"{head} === '350 pairs · 7 verdicts · importing: 2,000 of 3,944'", timeout=30_000)
    page.wait_for_function("document.querySelectorAll('.nm-card').length > 0")
    answer(num_pairs=3944)
    page.get_by_role("button", name="Show them").click(timeout=10_000)
    page.wait_for_function("document.querySelectorAll('.nm-card').length > 0")
    assert page.evaluate(head).startswith("3,944 pairs") and page.get_by_text("More pairs").count() == 0


def test_an_item_page_has_suggestions_history_and_comments_and_back_leads_to_the_grid(page):
    page.wait_for_selector(".nm-card", timeout=30_000)
    page.locator(".nm-card").first.click()
    page.wait_for_selector(".nm-item-page .nm-large")
    page.wait_for_function("document.querySelectorAll('.nm-item-page .nm-candidates li').length > 1")
    page.get_by_label("Comment", exact=True).fill("<img src=x onerror=alert(1)> look again")
    page.get_by_role("button", name="Comment", exact=True).click()
    page.wait_for_selector(".nm-note")
    assert page.locator(".nm-note").inner_text().startswith("<img src=x")
    page.reload()
    page.wait_for_selector(".nm-note", timeout=30_000)
    page.get_by_role("button", name="Delete").click()
    page.wait_for_function("!document.querySelector('.nm-note')")
    page.go_back()
    page.wait_for_selector(".nm-explore .nm-card", timeout=30_000)


def test_search_by_meaning_and_by_a_picture_shows_scores(page, nearmiss):
    page.wait_for_selector(".nm-card", timeout=30_000)
    nearmiss.wait(
        "the search worker", lambda: [w for w in nearmiss.get("/api/workers") if w["queue"] == "search"]
    )
    page.get_by_label("by meaning").check()
    page.get_by_label("Words in captions").fill("a cook")
    page.wait_for_function("document.querySelector('.nm-card .nm-tag[title=cosine]')", timeout=60_000)
    picture = nearmiss.bytes(
        f"/api/images/{nearmiss.get('/api/data-sets/1/explore?limit=1')['items'][0]['image_id']}/256"
    )
    chooser = page.locator(".nm-explore input[type=file]")
    chooser.set_input_files({"name": "mine.webp", "mimeType": "image/webp", "buffer": picture})
    page.wait_for_selector(".nm-query", timeout=30_000)
    page.wait_for_function(
        "Number(document.querySelector('.nm-card .nm-tag[title=cosine]')?.textContent) > 0.9", timeout=30_000
    )


def test_board_shows_an_anchor_keys_mark_exceptions_enter_saves_all_and_z_takes_all_back(page, nearmiss):
    page.get_by_role("tab", name="Curate").click()
    page.wait_for_selector(".nm-board .nm-cell", timeout=60_000)
    before = nearmiss.get("/api/data-sets/1/progress")["decided"]
    cells = page.locator(".nm-board .nm-cell")
    count, first = cells.count(), cells.first.inner_text()
    shown = page.locator("#nm-curate").get_attribute("data-suggestion")
    proposed = page.locator(".nm-board .nm-cell .nm-tag").all_inner_texts()
    page.keyboard.press("1")
    page.wait_for_selector(".nm-cell-changed")
    assert cells.first.inner_text() != first
    page.keyboard.press("Enter")
    assert page.locator("#nm-curate").get_attribute("data-suggestion") != shown, "it waited for the server"
    page.wait_for_function("document.querySelector('.nm-sync').textContent === 'all saved'")
    after = nearmiss.get("/api/data-sets/1/progress")["decided"]
    changed = {answer: after[answer] - before[answer] for answer in after}
    yes = sum("Yes" in text for text in proposed) + (1 if "No" in proposed[0] else -1)
    no = sum("No" in text for text in proposed) + (-1 if "No" in proposed[0] else 0)
    assert changed["match"] >= yes and changed["no_match"] >= no  # an answer also settles its near duplicates
    assert sum(changed.values()) >= count
    page.keyboard.press("z")
    page.wait_for_function("document.querySelector('.nm-last').textContent.startsWith('Taken back')")
    nearmiss.wait("the undo", lambda: nearmiss.get("/api/data-sets/1/progress")["decided"] == before)
    assert page.locator("#nm-curate").get_attribute("data-suggestion") == shown


def test_keys_become_verdicts_the_next_item_shows_at_once_and_z_takes_one_back(page, nearmiss):
    page.get_by_role("tab", name="Curate").click()
    page.get_by_role("button", name="Focus").click()
    page.wait_for_selector(".nm-desk", timeout=60_000)
    before = nearmiss.get("/api/data-sets/1/progress")["decided"]
    expected = dict.fromkeys(before, 0)
    for key, answer in KEYS:
        about_pair = page.locator(".nm-ask h2").inner_text().startswith("The data set pairs")
        expected["broken_pair" if about_pair and answer == "no_match" else answer] += 1
        shown = page.locator("#nm-curate").get_attribute("data-suggestion")
        page.keyboard.press(key)
        assert page.locator("#nm-curate").get_attribute("data-suggestion") != shown, (
            "it waited for the server"
        )
    page.wait_for_function("document.querySelector('.nm-sync').textContent === 'all saved'")
    after = nearmiss.get("/api/data-sets/1/progress")["decided"]
    assert all(
        after[a] - before[a] >= expected[a] for a in after
    )  # an answer also settles its near duplicates
    assert sum(after.values()) - sum(before.values()) >= len(KEYS)
    page.keyboard.press("z")
    page.wait_for_function("document.querySelector('.nm-last').textContent.startsWith('Taken back')")
    nearmiss.wait(
        "the undo",
        lambda: (
            nearmiss.get("/api/data-sets/1/progress")["decided"]["broken_pair"] == after["broken_pair"] - 1
        ),
    )


def test_data_tab_tells_what_mining_expects_before_any_work(page, nearmiss):
    mined = nearmiss.wait("the numbers", lambda: nearmiss.get("/api/data-sets/1")["mined"])
    assert (
        mined["false_negatives"]["low"]
        <= mined["false_negatives"]["rate"]
        <= mined["false_negatives"]["high"]
    )
    page.get_by_role("tab", name="Data").click()
    people = page.get_by_role("button", name="people", exact=True)
    row = page.locator("li.nm-set", has=people)  # other tests bring data sets of their own
    assert "at batch 256" in row.locator(".nm-expected").inner_text()


def test_one_click_trains_and_shows_it_live_through_a_reload(page, nearmiss):
    page.get_by_role("tab", name="Fine-tune").click()
    page.wait_for_selector(".nm-primary:visible:enabled", timeout=20_000)
    page.wait_for_selector(".nm-report .nm-facts")
    assert "Hard negatives" in page.locator(".nm-report").inner_text()
    page.locator(".nm-tune .nm-primary:visible").first.click()
    page.wait_for_selector(".nm-run .nm-state", timeout=30_000)
    page.reload()
    page.get_by_role("tab", name="Runs").click()
    page.wait_for_selector(".nm-run .nm-state-finished", timeout=120_000)
    page.wait_for_selector(".nm-run svg")
    page.wait_for_selector(".nm-probe .nm-row")
    table = page.locator(".nm-run .nm-table").first.inner_text()
    assert "mAP@R" in table and "R@1" in table and "retention" in table
    assert page.locator(".nm-histograms polyline").count() >= 2
    assert "recommended" in page.locator(".nm-run .nm-table").nth(1).inner_text()


def test_verdicts_given_offline_are_kept_and_reach_the_server_once(page, nearmiss):
    page.get_by_role("tab", name="Curate").click()
    page.get_by_role("button", name="Focus").click()
    page.wait_for_selector(".nm-desk .nm-picture img", timeout=60_000)
    page.wait_for_timeout(500)  # the pictures ahead are there
    before = nearmiss.get("/api/data-sets/1/progress")["decided"]
    page.context.set_offline(True)
    for _ in range(5):
        page.keyboard.press("n")
        page.wait_for_timeout(120)
    page.wait_for_function("/offline: 5/.test(document.querySelector('.nm-sync').textContent)")
    assert nearmiss.get("/api/data-sets/1/progress")["decided"] == before
    page.context.set_offline(False)
    page.wait_for_function("document.querySelector('.nm-sync').textContent === 'all saved'", timeout=30_000)
    after = nearmiss.get("/api/data-sets/1/progress")["decided"]
    assert sum(after.values()) - sum(before.values()) >= 5


def test_a_page_that_nobody_sees_asks_nothing_until_it_is_seen_again(page):
    asked = []

    def as_if_a_search_ran(route):
        asked.append(route.request.url)
        body = (answer := route.fetch()).json()
        body[0]["mining_job"] = body[0]["import_job"] | {"kind": "mine", "state": "running"}
        route.fulfill(response=answer, json=body)

    show = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.route("**/api/data-sets", as_if_a_search_ran)
    page.reload()
    page.get_by_role("tab", name="Data").click()
    page.wait_for_selector(".nm-sets progress:visible")
    page.evaluate(show, True)  # a headless tab is never hidden by itself
    page.wait_for_timeout(300)  # what was under way has come
    before = len(asked)
    page.wait_for_timeout(1700)  # the next question was due
    assert len(asked) == before
    with page.expect_request("**/api/data-sets", timeout=5_000):
        page.evaluate(show, False)
    page.wait_for_timeout(300)  # its answer, before the page closes


def test_guidelines_are_one_key_away_and_keep_their_versions_as_text(page):
    page.get_by_role("tab", name="Curate").click()
    page.wait_for_selector("#nm-curate .nm-views", timeout=60_000)
    hostile = "<img src=x onerror=alert(1)> Colours must agree."
    for number, text in enumerate(("Skin tones must agree.", hostile)):
        page.keyboard.press("g")
        page.wait_for_selector(".nm-guidelines h2")
        page.get_by_role("button", name="Edit" if number else "Write them").click()
        page.get_by_role("textbox", name="Guidelines").fill(text)
        page.get_by_role("button", name="Save a new version").click()
        page.wait_for_function(
            "t => document.querySelector('.nm-guidelines-text')?.textContent === t", arg=text
        )
        page.get_by_role("button", name="Close").click()
    page.reload()
    page.get_by_role("tab", name="Curate").click()
    page.wait_for_selector("#nm-curate .nm-views", timeout=60_000)
    page.keyboard.press("g")
    page.wait_for_selector(".nm-guidelines-text")
    assert page.locator(".nm-guidelines-text").inner_text() == hostile
    assert page.locator(".nm-guidelines option").count() == 2
