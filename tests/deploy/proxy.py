"""The proxy of docker-compose.yml in front of a web process, both as plain processes: does a team's browser get what it should?

    sudo python tests/deploy/proxy.py          needs caddy and curl, and root for a network of its own

The proxy's command is read from the resolved compose file; only names and ports are replaced. Seen through it: HTTP/2 by
TLS, a log-in whose cookie is Secure, HttpOnly and SameSite, HSTS, a foreign Host and Origin refused, the client's own
address counted (not the proxy's), an event stream that is not held back, an upload in pieces. Not seen: Let's Encrypt.
"""

import ctypes
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from clock import wait, wait_for_page  # both lie beside the benchmarks
from servers import free_port
from test_compose import resolved

from app.actions.accounts import add_person
from app.settings import Settings
from app.store.database import Database
from app.store.models import Event
from app.store.schema import migrate
from tests.resting_run import add_resting_run

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = secrets.token_urlsafe(16)
PIECE = 1 << 20
CLONE_NEWNET = 0x40000000
LATE_S = 3.0  # the stream looks for news once a second


class Site:
    """curl through the proxy, with a cookie jar."""

    def __init__(self, folder: Path, port: int, authority: Path):
        self.folder, self.address = folder, f"https://localhost:{port}"
        self.base = ["curl", "-sS", "--http2", "--cacert", str(authority), "-b", str(folder / "jar")]

    def ask(self, path: str, *options: str, body: bytes | None = None) -> tuple[int, str, str, str]:
        """Status, protocol, head and body of an answer."""
        head, said = self.folder / "head", self.folder / "said"
        wish = ["-D", str(head), "-o", str(said), "-w", "%{http_code} %{http_version}"]
        sending = [] if body is None else ["--data-binary", "@-"]
        command = [*self.base, *wish, *sending, *options, self.address + path]
        done = subprocess.run(command, input=body or b"", capture_output=True, timeout=60)
        if done.returncode != 0:
            raise SystemExit(f"{path}: {done.stderr.decode()}")
        status, protocol = done.stdout.decode().split()
        return int(status), protocol, head.read_text(), said.read_text(errors="replace")


def main() -> int:
    """The exit code is 1 when something was not as it should be."""
    for tool in ("caddy", "curl"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing; install it")
    if os.geteuid() != 0 or ctypes.CDLL("libc.so.6").unshare(CLONE_NEWNET) != 0:
        sys.exit("a network of its own (the proxy takes port 80) needs root: run it with sudo")
    refuse_a_bad_file()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    folder = Path(tempfile.mkdtemp(prefix="nm-proxy-", dir="/tmp"))
    web_port, port = free_port(), free_port()
    settings = Settings(home=folder / "home")
    (folder / "home").mkdir()
    database = Database(settings)
    prepare(database)
    own = {
        "NEARMISS_HOME": str(folder / "home"),
        "NEARMISS_PORT": str(web_port),
        "NEARMISS_HOSTS": "localhost",
        "NEARMISS_TRUSTED_PROXIES": "127.0.0.1 ::1",
    }
    processes = []
    try:
        with (folder / "log").open("wb") as log:
            web = [sys.executable, "-m", "app.web"]
            processes.append(subprocess.Popen(web, cwd=ROOT, env=os.environ | own, stdout=log, stderr=log))
            processes.append(proxy(folder, port, web_port, log))
        authority = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        told = partial((folder / "log").read_text, errors="replace")
        wait_for_page(f"http://127.0.0.1:{web_port}/healthz", timeout_s=180, told=told)
        wait("the proxy's certificate", authority.exists, timeout_s=180, told=told)
        site = Site(folder, port, authority)
        healthy = ("the proxy", lambda: site.ask("/healthz")[0] == 200)
        wait(*healthy, timeout_s=180, told=told, not_yet=(SystemExit,))
        return look(site, database)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)
        database.close()
        shutil.rmtree(folder, ignore_errors=True)


def refuse_a_bad_file() -> None:
    """Ends here where the proxy would not take its file for a site with a public name."""
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"NEARMISS_SITE": "nearmiss.example.org", "HOME": home}
        command = ["caddy", "validate", "--config", str(ROOT / "Caddyfile"), "--adapter", "caddyfile"]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the Caddyfile is not valid for a site: {done.stderr}")
    print("yes  the file is valid for a site with a public name", flush=True)


