"""The HTTP routes: JSON in and out, errors as one sentence each."""

from app.api.server import create_app

__all__ = ["create_app"]
