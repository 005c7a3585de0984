"""Puts the page at "/" of the application's FastAPI app."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from fastapi import FastAPI

from app.ui.early_head import EarlyHead, Head, modules
from app.ui.page import STYLES, WORDS, build_page, head, theme
from app.ui.page_files import PageFiles

STATIC = Path(__file__).parent / "static"
GRADIO = Path(gr.__file__).parent / "templates/frontend/assets"
QUEUE_LOOKS_EVERY_S = 0.5
LARGEST_UPLOAD = "1mb"  # the page uploads nothing through Gradio


def mount(server: FastAPI) -> FastAPI:
    """The same app with the page and its static files."""
    files = PageFiles(STATIC, joined={"all.css": tuple(f"{name}.css" for name in STYLES)})
    server.add_middleware(EarlyHead, head=heads(f"/page/{files.version}"))
    server.add_route("/page/{version}/{name:path}", files.answer)  # /static is Gradio's own
    server.add_route("/assets/{name:path}", PageFiles(GRADIO).answer)
    page = build_page()
    mounted = gr.mount_gradio_app(
        server,
        page,
        path="/",
        theme=theme(),
        i18n=WORDS,
        show_error=False,
        allowed_paths=[],
        max_file_size=LARGEST_UPLOAD,
        footer_links=[],
    )
    calm(page)
    return mounted


def heads(at: str) -> Callable[[str], Head]:
    """The head for an address by its query: with the desk's modules where it leads to the desk, else with Explore's."""
    desk = head(at, modules(STATIC, "app.js", "curate.js"))
    explore = head(at, modules(STATIC, "app.js", "explore.js"))
    return lambda query: desk if "view" in parse_qs(query) else explore


def calm(page: gr.Blocks) -> None:
    """Gradio's queue looks every millisecond for work (8 % of a core); our page gives it none."""
    queue: Any = getattr(page, "_queue", None)
    if hasattr(queue, "sleep_when_free"):  # not documented: without it the page only costs more
        queue.sleep_when_free = QUEUE_LOOKS_EVERY_S
