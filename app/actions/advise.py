"""What a configuration is not made for on the model it starts from, as sentences beside the button; docs/runs.md has the figures."""

from app.store.models import Model
from clipcore.config import FineTuneConfig

SMALL_LR = 1e-4  # below it the demo's base hardly moves in the few steps that its data gives


def advise(model: Model, config: FineTuneConfig) -> list[str]:
    """Empty where nothing speaks against it."""
    if config.model.from_scratch:
        return []
    told = []
    if config.loss.heads.get("sigmoid") and not _speaks_sigmoid(model):
        told.append(
            "The sigmoid loss is for models that were trained with it (SigLIP). A base trained with a softmax loss, as"
            " most CLIP models, loses at first: on the demo mAP@R fell. Choose Full or LoRA unless you train for long."
        )
    elif (
        model.location.startswith("demo:") and config.model.train == "all" and config.optimiser.lr < SMALL_LR
    ):
        told.append(
            f"A learning rate of {config.optimiser.lr:g} is made for large pretrained models; the demo's small base"
            " gains nothing by it. With 3e-4 and 3 epochs it gained in each of our runs (docs/runs.md): see Budget."
        )
    return told


def _speaks_sigmoid(model: Model) -> bool:
    """By its name: results of earlier SigLIP runs bear the preset's."""
    return "siglip" in f"{model.name} {model.location} {model.pretrained}".lower()
