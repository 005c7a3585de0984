"""A pickle becomes safetensors in a process of its own, and code inside it does not run."""

import os

import pytest
import torch
from safetensors.torch import load_file

from clipcore.convert import convert
from clipcore.errors import ClipcoreError


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_tensors_come_out_as_they_were(tmp_path):
    weights = {"module.visual.proj": torch.randn(3, 4), "module.logit_scale": torch.tensor(2.0)}
    torch.save({"state_dict": weights, "epoch": 3}, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    found = load_file(tmp_path / "a.safetensors")
    assert sorted(found) == ["logit_scale", "visual.proj"]
    assert torch.equal(found["visual.proj"], weights["module.visual.proj"])


def test_code_in_the_file_does_not_run_and_the_refusal_is_a_sentence(tmp_path):
    torch.save({"state_dict": Harmful(str(tmp_path / "harm"))}, tmp_path / "a.pt")
    with pytest.raises(ClipcoreError, match=r"a\.pt could not be converted"):
        convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert not (tmp_path / "harm").exists() and not (tmp_path / "a.safetensors").exists()


def test_nothing_is_overwritten(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    (tmp_path / "b").write_text("mine")
    with pytest.raises(ClipcoreError, match="exists already"):
        convert(tmp_path / "a.pt", tmp_path / "b")
