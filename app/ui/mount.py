"""Puts the page at "/" of the application's FastAPI app."""

from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from app.ui.early_head import EarlyHead, preloads
from app.ui.page import HEAD, WORDS, build_page, theme

STATIC = Path(__file__).parent / "static"
QUEUE_LOOKS_EVERY_S = 0.5
LARGEST_UPLOAD = "1mb"  # the page uploads nothing through Gradio


def mount(server: FastAPI) -> FastAPI:
    """The same app with the page and its static files."""
    server.add_middleware(EarlyHead, head=preloads(STATIC) + HEAD)
    server.mount("/page", StaticFiles(directory=STATIC), name="page")  # /static is Gradio's own
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


def calm(page: gr.Blocks) -> None:
    """Gradio's queue looks every millisecond for work (8 % of a core); our page gives it none."""
    queue: Any = getattr(page, "_queue", None)
    if hasattr(queue, "sleep_when_free"):  # not documented: without it the page only costs more
        queue.sleep_when_free = QUEUE_LOOKS_EVERY_S
