"""Puts the page at "/" of the application's FastAPI app."""

from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from app.ui.early_head import EarlyHead, preloads
from app.ui.page import HEAD, WORDS, build_page, theme

STATIC = Path(__file__).parent / "static"
LARGEST_UPLOAD = "1mb"  # the page uploads nothing through Gradio


def mount(server: FastAPI) -> FastAPI:
    """The same app with the page and its static files."""
    server.add_middleware(EarlyHead, head=preloads(STATIC) + HEAD)
    server.mount("/page", StaticFiles(directory=STATIC), name="page")  # /static is Gradio's own
    return gr.mount_gradio_app(
        server,
        build_page(),
        path="/",
        theme=theme(),
        i18n=WORDS,
        show_error=False,
        allowed_paths=[],
        max_file_size=LARGEST_UPLOAD,
        footer_links=[],
    )