def proxy(folder: Path, port: int, web_port: int, log: Any) -> subprocess.Popen[bytes]:
    """The service's own command; as nobody with its one capability, because a root's would be trusted by the machine."""
    (folder / "caddy").mkdir()
    service = resolved()["services"]["proxy"]
    shutil.copy(ROOT / "Caddyfile", folder)
    command = [word.replace("/etc/caddy", str(folder)) for word in service["command"]]
    here = {"NEARMISS_SITE": f"https://localhost:{port}", "NEARMISS_WEB": f"127.0.0.1:{web_port}"}
    assert service["environment"].keys() == here.keys()
    env = {"PATH": os.environ["PATH"], "HOME": str(folder / "caddy"), "XDG_DATA_HOME": str(folder)} | here
    shutil.chown(folder / "caddy", "nobody")
    folder.chmod(0o755)
    (folder / "Caddyfile").chmod(0o644)
    nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    nobody += ["--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"]
    return subprocess.Popen([*nobody, *command], env=env, stdout=log, stderr=log, cwd=folder / "caddy")


def prepare(database: Database) -> None:
    """An admin, and a run that goes on, with no worker: its events are written here."""
    migrate(database.engine)
    with database.transaction() as session:
        add_person(session, name="ana", role="admin", password=PASSWORD)
        add_resting_run(session)


def look(site: Site, database: Database) -> int:
    """Says each thing with yes or NO; 1 when there was a NO."""
    bad = 0

    def told(what: str, true: bool, seen: Any = "") -> None:
        nonlocal bad
        bad += not true
        print(f"{'yes' if true else 'NO '}  {what}" + ("" if true else f": {seen}"), flush=True)

    status, protocol, head, _ = site.ask("/log-in")
    told("the log-in page comes by HTTP/2", (status, protocol) == (200, "2"), (status, protocol))
    told("browsers are told to stay with TLS", "strict-transport-security" in head.lower(), head)
    told("strangers get nothing else", site.ask("/api/me")[0] == 401)
    jar = ["-c", str(site.folder / "jar")]
    fields = ["--data-urlencode", "name=ana", "--data-urlencode", f"password={PASSWORD}"]
    origin = ["-H", f"Origin: {site.address}"]
    status, _, head, said = site.ask("/log-in", *jar, *origin, *fields)
    cookie = next((line for line in head.splitlines() if line.lower().startswith("set-cookie")), "").lower()
    told("one can log in", status == 303, (status, said[:300]))
    told(
        "the cookie is for TLS only", all(w in cookie for w in ("secure", "httponly", "samesite=lax")), cookie
    )
    status, _, _, said = site.ask("/api/me")
    told("the log-in holds", status == 200 and json.loads(said)["name"] == "ana", said[:300])
    told("the page comes", site.ask("/", "-H", "Accept: text/html")[0] == 200)
    status, _, _, _ = site.ask("/api/me", "-H", "Origin: https://evil.example")
    told("another site's requests are refused", status == 403, status)

    ours = ["-H", "X-Nearmiss: 1"]
    upload = json.loads(site.ask("/api/uploads", *ours, "-X", "POST")[3])["id"]
    data = secrets.token_bytes(3 * PIECE)
    for at in range(0, len(data), PIECE):
        path = f"/api/uploads/{upload}/file?name=a.bin&offset={at}"
        status, _, _, said = site.ask(path, *ours, "-X", "PUT", body=data[at : at + PIECE])
        told(f"piece {at // PIECE + 1} of an upload passes", status == 200, (status, said))
    told("all of it arrived", json.loads(site.ask(f"/api/uploads/{upload}")[3])["num_bytes"] == len(data))

    delays = stream(site, database)
    told(f"events come at once ({', '.join(f'{d:.1f}' for d in delays)} s)", max(delays) < LATE_S, delays)

    wrong = ["--data-urlencode", "name=ana", "--data-urlencode", "password=wrong"]
    statuses = {
        site.ask("/log-in", *origin, *wrong, "-H", f"X-Forwarded-For: 9.9.9.{i}")[0] for i in range(12)
    }
    told("nobody forges an address to try more passwords", 429 in statuses, statuses)
    return int(bad > 0)


def stream(site: Site, database: Database) -> list[float]:
    """Seconds from the writing of each of three events to its line at the reader's."""
    reader = subprocess.Popen(
        [*site.base, "-N", f"{site.address}/api/runs/1/events/stream"], stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    delays = []
    try:
        for number in range(3):
            with database.transaction() as session:
                session.add(Event(job_id=1, kind="note", body={"number": number}))
            began = time.monotonic()
            for line in reader.stdout:
                if line.startswith("data:") and f'"number": {number}' in line:
                    break
            else:
                raise SystemExit("the event stream ended")
            delays.append(time.monotonic() - began)
    finally:
        reader.kill()
        reader.wait()
    return delays


if __name__ == "__main__":
    sys.exit(main())
