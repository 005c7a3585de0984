"""The web process: routes and page. `python -m app.web`."""

import uvicorn
from fastapi import FastAPI

from app.api.server import create_app
from app.settings import get_settings
from app.ui.mount import mount


def build() -> FastAPI:
    """Routes first, the page at "/" around them."""
    return mount(create_app(get_settings()))


def run() -> None:
    """Serves until SIGTERM."""
    settings = get_settings()
    uvicorn.run(build(), host=settings.host, port=settings.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    run()
