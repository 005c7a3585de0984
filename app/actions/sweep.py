"""Ends what is private and for a while only: uploads after a day, archives that were made for a download and left behind."""

import logging
import tempfile
import time
from pathlib import Path

from app.actions.import_data_set import uploads_of
from app.settings import Settings

log = logging.getLogger(__name__)
EVERY_S = 3600.0
ARCHIVE = "nearmiss-archive-"  # how the names of such archives begin
ARCHIVE_LIFE_S = 24 * 3600.0  # the longest download


def sweep(settings: Settings) -> None:
    """One pass; what cannot be deleted is logged and tried again at the next."""
    uploads_of(settings).expire()
    for path in Path(tempfile.gettempdir()).glob(f"{ARCHIVE}*"):
        try:
            if path.stat().st_mtime + ARCHIVE_LIFE_S < time.time():
                path.unlink()
        except OSError as error:
            log.warning("the old archive %s stays: %s", path, error)
