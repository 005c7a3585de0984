"""What a person can do wrong at the start is one sentence with the remedy, and nothing is lost."""

import os
import socket
import subprocess
import sys

import pytest

from app.api.server import create_app
from app.errors import NearmissError
from app.settings import Settings
from app.store.database import Database
from app.store.schema import migrate
from clipcore.config import ModelConfig
from clipcore.errors import ClipcoreError
from clipcore.towers import load_towers


def nearmiss(*arguments, **env):
    return subprocess.run(
        [sys.executable, "-m", "app.cli.main", *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def is_one_sentence(done):
    said = done.stderr.strip()
    return (
        done.returncode == 1
        and said.startswith("nearmiss: ")
        and "\n" not in said
        and "Traceback" not in said
    )


def test_port_in_use_names_the_port_and_the_variable(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = nearmiss("up", NEARMISS_HOME=str(tmp_path), NEARMISS_PORT=port)
    assert is_one_sentence(done) and port in done.stderr and "NEARMISS_PORT" in done.stderr


def test_address_open_to_others_is_refused_while_nobody_must_log_in(tmp_path):
    settings = Settings(home=tmp_path, host="0.0.0.0")
    migrate(Database(settings).engine)
    with pytest.raises(NearmissError, match="or bind 127"):
        create_app(settings)


def test_import_before_the_first_start_names_migrate(tmp_path):
    done = nearmiss("import", str(tmp_path), "--name", "x", NEARMISS_HOME=str(tmp_path))
    assert is_one_sentence(done) and "nearmiss migrate" in done.stderr


def test_import_without_a_worker_is_kept_and_says_what_to_start(tmp_path):
    home = {"NEARMISS_HOME": str(tmp_path)}
    assert nearmiss("migrate", **home).returncode == 0
    done = nearmiss("import", "demo", "--name", "x", **home)
    assert done.returncode == 0 and "queued as job 1" in done.stdout
    assert "broker" in done.stdout or "nearmiss worker cpu" in done.stdout


def test_doctor_says_what_is_missing_and_changes_nothing(tmp_path):
    done = nearmiss("doctor", NEARMISS_HOME=str(tmp_path / "home"))
    assert done.returncode == 1 and "nearmiss up" in done.stdout and not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig("no-such-architecture"),
        ModelConfig("local-dir:/nowhere/at/all"),
        ModelConfig("ViT-B-32", pretrained="no-such-tag"),
        ModelConfig("ViT-B-32", pretrained="/nowhere/weights.safetensors"),
    ],
)
def test_model_that_cannot_be_loaded_is_named_with_the_remedy(model):
    with pytest.raises(ClipcoreError) as refused:
        load_towers(model)
    said = str(refused.value)
    assert (model.pretrained or model.name).removeprefix("local-dir:") in said and "\n" not in said


def test_finetune_refuses_with_a_sentence_and_a_code(tmp_path):
    done = nearmiss("finetune", "adapter", "--pairs", str(tmp_path / "none.tsv"))
    assert done.returncode == 2 and done.stderr.startswith("clipcore: There is no file")
