"""What clipcore is told to load for a model: open_clip's own names pass, ours become folders."""

from pathlib import Path

from app import demo
from app.errors import NearmissError
from app.media.store import MediaStore
from app.settings import Settings

OURS = ("demo:", "media:", "vectors:")


def tower_name(settings: Settings, location: str) -> str:
    """What clipcore loads: `media:KEY` is fetched into the home folder, `demo:…` lies in the package."""
    if location.startswith("media:"):
        key = location.removeprefix("media:")
        folder = settings.home.resolve() / "models" / Path(key).stem
        if not (folder / "open_clip_config.json").exists():
            MediaStore(settings.resolved_media_url).get_folder(key, folder)
        return f"local-dir:{folder}"
    if location.startswith("vectors:"):
        raise NearmissError(
            "this model has only the vectors that came with its data set; choose a model with weights"
        )
    if location.startswith("demo:"):
        return f"local-dir:{demo.BASE_MODEL}"
    return location


def portable_name(location: str, run_id: int | None) -> str:
    """What a program outside of this installation loads: a run's result by the name of its unpacked download."""
    if location.startswith("media:"):
        return f"local-dir:nearmiss-run-{run_id}"
    if location.startswith("demo:"):
        return f"local-dir:{demo.BASE_MODEL}"
    return location
