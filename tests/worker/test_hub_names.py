"""`hf:OWNER/NAME` against a stand-in for the hub on this machine: the real `datasets` client, no real hub.

No hub can be reached from where the tests run, so nothing here says that huggingface.co itself answers like this.
"""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.import_desk import png

pytest.importorskip("datasets")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def parquet(rows: list[tuple[int, str]]) -> bytes:
    out = io.BytesIO()
    pictures = [{"bytes": png(value), "path": f"{value}.png"} for value, _ in rows]
    about = {
        "info": {"features": {"image": {"_type": "Image"}, "caption": {"dtype": "string", "_type": "Value"}}}
    }
    table = pa.table({"image": pictures, "caption": [caption for _, caption in rows]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), out)
    return out.getvalue()


FILES = {
    "README.md": b"---\nlicense: cc0-1.0\n---\n",
    "data/train-00000-of-00001.parquet": parquet([(1, "one"), (1, "uno"), (2, "two")]),
    "data/test-00000-of-00001.parquet": parquet([(3, "three")]),
}


class Hub(BaseHTTPRequestHandler):
    """What the client asks of a hub with one public data set, owner/shop, and one that is gated."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if "owner/gated" in path:
            return self.answer(403, {"error": "Access to dataset owner/gated is restricted"}, gated=True)
        if "owner/shop" not in path:
            return self.answer(404, {"error": "Repository not found"})
        if "/resolve/" in path:
            name = path.partition("/resolve/")[2].partition("/")[2]
            return self.file(FILES.get(name))
        if "/tree/" in path:
            folder = path.partition("/tree/")[2].partition("/")[2]
            return self.answer(200, self.tree(folder))
        if "/paths-info/" in path:
            return self.answer(200, [self.entry(name) for name in FILES])
        siblings = [{"rfilename": name} for name in FILES]
        return self.answer(
            200, {"id": "owner/shop", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
        )

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if "/paths-info/" in self.path and "owner/shop" in self.path:
            asked = unquote(body)
            found = [self.entry(name) for name in FILES if name in asked]
            if "data" in asked and not found:
                found = [{"type": "directory", "path": "data", "oid": "0" * 40}]
            return self.answer(200, found)
        return self.answer(404, {"error": "not found"})

    def tree(self, folder: str) -> list[dict[str, object]]:
        inside = [self.entry(name) for name in FILES if name.startswith(f"{folder}/" if folder else "")]
        if folder:
            return inside
        return [one for one in inside if "/" not in str(one["path"])] + [
            {"type": "directory", "path": "data", "oid": "0" * 40, "size": 0}
        ]

    def entry(self, name: str) -> dict[str, object]:
        return {"type": "file", "path": name, "oid": "0" * 40, "size": len(FILES[name])}

    def file(self, data: bytes | None) -> None:
        if data is None:
            return self.answer(404, {"error": "Entry not found"}, missing=True)
        begin, end = 0, len(data) - 1
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or end), end)
        part = data[begin : end + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        if wanted:
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(data)}")
        self.send_header("ETag", '"abc"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(part)

    def answer(self, status: int, body: object, *, gated: bool = False, missing: bool = False) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound" if missing else "RepoNotFound")
        if gated:
            self.send_header("X-Error-Code", "GatedRepo")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


GIVEN = ("owner/shop", "owner/nothing", "owner/gated", "no name at all", "../../etc/passwd")


def read(names: tuple[str, ...], endpoint: str, home: Path, *, offline: bool = False) -> dict[str, Any]:
    """By name the rows or the sentence, in a process of its own: the client reads its endpoint when it is imported."""
    code = (
        "import json, sys\nfrom app.errors import NearmissError\nfrom app.sources.open_source import open_source\n"
        "found = {}\nfor name in sys.argv[1:]:\n    try:\n"
        "        found[name] = [[r.key, r.caption, r.split, len(r.image)] for r in open_source(f'hf:{name}')[0]]\n"
        "    except NearmissError as error:\n        found[name] = str(error)\n"
        "print(json.dumps(found))\n"
    )
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    env |= {"PYTHONPATH": str(Path(__file__).parents[2]), "HF_HUB_OFFLINE": str(int(offline))}
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def found(hub: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return read(GIVEN, hub, tmp_path_factory.mktemp("hub"))


def test_a_name_on_the_hub_is_streamed_with_its_splits(found):
    assert [row[:3] for row in found["owner/shop"]] == [
        ["1.png", "one", "train"],
        ["1.png", "uno", "train"],
        ["2.png", "two", "train"],
        ["3.png", "three", "held_out"],
    ]
    assert found["owner/shop"][0][3] == len(png(1))


@pytest.mark.parametrize("name", GIVEN[1:])
def test_what_the_hub_does_not_give_is_a_sentence_with_the_name(found, name):
    assert name in found[name] and "cannot be had from the hub" in found[name] and "\n" not in found[name]


def test_a_client_that_is_kept_offline_says_so(hub, tmp_path):
    said = read(("owner/shop",), hub, tmp_path, offline=True)["owner/shop"]
    assert "check name and network" in said and "\n" not in said
