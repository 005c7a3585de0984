"""What one data set's pictures and runs hold, against `NEARMISS_DATA_SET_QUOTA_GB`: one group cannot fill everybody's disk."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.actions.collect_garbage import disk_of_run
from app.errors import NearmissError
from app.media.pictures import THUMBNAILS_PX, original_key, thumbnail_key
from app.media.store import MediaStore
from app.store.database import settings_of
from app.store.models import Image, Run

# (media store, data set) → (its number of images and the newest one, bytes): pictures change at imports only
_counted: dict[tuple[str, int], tuple[tuple[int, int], int]] = {}


def over_quota(session: Session, data_set_id: int) -> str | None:
    """The refusal, where the data set holds more than it may; nothing is counted where there is no limit."""
    limit_gb = settings_of(session).data_set_quota_gb
    if not limit_gb:
        return None
    pictures, runs = _bytes_of_pictures(session, data_set_id), _bytes_of_runs(session, data_set_id)
    if pictures + runs <= limit_gb * 1e9:
        return None
    return (
        f"This data set holds {(pictures + runs) / 1e9:.2f} GB (pictures {pictures / 1e9:.2f}, runs {runs / 1e9:.2f})"
        f" and may hold {limit_gb:g} GB: let `nearmiss gc` take old runs, or ask for a higher NEARMISS_DATA_SET_QUOTA_GB."
    )


def check_data_set_quota(session: Session, data_set_id: int) -> None:
    """Raises NearmissError with the sentence of `over_quota`."""
    if said := over_quota(session, data_set_id):
        raise NearmissError(said)


def _bytes_of_pictures(session: Session, data_set_id: int) -> int:
    """Originals in the media store and thumbnails; the same bytes in two data sets count in both."""
    url = settings_of(session).resolved_media_url
    images = select(func.count(), func.coalesce(func.max(Image.id), 0)).where(
        Image.data_set_id == data_set_id
    )
    count, newest = session.execute(images).one()
    known = _counted.get((url, data_set_id))
    if known is not None and known[0] == (count, newest):
        return known[1]
    hashes = (
        select(Image.sha256).where(Image.data_set_id == data_set_id, Image.erased_at.is_(None)).distinct()
    )
    keys: set[str] = set()
    for sha256 in session.scalars(hashes):
        keys |= {original_key(sha256), *(thumbnail_key(sha256, px=px) for px in THUMBNAILS_PX)}
    media = MediaStore(url)
    total = sum(size for kind in ("images", "thumbnails") for key, size, _ in media.walk(kind) if key in keys)
    _counted[url, data_set_id] = ((count, newest), total)
    return total


def _bytes_of_runs(session: Session, data_set_id: int) -> int:
    disks = [
        disk_of_run(session, run_id)
        for run_id in session.scalars(select(Run.id).where(Run.data_set_id == data_set_id))
    ]
    return sum(disk.training_bytes + disk.result_bytes + disk.folder_bytes for disk in disks)
