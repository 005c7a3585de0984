"""Pictures by the image's id: immutable, so that a browser asks once."""

from typing import Literal

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from app.api.access import Db, Id
from app.errors import NotFound
from app.media.pictures import mime_type, original_key, thumbnail_keys
from app.media.store import MediaStore
from app.store.models import Image

router = APIRouter(prefix="/api/images")
FOR_EVER = "private, max-age=31536000, immutable"


@router.get("/{image_id}/{size}")
def picture(
    image_id: Id, size: Literal["256", "512", "original"], request: Request, database: Db
) -> Response:
    """The thumbnail of 256 or 512 px, or the original file."""
    with database.reading() as session:
        image = session.get(Image, image_id)
        if image is None or image.erased_at is not None:
            raise NotFound(f"there is no image {image_id}, or it was erased; reload the page")
        sha256 = image.sha256
    headers = {"Cache-Control": FOR_EVER, "ETag": f'"{sha256}-{size}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    store = MediaStore(database.settings.resolved_media_url)
    keys = [original_key(sha256)] if size == "original" else thumbnail_keys(sha256, px=int(size))
    key = next((key for key in keys if store.exists(key)), keys[0])
    path = store.local_path(key)
    if path is None or size == "original":
        data = store.get(key)
        media_type = mime_type(data) if size == "original" else "image/webp"
        return Response(data, media_type=media_type, headers=headers)
    if not path.is_file():
        raise NotFound(
            f"the picture of image {image_id} is not in the media store; import the data set again"
        )
    return FileResponse(path, media_type="image/webp", headers=headers)
