"""Who may import whom, seen at run time: the web process carries no torch, clipcore carries nothing of ours."""

import subprocess
import sys

import pytest

HEADLESS = [
    "app.settings",
    "app.store.models",
    "app.actions.decide",
    "app.actions.start_run",
    "app.jobs.send",
    "app.media.store",
]


@pytest.mark.parametrize("module", HEADLESS)
def test_headless_module_brings_neither_torch_nor_gradio(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'gradio', 'open_clip') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_clipcore_needs_none_of_gradio_celery_sqlalchemy():
    code = "import sys, clipcore; clipcore.PairLabels; print([m for m in ('torch', 'gradio', 'celery', 'sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
