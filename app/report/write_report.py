"""A run as one HTML file: data as JSON, pictures inside, drawn by the page's modules. Nothing in it is loaded."""

import base64
import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from app.errors import NotFound
from app.media.pictures import thumbnail_keys
from app.media.store import MediaStore
from app.report.bundle import STATIC, bundle

STYLES = ("style.css", "runs.css")
MOST_PICTURES = 400
# the report's own: pictures are inside, and nothing is fetched
PICTURES = """
const inside = JSON.parse(document.getElementById("nm-pictures").textContent);
export const picture = (imageId) => inside[imageId] ?? "data:,";
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body class="gradio-container">
<main class="nm-root nm-report-page" id="nm-report"><p class="nm-meta">This report draws itself with the script inside; switch scripts on.</p></main>
<script type="application/json" id="nm-data">{data}</script>
<script type="application/json" id="nm-pictures">{pictures}</script>
<script>
{script}
</script>
</body>
</html>
"""


@dataclass(frozen=True)
class ReportData:
    """What a report shows, in the shapes of the API: the page's modules read both alike."""

    run: Any
    events: list[Any]
    previews: Any
    captions: Mapping[int, str]
    gains: list[Any]
    comparison: Any | None
    written_at: str
    version: str


def write_report(data: ReportData, *, store: MediaStore, sha256: Mapping[int, str]) -> str:
    """The file's text. `sha256`: image id → picture in the media store."""
    return PAGE.format(
        title=html.escape(f"{data.run.name} · Nearmiss"),
        style="\n".join((STATIC / name).read_text(encoding="utf-8") for name in STYLES),
        data=_json(asdict(data)),
        pictures=_json(dict(_pictures(sha256, store))),
        script=bundle("report.js", replaced={"api.js": PICTURES}).replace("</script", "<\\/script"),
    )


def _json(value: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _pictures(sha256: Mapping[int, str], store: MediaStore) -> Iterable[tuple[int, str]]:
    for image_id, name in list(sha256.items())[:MOST_PICTURES]:
        for key in thumbnail_keys(name, px=256):
            try:
                data = store.get(key)
            except NotFound:
                continue  # erased since
            yield image_id, f"data:image/webp;base64,{base64.b64encode(data).decode()}"
            break
