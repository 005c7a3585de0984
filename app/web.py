"""The web process: routes and page. `python -m app.web`."""

import sys

import uvicorn
from fastapi import FastAPI

from app.actions.first_start import say_first_password
from app.api.server import create_app
from app.errors import NearmissError
from app.logs import begin_logs
from app.settings import get_settings
from app.ui.mount import mount

STREAMS_END_WITHIN_S = 2  # an open events stream would else hold a stop for as long as its reader stays


def build() -> FastAPI:
    """Routes first, the page at "/" around them."""
    return mount(create_app(get_settings()))


if __name__ == "__main__":
    settings = get_settings()
    begin_logs(settings)
    try:
        say_first_password(settings)
        app = build()
    except NearmissError as error:
        sys.exit(f"nearmiss: {error}")
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,  # ours, without secrets
        access_log=False,
        proxy_headers=False,  # NEARMISS_TRUSTED_PROXIES decides, not uvicorn's default
        server_header=False,
        timeout_graceful_shutdown=STREAMS_END_WITHIN_S,
    )
