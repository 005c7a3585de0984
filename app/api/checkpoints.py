"""A folder of the media store as one zip, written to a temporary file and sent from there."""

import shutil
import tempfile
import zipfile
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response

from app.actions.sweep import ARCHIVE
from app.media.store import MediaStore


def zip_of_folder(store: MediaStore, key: str, *, name: str) -> Response:
    """The files under `name/` in `name.zip`, stored without compression: weights do not shrink."""
    with tempfile.NamedTemporaryFile(prefix=ARCHIVE, suffix=".zip", delete=False) as file:
        path = Path(file.name)
        try:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for member, file_key in store.manifest(key).items():
                    with store.open(file_key) as source, archive.open(f"{name}/{member}", "w") as target:
                        shutil.copyfileobj(source, target, 2**20)
        except BaseException:
            path.unlink()
            raise
    return FileResponse(
        path,
        media_type="application/zip",
        filename=f"{name}.zip",
        background=BackgroundTask(path.unlink, missing_ok=True),
    )
