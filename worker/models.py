"""From a model's row to towers: open_clip's names as they are, results of runs and the demo's base from their folders."""

from pathlib import Path

from app import demo
from app.errors import NearmissError
from app.media.store import MediaStore
from app.settings import Settings
from app.store.models import Model
from clipcore.config import ModelConfig


def has_towers(model: Model) -> bool:
    """False for a model that is known only by the vectors that a data set brought."""
    return not model.location.startswith("vectors:")


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


def model_config(settings: Settings, model: Model) -> ModelConfig:
    """The part of a training configuration that says where the weights are."""
    return ModelConfig(name=tower_name(settings, model.location), pretrained=model.pretrained)
