"""The page's files: addresses that name their content, and a head that asks for what the first view needs."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from app.ui.early_head import modules
from app.ui.page_files import PageFiles

STATIC = Path(__file__).parents[2] / "app/ui/static"


@pytest.fixture(scope="module")
def files() -> PageFiles:
    return PageFiles(STATIC, joined={"all.css": ("style.css", "desk.css")})


@pytest.fixture(scope="module")
def client(files: PageFiles) -> TestClient:
    return TestClient(Starlette(routes=[Route("/page/{version}/{name:path}", files.answer)]))


def test_todays_files_are_kept_for_ever_and_an_older_pages_are_not(
    client: TestClient, files: PageFiles
) -> None:
    today = client.get(f"/page/{files.version}/app.js")
    assert today.headers["cache-control"].endswith("immutable")
    assert today.headers["content-encoding"] == "gzip" and today.text == (STATIC / "app.js").read_text()
    older = client.get("/page/0123456789ab/app.js", headers={"accept-encoding": ""})
    assert older.headers["cache-control"] == "no-cache" and older.text == today.text


def test_styles_come_in_one_file_and_nothing_outside_the_folder_is_served(
    client: TestClient, files: PageFiles
) -> None:
    styles = client.get(f"/page/{files.version}/all.css").text
    assert styles == "\n".join((STATIC / name).read_text() for name in ("style.css", "desk.css"))
    assert client.get(f"/page/{files.version}/%2e%2e/page.py").status_code == 404
    assert client.get(f"/page/{files.version}/nothing.js").status_code == 404


def test_the_desk_needs_neither_explore_nor_the_runs() -> None:
    needed = modules(STATIC, "app.js", "curate.js")
    assert {"board.js", "focus.js", "ring.js", "outbox.js"} <= set(needed)
    assert not {"explore.js", "runs.js", "tune.js", "data.js", "people.js"} & set(needed)
