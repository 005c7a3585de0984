"""`nearmiss finetune run.yaml …`: with `--pairs` clipcore's command, else a run without queue and page. A configuration from the page may name this installation's models."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from app.actions.tower_name import OURS, tower_name
from app.settings import get_settings


def run(arguments: Sequence[str]) -> None:
    """Becomes `python -m clipcore` with the same arguments where they name files, else a run on a snapshot of this installation."""
    if not any(x == "--pairs" or x.startswith("--pairs=") for x in arguments):
        os.execv(sys.executable, [sys.executable, "-m", "worker.by_hand", *arguments])
    resolved = model_of(arguments)
    more = ["--model", resolved] if resolved else []
    os.execv(sys.executable, [sys.executable, "-m", "clipcore", *arguments, *more])


def model_of(arguments: Sequence[str]) -> str | None:
    """The folder of a model that only this installation knows by its name; None where clipcore finds it alone."""
    if any(x == "--model" or x.startswith("--model=") for x in arguments):
        return None
    for path in (Path(x) for x in arguments if x.endswith((".yaml", ".yml"))):
        try:
            name = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["name"]
        except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError):
            return None  # clipcore says what is wrong with it
        if isinstance(name, str) and name.startswith(OURS):
            return tower_name(get_settings(), name)
    return None
