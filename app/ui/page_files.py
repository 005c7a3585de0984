"""The page's modules and styles, Gradio's too, kept in memory and compressed once.

A first page asks for dozens of them at once; each look at the disk and each compression was a turn of the only thread
that answers (1.7 ms of it for a module of ours, 2 to 5 ms for one of Gradio's; now 0.7).
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FOR_EVER = "public, max-age=31536000, immutable"
GZIP_LEVEL = 6


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent."""

    media_type: str
    plain: bytes
    zipped: bytes


class PageFiles:
    """The files under `folder`, whose addresses name their content: a browser never asks twice for one.

    `joined`: name → files of the folder that are sent as one. `version` names the state of all, for addresses.
    """

    def __init__(self, folder: Path, *, joined: dict[str, tuple[str, ...]] | None = None) -> None:
        self._parts: dict[str, tuple[Path, ...]] = {
            path.relative_to(folder).as_posix(): (path,) for path in folder.rglob("*.*")
        }
        self._parts |= {name: tuple(folder / one for one in names) for name, names in (joined or {}).items()}
        self._kept: dict[str, PageFile] = {}
        stamps = sorted((name, [path.stat().st_mtime_ns for path in at]) for name, at in self._parts.items())
        self.version = hashlib.sha256(repr(stamps).encode()).hexdigest()[:12]

    async def answer(self, request: Request) -> Response:
        """One file; a page that was opened before an update gets today's, which it must not keep."""
        name = request.path_params["name"]
        if name not in self._parts:
            return Response(status_code=404)
        if name not in self._kept:
            self._kept[name] = _read(name, self._parts[name])
        file = self._kept[name]
        lasts = FOR_EVER if request.path_params.get("version", self.version) == self.version else "no-cache"
        headers = {"Cache-Control": lasts, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(file.zipped, media_type=file.media_type, headers=headers)
        return Response(file.plain, media_type=file.media_type, headers=headers)


def _read(name: str, paths: tuple[Path, ...]) -> PageFile:
    data = b"\n".join(path.read_bytes() for path in paths)
    # some systems' tables call modules text/plain, which a browser refuses to run
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
    return PageFile(kind or "application/octet-stream", data, gzip.compress(data, GZIP_LEVEL, mtime=0))
