"""Celery that looks for a broker that is away every two seconds."""

from functools import partial
from typing import Any

from celery import Celery
from kombu.connection import Connection


class Patient(Celery):
    """Celery's own pauses grow to 30 s, so that after ten minutes without a broker work began again half a minute late."""

    def connection_for_read(self, *args: Any, **kwargs: Any) -> Connection:
        """A worker's connection."""
        connection = super().connection_for_read(*args, **kwargs)
        connection.ensure_connection = partial(
            connection.ensure_connection, interval_start=2, interval_step=0
        )
        return connection
