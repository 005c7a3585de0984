"""Pushing a checkpoint: what is uploaded, and the sentences when it cannot be. The hub itself is stood in for."""

import json
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HFValidationError

from clipcore import ClipcoreError
from clipcore.hub import push


@pytest.fixture
def checkpoint(tmp_path):
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (tmp_path / name).write_bytes(b"{}")
    return tmp_path


def test_folder_goes_up_whole_with_a_card(checkpoint, monkeypatch):
    sent = {}

    class Api:
        def create_repo(self, repository, **options):
            sent["repository"], sent["options"] = repository, options

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            sent["files"] = sorted(p.name for p in folder_path.iterdir())
            return SimpleNamespace(repo_url=f"https://hub/{repo_id}")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "secret")
    address = push(checkpoint, "shop/shoes", base="laion/CLIP", licence="mit")
    assert address == "https://hub/shop/shoes" and sent["options"] == {"private": True, "exist_ok": True}
    assert sent["files"] == ["README.md", "open_clip_config.json", "open_clip_model.safetensors"]
    card = (checkpoint / "README.md").read_text()
    assert 'base_model: "laion/CLIP"' in card and "hf-hub:shop/shoes" in card and "secret" not in card
    json.dumps(sent)


def test_refusals_are_sentences(checkpoint, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ClipcoreError, match="no hub token: set HF_TOKEN"):
        push(checkpoint, "shop/shoes")
    with pytest.raises(ClipcoreError, match=r"lacks open_clip_config\.json"):
        push(tmp_path_factory.mktemp("empty"), "shop/shoes")

    class Api:
        def create_repo(self, repository, **options):
            raise HFValidationError("Repo id must use alphanumeric chars")

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "secret")
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(ClipcoreError, match="did not take shop shoes"):
        push(checkpoint, "shop shoes")
