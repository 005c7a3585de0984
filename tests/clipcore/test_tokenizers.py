"""Tokenisers other than English: open_clip's hf ones train, count what they cut, and travel with the checkpoint."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from test_training import TINY, config
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from clipcore import Example, FineTuneData, fine_tune
from clipcore.config import ModelConfig
from clipcore.events import StepDone
from clipcore.towers import load_towers, truncated

CAPTIONS = [
    "一只红色的猫",
    "一只黑色的狗在雪地里",
    "قطة حمراء على السرير",
    "كلب أسود في الثلج",
    "三只鸟",
    "بيت صغير",
]
CONTEXT = 12


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    """An open_clip folder without weights whose tokeniser was learned from Chinese and Arabic captions."""
    folder = tmp_path_factory.mktemp("architecture")
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(CAPTIONS, trainers.BpeTrainer(vocab_size=60, special_tokens=marks))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(str(folder))
    text = TINY["model_cfg"]["text_cfg"] | {
        "hf_tokenizer_name": "local",
        "vocab_size": 64,
        "context_length": CONTEXT,
        "pool_type": "last",
        "tokenizer_kwargs": {"clean_up_tokenization_spaces": False},
    }
    settings = TINY | {"model_cfg": TINY["model_cfg"] | {"text_cfg": text}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    return folder


def test_hf_tokenizer_trains_and_its_checkpoint_is_loaded_by_open_clip(architecture, tmp_path):
    pairs = [
        Example(f"i{k}", f"c{k}", Image.fromarray(np.full((16, 16, 3), 40 * k, dtype=np.uint8)), text)
        for k, text in enumerate(CAPTIONS)
    ]
    settings = config(
        tmp_path,
        model={"name": f"local-dir:{architecture}"},
        batch={"size": 6, "micro_batch": 4},
        max_steps=1,
    )
    torch.manual_seed(settings.seed)
    before = load_towers(settings.model).model.token_embedding.weight.clone()
    events = list(fine_tune(settings, FineTuneData(pairs), None, folder=tmp_path / "run"))
    assert sum(isinstance(e, StepDone) for e in events) == 1
    name = f"local-dir:{tmp_path / 'run/checkpoint'}"
    tokenizer = open_clip.get_tokenizer(name)
    again = load_towers(ModelConfig(name=name))
    ids = tokenizer(CAPTIONS)
    assert ids.shape == (6, CONTEXT) and torch.equal(ids, again.tokens(CAPTIONS))
    assert len({tuple(row) for row in ids.tolist()}) == 6 and not (ids == 1).any()  # nothing is unknown
    moved = (again.model.token_embedding.weight - before).abs().sum(1)
    assert moved[ids.unique()].min() > 0  # the characters' vectors have learned


def test_captions_beyond_the_context_are_counted_for_hf_tokenizers(architecture):
    towers = load_towers(ModelConfig(name=f"local-dir:{architecture}", from_scratch=True))
    assert towers.context_length == CONTEXT
    inner = towers.tokenizer.tokenizer
    texts = ["鸟" * n for n in range(1, 15)] + CAPTIONS + ["猫 " * n for n in range(8, 14)]
    expected = sum(len(inner(text).input_ids) > CONTEXT for text in texts)
    assert 0 < expected < len(texts)
    assert truncated(towers, texts) == expected
    assert truncated(towers, []) == 0


def test_captions_beyond_the_context_are_counted_for_clips_own_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setattr("clipcore.towers.TRUNCATED_CHUNK", 3)
    towers = load_towers(config(tmp_path).model)
    texts = ["cat " * n for n in range(15)]  # one token each, with start and end
    assert towers.context_length == CONTEXT
    assert truncated(towers, texts) == sum(n + 2 > CONTEXT for n in range(15)) == 4
