"""Whatever people write is shown as the text that it is, and none of it runs: 500 hostile texts through Explore's views."""

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from servers import free_port

from app.actions.add_model import add_model
from app.actions.add_rows import NewRow, add_rows
from app.actions.add_suggestions import NewSuggestion, add_suggestions
from app.actions.comment import comment
from app.actions.duplicates import keep_groups
from app.actions.tag_images import tag_images
from app.api import create_app
from app.demo.openmoji import drawings, rasterise
from app.media.pictures import check_picture, keep_picture
from app.media.store import MediaStore
from app.settings import Settings
from app.store.database import Database
from app.store.models import DataSet
from app.store.schema import migrate
from app.store.text import clean
from app.store.words import index_words
from app.ui.mount import mount
from tests.hostile_texts import HOSTILE

pytestmark = pytest.mark.timeout(300)
TEXTS = list(dict.fromkeys(clean(text) for text in HOSTILE))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page alone, without workers, on a data set whose every text is hostile."""
    port = free_port()
    settings = Settings(home=tmp_path_factory.mktemp("hostile"), port=port, demo=False)
    database = Database(settings)
    migrate(database.engine)
    picture = check_picture(rasterise(drawings()[0], image_px=64))
    keep_picture(MediaStore(settings.resolved_media_url), picture)
    with database.transaction() as session:
        session.add(DataSet(id=1, name=TEXTS[0][:200], attribution=TEXTS[1], licence=TEXTS[2][:200]))
        session.flush()
        rows = [NewRow(f"{n}{text[:80]}", picture.sha256, 64, 64, text) for n, text in enumerate(TEXTS)]
        add_rows(session, data_set_id=1, rows=rows)
        model = add_model(session, name=TEXTS[3][:200], location="local-dir:tiny")
        found = [NewSuggestion(1, i, "match", 0.5, 0.5, 1.0, reasons=[TEXTS[i]]) for i in range(2, 40)]
        add_suggestions(session, data_set_id=1, model_id=model.id, suggestions=found)
        keep_groups(session, 1, kind="image", groups=[list(range(n, n + 20)) for n in range(1, 460, 20)])
        for text in TEXTS[:40]:
            comment(session, image_id=1, text=text, person=text[:200])
            tag_images(
                session,
                1,
                image_ids=[1, 2],
                name=text[:100].replace("\n", " "),
                person=text[:200],
                bulk_id=str(uuid.uuid4()),
            )
        index_words(session)
    server = uvicorn.Server(uvicorn.Config(mount(create_app(settings)), port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)
    database.close()


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.set_default_timeout(60_000)
    opened.on("dialog", lambda dialog: pytest.fail(f"a dialog opened: {dialog.message}"))
    opened.goto(address)
    yield opened
    opened.close()


def nothing_ran(page) -> None:
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    foreign = "script, iframe, object, math, marquee, template, meta, form[action], img[onerror], [onload], [onfocus]"
    assert page.evaluate(f"document.querySelectorAll('#nm-explore :is({foreign})').length") == 0


def test_every_caption_of_the_grid_is_its_own_text(page) -> None:
    page.wait_for_selector(".nm-card")
    seen: set[str] = set()
    for _ in range(60):
        seen |= set(
            page.evaluate("[...document.querySelectorAll('.nm-card-caption')].map((c) => c.textContent)")
        )
        if len(seen) >= len(TEXTS):
            break
        page.mouse.wheel(0, 1500)
        page.wait_for_timeout(150)
    assert seen == set(TEXTS)
    assert page.locator(".nm-card").count() < len(TEXTS), "blocks that are far off are let go"
    nothing_ran(page)


def test_filters_item_page_comments_and_tags_show_text(page, address: str) -> None:
    page.goto(f"{address}/?item=1")
    page.wait_for_selector(".nm-item-page .nm-note")
    notes = page.evaluate("[...document.querySelectorAll('.nm-note')].map((c) => c.textContent)")
    assert notes == TEXTS[:40]
    assert page.locator(".nm-item-caption").inner_text() == TEXTS[0]
    nothing_ran(page)


def test_duplicates_show_text(page, address: str) -> None:
    page.goto(f"{address}/?explore=duplicates")
    page.wait_for_selector(".nm-group .nm-card-caption")
    shown = page.evaluate(
        "[...document.querySelectorAll('.nm-group .nm-card-caption')].map((c) => c.textContent)"
    )
    assert shown == TEXTS[: len(shown)] and len(shown) >= 400
    nothing_ran(page)
