"""Logs of every process: one line a message, with the request's or the job's id, never with a secret."""

import json
import logging
import time
from contextvars import ContextVar

from app.redact import hide, hide_passwords_of, redact
from app.settings import Settings

request_id: ContextVar[str] = ContextVar("request_id", default="")
job_id: ContextVar[str] = ContextVar("job_id", default="")
FIELDS = ("method", "route", "status", "duration_ms", "person")  # given as `extra`


def begin_logs(settings: Settings) -> None:
    """Once per process: NEARMISS_LOG_JSON decides the form; requests are logged only as JSON."""
    hide_secrets(settings)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_json else Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("nearmiss.requests").setLevel(logging.INFO if settings.log_json else logging.WARNING)


def hide_secrets(settings: Settings) -> None:
    """What these settings hold back."""
    hide_passwords_of(
        [settings.database_url, settings.broker_url, settings.media_url, *settings.webhooks.split()]
    )
    hide([settings.oidc_client_secret.get_secret_value()])


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the ids where there are some."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        line |= {"logger": record.name, "message": record.getMessage()}
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        line |= {k: v for k, v in (("request_id", request_id.get()), ("job_id", job_id.get())) if v}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str, ensure_ascii=False))


class Lines(logging.Formatter):
    """For people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line, with its traceback."""
        named = " ".join(part for part in (request_id.get(), job_id.get()) if part)
        return redact(super().format(record) + (f" [{named}]" if named else ""))
