"""XSS, traversal, SSRF, CSRF and header payloads against a running Nearmiss: how many there are, how many are blocked.

    python benchmarks/attacks.py

It starts a web process with accounts in an empty home and attacks it as a stranger, as a person who sees one of two
data sets, and as an admin; where Chromium is there, hostile captions and names are also opened in the page. Writes
benchmarks/results/attacks.json {payloads, blocked}. tests/app/test_attacks.py runs a part of it.
"""

import argparse
import html
import http.server
import itertools
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from clock import wait_for_page
from servers import free_port

from app.actions.accounts import add_person, grant
from app.actions.add_rows import NewRow, add_rows
from app.actions.credentials import issue
from app.errors import NearmissError
from app.jobs.webhooks import checked_address
from app.settings import Settings
from app.store.database import Database
from app.store.models import DataSet
from app.store.schema import migrate

FLAG = "window.__nearmiss_was_here=1"
SCRIPTS = [
    f"<script>{FLAG}</script>",
    f"<img src=x onerror={FLAG}>",
    f"<svg onload={FLAG}>",
    f"<svg><script>{FLAG}</script></svg>",
    f"<body onload={FLAG}>",
    f"<iframe srcdoc='<script>parent.{FLAG[7:]}</script>'>",
    f"<iframe src=javascript:{FLAG}>",
    f"<a href=javascript:{FLAG} autofocus onfocus={FLAG}>x</a>",
    f"<input autofocus onfocus={FLAG}>",
    f"<details open ontoggle={FLAG}>",
    f"<video><source onerror={FLAG}></video>",
    f"<audio src=x onerror={FLAG}>",
    f"<math><mtext><style><img src=x onerror={FLAG}></style>",
    f"</script><script>{FLAG}</script>",
    f"</title><script>{FLAG}</script>",
    f"</textarea><script>{FLAG}</script>",
    f"'-{FLAG}-'",
    f'"-{FLAG}-"',
    f'"><script>{FLAG}</script>',
    f"'><img src=x onerror={FLAG}>",
    f"`${{{FLAG}}}`",
    f"{{{{constructor.constructor('{FLAG}')()}}}}",
    f"<<script>{FLAG}//<</script>",
    f"<scr<script>ipt>{FLAG}</scr</script>ipt>",
    f"<ScRiPt>{FLAG}</sCrIpT>",
    f"%3Cscript%3E{FLAG}%3C/script%3E",
    f"&lt;script&gt;{FLAG}&lt;/script&gt;",
    f"\u202e<script>{FLAG}</script>",
    f"<img\tsrc=x\nonerror\r={FLAG}>",
    f"<img src=x:alert onerror=eval(atob('{FLAG}'))>",
    f"<object data=javascript:{FLAG}>",
    f"<embed src=javascript:{FLAG}>",
    f"<form action=javascript:{FLAG}><button autofocus onfocus={FLAG}>",
    f"<link rel=stylesheet href=javascript:{FLAG}>",
    f"<meta http-equiv=refresh content='0;url=javascript:{FLAG}'>",
    f"<base href=javascript:{FLAG}//>",
    f"<style>@import 'javascript:{FLAG}'</style>",
    f"<template><script>{FLAG}</script></template>",
    f"<!--><script>{FLAG}</script>-->",
    f"[x](javascript:{FLAG})",
]
UP = [
    "../",
    "..%2f",
    "%2e%2e/",
    "%2e%2e%2f",
    "..%252f",
    "..\\",
    "..%5c",
    "%c0%ae%c0%ae/",
    "....//",
    "..;/",
    ".%00./",
    "/",
]
FILES = ["etc/passwd", "proc/self/environ", "etc/shadow"]
INSIDE = [
    "http://127.0.0.1:PORT/x",
    "http://localhost:PORT/x",
    "http://[::1]:PORT/x",
    "http://2130706433:PORT/x",
    "http://0x7f000001:PORT/x",
    "http://0177.0.0.1:PORT/x",
    "http://127.1:PORT/x",
    "http://0:PORT/x",
    "http://[::ffff:127.0.0.1]:PORT/x",
    "http://user@127.0.0.1:PORT/x",
    "http://example.com@127.0.0.1:PORT/x",
    "https://127.0.0.1:PORT/x",
    "ftp://127.0.0.1:PORT/x",
    "gopher://127.0.0.1:PORT/x",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "//127.0.0.1:PORT/x",
    "http://169.254.169.254/latest/meta-data/",
    "s3://127.0.0.1:PORT/x",
    "upload:../../../etc/passwd",
]
PRIVATE = ["127.0.0.1", "localhost", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "::1", "fc00::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "100.64.0.1"]  # fmt: skip
CHANGES = [
    ("POST", "/api/verdicts"),
    ("POST", "/api/verdicts/undo"),
    ("POST", "/api/runs"),
    ("POST", "/api/runs/preview"),
    ("POST", "/api/data-sets"),
    ("POST", "/api/data-sets/1/mine"),
    ("POST", "/api/data-sets/1/guidelines"),
    ("POST", "/api/data-sets/1/bulk-checks"),
    ("POST", "/api/models"),
    ("POST", "/api/uploads"),
    ("POST", "/api/people"),
    ("POST", "/api/people/1/role"),
    ("DELETE", "/api/people/1"),
    ("POST", "/api/invitations"),
    ("POST", "/api/me/password"),
    ("POST", "/api/me/tokens"),
]


@dataclass
class Attempts:
    """What was tried, by kind; `failed` names what came through."""

    tried: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    every: int = 1  # try one payload in so many

    def some(self, payloads: Any) -> Iterator[Any]:
        """One in `every` of the payloads."""
        yield from itertools.islice(payloads, 0, None, self.every)

    def note(self, kind: str, payload: object, blocked: bool) -> None:
        """Count one."""
        self.tried[kind] += 1
        if not blocked:
            self.failed.append(f"{kind}: {payload!r}"[:300])


def attack(client: httpx.Client, tokens: dict[str, str], attempts: Attempts, *, listener: "Listener") -> None:
    """All kinds that need no browser. `client` speaks to the server without a session."""
    admin = {"Authorization": f"Bearer {tokens['admin']}", "X-Nearmiss": "1"}
    person = {"Authorization": f"Bearer {tokens['person']}", "X-Nearmiss": "1"}
    scripts(client, admin, attempts)
    traversals(client, {"admin": admin, "person": person, "stranger": {}}, attempts)
    forged_requests(client, admin, attempts, listener)
    forged_forms(client, admin, attempts)
    headers(client, admin, attempts)


def is_text_only(answer: httpx.Response, payload: str) -> bool:
    """The payload came back as data that no browser runs, escaped, or not at all."""
    kind = answer.headers.get("content-type", "")
    if kind.startswith(("application/json", "application/jsonl", "text/csv", "text/plain")):
        return answer.headers.get("x-content-type-options") == "nosniff" and answer.status_code < 500
    return answer.status_code < 500 and (payload not in answer.text or html.escape(payload) == payload)


def scripts(client: httpx.Client, admin: dict[str, str], attempts: Attempts) -> None:
    """Everywhere that a person's text may come back."""
    limits = iter(range(10**6))
    for payload in attempts.some(SCRIPTS):
        name = f"{payload}{next(limits)}"
        answers = {
            "log-in": client.post("/log-in", data={"name": payload, "password": payload}),
            "join": client.get("/join/" + quote(payload, safe="")),
            "address": client.get("/api/" + quote(payload, safe=""), headers=admin),
            "person": client.post(
                "/api/people",
                headers=admin,
                json={"name": name, "role": "viewer", "password": "long enough it is"},
            ),
            "model": client.post("/api/models", headers=admin, json={"location": payload, "name": name}),
            "words": client.get("/api/data-sets/1/pairs", headers=admin, params={"q": payload}),
            "guidelines": client.post(
                "/api/data-sets/1/guidelines", headers=admin, json={"text": payload, "after": 0}
            ),
        }
        for place, answer in answers.items():
            attempts.note("xss", f"{place} {payload} {answer.status_code}", is_text_only(answer, payload))


def traversals(client: httpx.Client, roles: dict[str, dict[str, str]], attempts: Attempts) -> None:
    """Paths that lead out of where files are served from."""
    routes = [
        "/page/{}",
        "/static/{}",
        "/assets/{}",
        "/svelte/{}",
        "/gradio_api/file={}",
        "/api/images/1/{}",
        "/file={}",
    ]
    for up, file, route in attempts.some(itertools.product(UP, FILES, routes)):
        for role in ("admin", "stranger"):
            answer = client.get(route.format(up * 6 + file), headers=roles[role])
            attempts.note("traversal", f"{role} {route} {up}{file}", is_refused(answer))
    for up, file in attempts.some(itertools.product(UP, FILES)):
        name = up * 6 + file
        begun = client.post("/api/uploads", headers=roles["admin"]).json()
        into = client.put(
            f"/api/uploads/{begun['id']}/file", params={"name": name}, content=b"x", headers=roles["admin"]
        )
        client.delete(f"/api/uploads/{begun['id']}", headers=roles["admin"])
        inside = into.status_code == 200 and not name.startswith("/") and "/.." not in f"/{name}/"
        attempts.note("traversal", f"upload {name} {into.status_code}", is_refused(into) or inside)
        for role in ("admin", "person"):
            seen = client.get("/api/folders", params={"path": "/" + name}, headers=roles[role])
            attempts.note("traversal", f"folder {role} {name} {seen.status_code}", is_refused(seen))


def is_refused(answer: httpx.Response) -> bool:
    """No file of the system came back."""
    leaked = "root:" in answer.text or "PATH=" in answer.text
    return not leaked and (300 <= answer.status_code < 500)


def forged_requests(
    client: httpx.Client, admin: dict[str, str], attempts: Attempts, listener: "Listener"
) -> None:
    """Addresses inside the network, in everything that names a source; `listener` must hear nothing."""
    for pattern in attempts.some(INSIDE):
        url = pattern.replace("PORT", str(listener.port))
        for path, body in {
            "/api/previews": {"source": url},
            "/api/data-sets": {"name": f"ssrf {url}"[:100], "source": url},
            "/api/previews?": {"source": f"hf:{url}"},
            "/api/data-sets?": {"name": f"ssrf hf {url}"[:100], "source": f"hf:{url}"},
        }.items():
            answer = client.post(path, headers=admin, json=body)
            attempts.note("ssrf", f"{path} {url} {answer.status_code}", 400 <= answer.status_code < 500)
    for address in PRIVATE:
        try:
            checked_address(address, 80, private=False)
        except NearmissError:
            attempts.note("ssrf", f"webhook {address}", True)
        else:
            attempts.note("ssrf", f"webhook {address}", False)
    attempts.note("ssrf", f"the listener heard {listener.heard}", listener.heard == 0)


def forged_forms(client: httpx.Client, admin: dict[str, str], attempts: Attempts) -> None:
    """Requests as another site's page would make them in the browser of a person who is logged in."""
    bearer = {"Authorization": admin["Authorization"]}
    forms = [
        bearer,  # a form cannot send our header
        bearer | {"Content-Type": "text/plain"},
        bearer | {"Content-Type": "application/x-www-form-urlencoded"},
        admin | {"Origin": "https://evil.example"},
        admin | {"Origin": "null"},
        admin | {"Origin": "http://127.0.0.1.evil.example"},
        admin | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        admin | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ]
    for (method, path), form in attempts.some(itertools.product(CHANGES, forms)):
        answer = client.request(method, path, headers=form, content=b"{}")
        attempts.note(
            "csrf", f"{method} {path} {sorted(form)} {answer.status_code}", answer.status_code == 403
        )
    for path in ("/log-in", "/log-out", "/join/x"):
        for form in forms[3:6]:
            answer = client.post(path, headers=form, data={"name": "admin", "password": "x"})
            attempts.note("csrf", f"{path} {form.get('Origin')}", answer.status_code == 403)


def headers(client: httpx.Client, admin: dict[str, str], attempts: Attempts) -> None:
    """Headers that ask to be believed."""
    bearer = {"Authorization": admin["Authorization"]}
    hosts = ["evil.example", "127.0.0.1.evil.example", "evil.example:7860", "", "localhost.evil.example", "[::1].evil", "127.0.0.1@evil.example", "169.254.169.254", "nearmiss", "evil.example#127.0.0.1"]  # fmt: skip
    for host in hosts:
        answer = client.get("/api/data-sets", headers=bearer | {"Host": host})
        attempts.note("header", f"Host {host!r} {answer.status_code}", answer.status_code in (400, 421))
    believed = {
        "X-Original-URL": "/api/people",
        "X-Rewrite-URL": "/api/people",
        "X-Forwarded-User": "admin",
        "Remote-User": "admin",
        "X-Remote-User": "admin",
        "X-Forwarded-For": "127.0.0.1",
        "X-Real-IP": "127.0.0.1",
        "Forwarded": "for=127.0.0.1;host=evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Api-Key": "admin",
        "Authorization": "Basic YWRtaW46YWRtaW4=",
        "Cookie": "nearmiss_session=admin",
        "X-Nearmiss-User": "admin",
    }
    for (name, value), path in attempts.some(
        itertools.product(believed.items(), ("/api/data-sets", "/api/people", "/", "/metrics"))
    ):
        answer = client.get(path, headers={name: value})
        attempts.note("header", f"{name} {path} {answer.status_code}", answer.status_code in (401, 303))
    for junk in [
        "Bearer null",
        "Bearer undefined",
        "Bearer ' or 1=1 --",
        "Bearer " + "a" * 7000,
        "Bearer %00",
        "Token x",
    ]:
        answer = client.get("/api/data-sets", headers={"Authorization": junk})
        attempts.note("header", f"{junk[:30]} {answer.status_code}", answer.status_code in (401, 431, 400))
    for method in ("DELETE", "PUT", "PATCH"):
        for name in ("X-HTTP-Method-Override", "X-Method-Override", "_method"):
            answer = client.get("/api/people/1", headers=bearer | {name: method})
            attempts.note("header", f"{name} {method}", answer.status_code in (404, 405))
    for payload in (
        "%0d%0aSet-Cookie:%20x=1",
        "%0aX-Injected:%201",
        "%0d%0a%0d%0a<html>",
        "%E5%98%8A%E5%98%8DX-Injected:1",
    ):
        for path in ("/join/{}", "/api/{}", "/page/{}", "/log-in?next={}"):
            answer = client.get(path.format(payload), headers=bearer)
            clean = "x-injected" not in answer.headers and "x=1" not in answer.headers.get("set-cookie", "")
            attempts.note("header", f"{path} {payload}", clean and answer.status_code < 500)
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"):
        answer = client.get("/", headers={"Accept": "text/html"}, params={"next": target})
        attempts.note("header", f"redirect {target}", answer.headers.get("location") == "/log-in")


class Listener:
    """A server inside the network that must never be reached."""

    def __init__(self) -> None:
        outer = self
        self.heard = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.heard += 1
                self.send_response(200)
                self.end_headers()

            do_POST = do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()


def fill(database: Database, *, hostile: bool) -> dict[str, str]:
    """Two data sets and tokens of an admin and of a person who sees the first; `hostile`: captions are payloads."""
    migrate(database.engine)
    tokens = {}
    with database.transaction() as session:
        for number in (1, 2):
            said = SCRIPTS if hostile else ["a thing"]
            session.add(DataSet(id=number, name=f"{said[0]} {number}", attribution=said[1 % len(said)]))
            session.flush()
            rows = [
                NewRow(f"{i} {text}.png", f"{number * 1000 + i:064x}", 8, 8, f"{text} {i}", "train")
                for i, text in enumerate(said)
            ]
            add_rows(session, data_set_id=number, rows=rows)
        admin = add_person(session, name="admin", role="admin", password="long enough it is")
        person = add_person(session, name="person", role="viewer", password="long enough it is", limited=True)
        grant(session, person_id=person.id, data_set_id=1, role="annotator", by="admin")
        for row in (admin, person):
            tokens[row.name] = issue(session, person_id=row.id, kind="token", lives_s=3600)
        tokens["session"] = issue(session, person_id=admin.id, kind="session", lives_s=3600)
    return tokens


def in_browser(address: str, session_secret: str, attempts: Attempts) -> bool:
    """Opens every tab with hostile names and captions; whether there was a browser."""
    chromium = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
    if not chromium.exists():
        print("no Chromium: hostile captions were not opened in the page")
        return False
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(chromium), args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context()
        context.add_cookies([{"name": "nearmiss_session", "value": session_secret, "url": address}])
        page = context.new_page()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        page.wait_for_selector("button[role=tab]", timeout=120_000)
        page.wait_for_selector(".nm-card", timeout=120_000)
        for tab in page.locator("button[role=tab]").all():
            if tab.is_visible():
                tab.click()
                page.wait_for_timeout(1500)
        shown = page.evaluate("document.body.innerText.length") > 0
        ran = page.evaluate("window.__nearmiss_was_here === 1") or bool(dialogs)
        for payload in SCRIPTS:
            attempts.note("xss", f"in the page: {payload}", shown and not ran)
        browser.close()
    return True


def main() -> None:
    """Starts, attacks, writes."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--no-write", action="store_true", help="print only")
    wish = arguments.parse_args()
    home = Path(tempfile.mkdtemp(prefix="nm-attacks-"))
    (home / "roots").mkdir()
    port = free_port()
    settings = Settings(home=home)
    tokens = fill(Database(settings), hostile=True)
    env = os.environ | {"NEARMISS_HOME": str(home), "NEARMISS_PORT": str(port)}
    env |= {"NEARMISS_IMPORT_ROOTS": str(home / "roots")}
    listener, attempts = Listener(), Attempts()
    server = subprocess.Popen([sys.executable, "-m", "app.web"], env=env)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_page(f"{address}/healthz", timeout_s=300)
        with httpx.Client(base_url=address, timeout=60) as client:
            attack(client, tokens, attempts, listener=listener)
        with_browser = in_browser(address, tokens["session"], attempts)
    finally:
        server.terminate()
        server.wait(20)
        listener.close()
    payloads = sum(attempts.tried.values())
    figures = {
        "payloads": payloads,
        "blocked": payloads - len(attempts.failed),
        "by_kind": dict(attempts.tried),
    }
    figures |= {"browser": with_browser, "through": attempts.failed}
    print(figures)
    if not wish.no_write:
        from result import write_result

        write_result("attacks", figures)
    sys.exit(1 if attempts.failed else 0)


if __name__ == "__main__":
    main()
