"""The desk under load: key to paint in a real browser, first page, fifty annotators; beside it Label Studio's hand-over.

    python benchmarks/desk.py [--quick] [--no-peer]

Two instances with synthetic pairs on 300 drawings: 200,000 pairs on SQLite and a million on Postgres, 200,000 open
suggestions each. The first page is there when the first question stands on the screen with its pictures and takes keys;
the whole page, when Gradio's tabs stand around it. A key's time runs from keydown to after the paint of the frame that shows the next decoded picture.
Fifty simulated annotators, each with an account, lease a queue page and save one verdict every 3 s, each with a ledger
that is compared with the database at the end (a tenth of the images is asked twice, four in a hundred are controls). The peer is Label Studio (a temporary environment, its API and page): from the key that
submits to the next task's picture painted, the same drawings.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from playwright.sync_api import Page, sync_playwright
from result import ROOT, write_result
from sqlalchemy import func, select, text

sys.path.insert(0, str(ROOT))
from app.actions.add_model import add_model
from app.actions.credentials import issue
from app.demo import BASE_MODEL
from app.demo.openmoji import drawings, rasterise
from app.media.maps import put_map
from app.media.pictures import check_picture, keep_picture
from app.media.store import MediaStore
from app.media.vectors import put_vectors
from app.settings import Settings
from app.store.database import Database
from app.store.models import (
    Caption,
    Control,
    DataSet,
    Embedding,
    EmbeddingMap,
    Image,
    Pair,
    PersonRow,
    Suggestion,
    Verdict,
)
from app.store.schema import migrate
from app.store.text import text_hash
from app.store.words import index_words
from tests.conftest import postgres_url

NUM_PICTURES, CHUNK = 300, 5_000
ANNOTATORS, EVERY_S = 50, 3.0
PAINTED = """
window.nmTimes = [];
window.nmPainted = (find) => addEventListener("keydown", (event) => {
  if (!window.nmKeys.includes(event.key)) return;
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


def main() -> None:
    """Measures, prints, writes benchmarks/results/desk.json (with --quick only prints)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small data sets, short load; writes no result")
    parser.add_argument("--no-peer", action="store_true")
    given = parser.parse_args()
    small = given.quick
    folder = Path(tempfile.mkdtemp(prefix="nm-desk-", dir="/tmp"))
    try:
        sqlite = desk(folder / "sqlite", "", 5_000 if small else 200_000, 10 if small else 120)
        with database_server() as url:
            postgres = desk(folder / "postgres", url, 5_000 if small else 1_000_000, 10 if small else 120)
        peer = {} if given.no_peer else label_studio(folder / "peer", 20 if small else 100)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures = {
        **{name: sqlite[name] for name in ("key_to_paint_p50_ms", "key_to_paint_p95_ms")},
        "first_page_p95_ms": sqlite["first_page_p95_ms"],
        "whole_page_p95_ms": sqlite["whole_page_p95_ms"],
        **{name: sqlite[name] for name in ("search_text_p95_ms", "search_image_p95_ms")},
        "verdict_p95_ms_50_annotators": sqlite["verdict_p95_ms"],
        "errors": sqlite["errors"] + postgres["errors"],
        "lost": sqlite["lost"] + postgres["lost"],
        "peer_handover_p50_ms": peer.get("p50_ms"),
        "peer": peer.get("name"),
    }
    details = {"sqlite_200k": sqlite, "postgres_1m": postgres, "peer_details": peer}
    write_result("desk", figures, quick=small, **details)


def desk(home: Path, url: str, num_pairs: int, load_s: float) -> dict[str, Any]:
    """All figures of one instance."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.mkdir(parents=True)
    settings = Settings(home=home, database_url=url, port=port, demo=False)
    database = Database(settings)
    began = time.monotonic()
    fill(database, num_pairs)
    print(f"{num_pairs} pairs in {time.monotonic() - began:.0f} s")
    env = {"NEARMISS_HOME": str(home), "NEARMISS_PORT": str(port), "NEARMISS_DEMO": "false"}
    env |= {"NEARMISS_DATABASE_URL": url} if url else {}
    with started(env, f"http://127.0.0.1:{port}") as address:
        found = browse(address) | lists(address) | meaning(address)
        ledger, times, errors = asyncio.run(load(address, load_s, people(database)))
    with database.reading() as session:
        known = set(session.scalars(select(Verdict.uuid))) | set(session.scalars(select(Control.uuid)))
        found["verdicts_saved"] = session.scalar(select(func.count()).select_from(Verdict))
    database.close()
    return found | {
        "verdict_p50_ms": round(statistics.median(times), 1),
        "verdict_p95_ms": percentile(times, 95),
        "verdicts_under_load": len(ledger),
        "errors": errors,
        "lost": len(ledger - known),
    }


def fill(database: Database, num_pairs: int) -> None:
    """One data set: as many images as pairs, 300 drawings shared by them, and at most 200,000 open suggestions."""
    migrate(database.engine)
    rng = random.Random(0)
    store = MediaStore(database.settings.resolved_media_url)
    hashes = []
    for drawing in drawings()[:NUM_PICTURES]:
        picture = check_picture(rasterise(drawing))
        keep_picture(store, picture)
        hashes.append(picture.sha256)
    words = [
        "red",
        "blue",
        "small",
        "large",
        "dog",
        "cat",
        "house",
        "tree",
        "river",
        "person",
        "ship",
        "road",
        "hat",
        "chair",
        "lamp",
        "green",
        "old",
        "new",
    ]
    with database.transaction() as session:
        session.add(
            DataSet(id=1, name="large", num_images=num_pairs, num_captions=num_pairs, num_pairs=num_pairs)
        )
        add_model(session, name="tiny", location="demo:openmoji-tiny")

    def rows(start: int) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
        span = (
            range(start, min(start + CHUNK, num_pairs) + 1)[1:]
            if start
            else range(1, min(CHUNK, num_pairs) + 1)
        )
        texts = {i: f"{' '.join(rng.choices(words, k=6))} {i}" for i in span}
        one = {"data_set_id": 1}
        yield (
            Image,
            [
                one | {"id": i, "key": f"{i}.png", "sha256": rng.choice(hashes), "width": 72, "height": 72}
                for i in span
            ],
        )
        yield Caption, [one | {"id": i, "text": t, "sha256": text_hash(t)} for i, t in texts.items()]
        yield Pair, [one | {"id": i, "image_id": i, "caption_id": i, "split": "train"} for i in span]

    for start in range(0, num_pairs, CHUNK):
        with database.transaction() as session:
            for table, values in rows(start):
                session.execute(table.__table__.insert(), values)
    for start in range(1, min(num_pairs, 200_000) + 1, CHUNK):
        with database.transaction() as session:
            values = [suggestion(i, rng, num_pairs) for i in range(start, start + CHUNK)]
            session.execute(Suggestion.__table__.insert(), values)
    if database.engine.dialect.name == "postgresql":
        with database.transaction() as session:
            for table in ("images", "captions", "pairs", "suggestions"):
                session.execute(text(f"select setval('{table}_id_seq', (select max(id) from {table}))"))
    keep_vectors(database, store, min(num_pairs, 200_000))
    indexed = 1
    while indexed:
        with database.transaction() as session:
            indexed = index_words(session)
    with database.engine.begin() as connection:
        connection.execute(text("analyze"))


def keep_vectors(database: Database, store: MediaStore, num_images: int) -> None:
    """Random directions as the images' embeddings by the demo's model, and a map of at most 100,000 of them."""
    rng = np.random.default_rng(0)
    ids = np.arange(1, num_images + 1)
    dimensions = json.loads((BASE_MODEL / "open_clip_config.json").read_text())["model_cfg"]["embed_dim"]
    vectors = rng.standard_normal((num_images, dimensions), np.float32)
    key = put_vectors(store, ids, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    mapped = ids[:100_000]
    centres = rng.uniform(-0.8, 0.8, (12, 2))[mapped % 12]
    x, y = (centres + rng.normal(0, 0.07, (len(mapped), 2))).T
    columns = {
        "id": mapped,
        "x": x,
        "y": y,
        "score": rng.uniform(-0.2, 0.6, len(mapped)),
        "cluster": mapped % 12,
    }
    points = put_map(store, columns)
    with database.transaction() as session:
        one = {"data_set_id": 1, "model_id": 1}
        nums = {"num_images": num_images, "num_captions": 0}
        session.add(Embedding(**one, image_key=key, caption_key=key, **nums))
        session.add(EmbeddingMap(**one, key=points, num_images=len(mapped)))


def suggestion(i: int, rng: random.Random, num_pairs: int) -> dict[str, Any]:
    """A candidate of an image and a caption a little further on; every image of a hundred has eight."""
    image = i - i % 8 + 1
    return {
        "data_set_id": 1,
        "model_id": 1,
        "image_id": min(image, num_pairs),
        "caption_id": (i + 16) % num_pairs + 1,
        "proposed": rng.choice(("match", "no_match")),
        "probability": rng.random(),
        "score": rng.random(),
        "impact": rng.random(),
        "uncertainty": rng.random(),
        "shuffle": rng.random(),
        "group_key": "",
        "signals": {},
        "reasons": ["the model ranks it above its own caption"],
        "state": "open",
    }


@contextmanager
def started(env: dict[str, str], address: str) -> Iterator[str]:
    """`nearmiss up` until the block ends."""
    with (Path(env["NEARMISS_HOME"]) / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "up"],
            cwd=ROOT,
            env=os.environ | env,
            stdout=log,
            stderr=log,
        )
        try:
            wait_for(f"{address}/healthz")
            time.sleep(15)  # the workers' imports are over
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@contextmanager
def database_server() -> Iterator[str]:
    """The tests' temporary Postgres."""
    yield from (url.rsplit("/", 1)[0] + "/postgres" for url in postgres_url.__wrapped__())  # type: ignore[attr-defined]


def browse(address: str) -> dict[str, Any]:
    """First pages, keys in the focus view, and a page of thumbnails, in headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        firsts = [first_page(browser, address) for _ in range(20)]
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.get_by_role("tab", name="Explore").click()
        began = time.monotonic()
        page.wait_for_function("document.querySelectorAll('#nm-explore img').length >= 20")
        page.wait_for_function(
            "[...document.querySelectorAll('#nm-explore img')].slice(0, 20).every((i) => i.complete)"
        )
        thumbnails = 1000 * (time.monotonic() - began)
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


def first_page(browser: Any, address: str) -> dict[str, float]:
    """Milliseconds from navigation, empty cache, to the first board on the screen with its pictures (keys work from then
    on), and until it stands in Gradio's page with the other tabs beside it."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script(FIRST)
    page = context.new_page()
    page.goto(f"{address}/?view=board", wait_until="commit")
    page.wait_for_function("window.nmFirst.whole_ms", timeout=60_000)
    found: dict[str, float] = page.evaluate("window.nmFirst")
    context.close()
    return found


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


def map_frames(playwright: Any, address: str) -> dict[str, Any]:
    """The map of 100,000 points: until it is drawn, and milliseconds a frame while it is dragged and zoomed.

    Without a graphics card Chromium's SwiftShader draws on the processor; `map_renderer` says what drew.
    """
    software = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader"]
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=software)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(address)
    page.wait_for_selector("#nm-explore .nm-card")
    began = time.monotonic()
    page.get_by_role("button", name="Map", exact=True).click()
    page.wait_for_selector(".nm-map-canvas[data-drawn]")
    found: dict[str, Any] = {"map_first_draw_ms": round(1000 * (time.monotonic() - began), 1)}
    page.wait_for_timeout(2000)  # the index of places is made beside it
    box = page.locator(".nm-map-canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def frames(name: str) -> None:
        times: list[float] = page.evaluate("() => { window.nmWatch = false; return window.nmFrames; }")
        found[f"map_{name}_frame_p50_ms"] = round(statistics.median(times), 1)
        found[f"map_{name}_frame_p95_ms"] = percentile(times, 95)

    page.evaluate(FRAMES)
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(40):
        page.mouse.move(x + 4 * step, y + step)
    page.mouse.up()
    frames("pan")
    page.evaluate(FRAMES)
    for _ in range(20):
        page.mouse.wheel(0, -40)
    frames("zoom")
    found["map_renderer"] = page.evaluate("""() => {
      const gl = document.createElement("canvas").getContext("webgl");
      return gl.getParameter(gl.getExtension("WEBGL_debug_renderer_info").UNMASKED_RENDERER_WEBGL);
    }""")
    browser.close()
    return found


def keys(page: Page, *, num: int = 120) -> list[float]:
    """Milliseconds from each key to after the paint of the next decoded picture."""
    page.get_by_role("tab", name="Curate").click()
    page.get_by_role("button", name="Focus").click()
    page.wait_for_selector(".nm-desk", timeout=60_000)
    page.evaluate("window.nmKeys = ['n', 'y']")
    page.evaluate(PAINTED)
    page.evaluate("nmPainted(() => document.querySelector('.nm-picture img'))")
    time.sleep(1)
    for at in range(num):
        page.keyboard.press("ny"[at % 2])
        time.sleep(0.4 if at % 10 else 1.0)
    page.wait_for_function("document.querySelector('.nm-sync').textContent === 'all saved'")
    times: list[float] = page.evaluate("window.nmTimes")
    if len(times) < 0.9 * num:
        raise SystemExit(f"only {len(times)} of {num} pictures were seen to change")
    return times


def lists(address: str) -> dict[str, float]:
    """Milliseconds of the lists' routes, p95 of 20: a page of pairs, a deep one, a filter, a word search."""
    paths = {
        "pairs_p95_ms": "/api/data-sets/1/explore?limit=60",
        "filter_p95_ms": "/api/data-sets/1/explore?limit=60&answer=none&min_chars=20",
        "suggestions_p95_ms": "/api/data-sets/1/explore?limit=60&show=suggestions&min_score=0.2&max_score=0.6",
        "nothing_matches_p95_ms": "/api/data-sets/1/explore?limit=60&min_chars=5000",
        "count_p95_ms": "/api/data-sets/1/explore/count?q=ship",
        "search_p95_ms": "/api/data-sets/1/explore?limit=60&q=ship+lamp",
        "queue_p95_ms": "/api/data-sets/1/queue?limit=30",
        "boards_p95_ms": "/api/data-sets/1/boards?limit=3",
    }
    found = {}
    with httpx.Client(base_url=address, timeout=60) as client:
        for name, path in paths.items():
            times = []
            for _ in range(20):
                began = time.perf_counter()
                client.get(path).raise_for_status()
                times.append(1000 * (time.perf_counter() - began))
            found[name] = percentile(times, 95)
    return found


def meaning(address: str) -> dict[str, float]:
    """Milliseconds of searches by meaning as Explore asks them, the demo's model warm: words, and an image of the set."""
    words = ("dog", "red house", "a small ship", "old lamp", "green tree")
    asked = {
        "text": [{"q": f"{words[at % 5]} {at}"} for at in range(30)],
        "image": [{"image_id": 7 * at + 1} for at in range(30)],
    }
    found = {}
    with httpx.Client(base_url=address, timeout=60) as client:

        def search(query: dict[str, Any]) -> float:
            began = time.perf_counter()
            answer = (
                client.get("/api/data-sets/1/search", params=query | {"limit": 300}).raise_for_status().json()
            )
            took = 1000 * (time.perf_counter() - began)
            if answer["note"] or len(answer["items"]) != 300:
                raise SystemExit(f"{query} was not searched by meaning: {answer['note']}")
            return took

        give_up = time.monotonic() + 60
        while client.get("/api/data-sets/1/search", params={"q": "dog"}).json()["note"]:
            if time.monotonic() > give_up:
                raise SystemExit("the search worker does not answer")
            time.sleep(1)
        for kind, queries in asked.items():
            times = [search(query) for query in queries]
            found[f"search_{kind}_p50_ms"] = round(statistics.median(times), 1)
            found[f"search_{kind}_p95_ms"] = percentile(times, 95)
    return found


def people(database: Database) -> list[str]:
    """A token each of the annotators; from now on everybody has to log in."""
    tokens = []
    with database.transaction() as session:
        for number in range(ANNOTATORS):
            person = PersonRow(name=f"annotator {number}", role="annotator", password_hash="none")
            session.add(person)
            session.flush()
            tokens.append(issue(session, person_id=person.id, kind="token", lives_s=86400.0))
    return tokens


async def load(address: str, seconds: float, tokens: list[str]) -> tuple[set[str], list[float], int]:
    """Fifty people who lease their items, a verdict every 3 s each: acknowledged UUIDs, milliseconds of each save, errors."""
    ledger: set[str] = set()
    times: list[float] = []
    errors = 0
    until = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=address, timeout=30, limits=limits, headers={"X-Nearmiss": "1"}
    ) as client:

        async def annotator(number: int) -> None:
            nonlocal errors
            rng, items = random.Random(number), []
            mine = {"Authorization": f"Bearer {tokens[number]}"}
            await asyncio.sleep(EVERY_S * number / ANNOTATORS)
            while time.monotonic() < until:
                began = time.perf_counter()
                try:
                    if not items:
                        wish = {"limit": 30}
                        answer = await client.post("/api/data-sets/1/queue", json=wish, headers=mine)
                        items = answer.raise_for_status().json()["items"]
                        began = time.perf_counter()
                    item = items.pop(rng.randrange(len(items)))
                    named = {key: item[key] for key in ("image_id", "caption_id", "suggestion_id")}
                    body = {
                        "uuid": str(uuid.uuid4()),
                        "answer": rng.choice(("match", "no_match", "unsure")),
                        **named,
                    }
                    answer = await client.post("/api/verdicts", json={"verdicts": [body]}, headers=mine)
                    answer.raise_for_status()
                    ledger.update(answer.json()["saved"])
                    times.append(1000 * (time.perf_counter() - began))
                except (httpx.HTTPError, KeyError) as error:
                    errors += 1
                    print(f"annotator {number}: {error!r}")
                await asyncio.sleep(max(0.0, EVERY_S - (time.perf_counter() - began)))

        await asyncio.gather(*(annotator(number) for number in range(ANNOTATORS)))
    return ledger, times, errors


def label_studio(folder: Path, num_tasks: int) -> dict[str, Any]:
    """Its submit → next picture, p50 and p95; the reason where it could not be measured."""
    folder.mkdir(parents=True)
    try:
        return measure_peer(folder, num_tasks)
    except Exception as error:  # the peer must not cost us our own figures
        return {
            "name": "label-studio",
            "p50_ms": None,
            "reason": f"{type(error).__name__}: {str(error)[:500]}",
        }


def measure_peer(folder: Path, num_tasks: int) -> dict[str, Any]:
    """Installs and starts it, makes a project over its API, and presses its keys."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uv, venv = Path(sys.executable).parent / "uv", folder / "venv"
    tool = str(uv) if uv.exists() else "uv"
    subprocess.run([tool, "venv", "-q", "--python", sys.executable, str(venv)], check=True)
    subprocess.run(
        [tool, "pip", "install", "-q", "--python", str(venv / "bin/python"), "label-studio"], check=True
    )
    media = folder / "media"
    media.mkdir()
    for at, drawing in enumerate(drawings()[:num_tasks]):
        (media / f"{at}.png").write_bytes(rasterise(drawing))
    env = os.environ | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
    }
    account = [
        "--username",
        "bench@example.org",
        "--password",
        "bench-password",
        "--user-token",
        "0123456789abcdef0123456789abcdef01234567",
    ]
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(venv / "bin/label-studio"), "start", "--no-browser", "-p", str(port), *account],
            env=env, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            wait_for(f"{address}/health", timeout_s=180)
            return press_peer(address, num_tasks)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


LABELS = """<View><Image name="image" value="$image"/><Text name="caption" value="$caption"/>
<Choices name="answer" toName="image" choice="single"><Choice value="yes" hotkey="y"/><Choice value="no" hotkey="n"/></Choices></View>"""


def press_peer(address: str, num_tasks: int) -> dict[str, Any]:
    """Signs in, imports the tasks with pictures as data URLs, answers each by key."""
    import base64

    pictures = [base64.b64encode(rasterise(drawing)).decode() for drawing in drawings()[:num_tasks]]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{address}/user/login")
        page.fill("input[name=email]", "bench@example.org")
        page.fill("input[name=password]", "bench-password")
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "login" not in url, timeout=60_000)
        send = """async ([path, body]) => {
          const token = document.cookie.match(/csrftoken=([^;]+)/)?.[1] ?? "";
          const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "X-CSRFToken": token }, body: JSON.stringify(body) });
          if (!answer.ok) throw new Error(`${path}: ${answer.status} ${(await answer.text()).slice(0, 300)}`);
          return answer.json();
        }"""
        project = page.evaluate(send, ["/api/projects/", {"title": "bench", "label_config": LABELS}])["id"]
        tasks = [
            {"data": {"image": f"data:image/png;base64,{data}", "caption": f"caption {at}"}}
            for at, data in enumerate(pictures)
        ]
        for start in range(0, len(tasks), 20):
            page.evaluate(send, [f"/api/projects/{project}/import", tasks[start : start + 20]])
        page.goto(f"{address}/projects/{project}/data?labeling=1")
        page.wait_for_selector("img[src^='data:image/png'], canvas, img[alt=image]", timeout=90_000)
        time.sleep(3)
        find = "[...document.querySelectorAll('img')].find((i) => i.src.startsWith('data:image/png') || i.src.startsWith('blob:'))"
        page.evaluate("window.nmKeys = ['Enter']")
        page.evaluate(PAINTED)
        page.evaluate(f"nmPainted(() => {find})")
        for _ in range(num_tasks - 5):
            page.keyboard.press("n")
            time.sleep(0.3)
            page.keyboard.press("Control+Enter")
            time.sleep(2.0)
        times: list[float] = page.evaluate("window.nmTimes")
        page.screenshot(path="/tmp/nm-peer.png")
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


def wait_for(url: str, *, timeout_s: float = 90.0) -> None:
    """Until the address answers."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.3)
    raise SystemExit(f"{url} does not answer")


def percentile(times: list[float], which: int) -> float:
    """The percentile by linear interpolation, one decimal."""
    return round(statistics.quantiles(times, n=100, method="inclusive")[which - 1], 1)


if __name__ == "__main__":
    main()
