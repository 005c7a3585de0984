"""From a model's row to towers: open_clip's names as they are, results of runs and the demo's base from their folders."""

from pathlib import Path

from app import demo
from app.media.store import MediaStore
from app.settings import Settings
from app.store.models import Model
from clipcore.config import ModelConfig


def tower_name(settings: Settings, location: str) -> str:
    """What clipcore loads: `media:KEY` is fetched into the home folder, `demo:…` lies in the package."""
    if location.startswith("media:"):
        key = location.removeprefix("media:")
        folder = settings.home.resolve() / "models" / Path(key).stem
        if not (folder / "open_clip_config.json").exists():
            MediaStore(settings.resolved_media_url).get_folder(key, folder)
        return f"local-dir:{folder}"
    if location.startswith("demo:"):
        return f"local-dir:{demo.BASE_MODEL}"
    return location


def model_config(settings: Settings, model: Model) -> ModelConfig:
    """The part of a training configuration that says where the weights are."""
    return ModelConfig(name=tower_name(settings, model.location), pretrained=model.pretrained)
