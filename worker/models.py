"""From a model's row to towers: open_clip's names as they are, results of runs and the demo's base from their folders."""

from app.actions.tower_name import tower_name
from app.settings import Settings
from app.store.models import Model
from clipcore.config import ModelConfig


def has_towers(model: Model) -> bool:
    """False for a model that is known only by the vectors that a data set brought."""
    return not model.location.startswith("vectors:")


def model_config(settings: Settings, model: Model) -> ModelConfig:
    """The part of a training configuration that says where the weights are."""
    return ModelConfig(name=tower_name(settings, model.location), pretrained=model.pretrained)
