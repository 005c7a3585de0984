"""Embeddings of still towers on disk: found by the next run, computed again when anything that decides them changed."""

import pytest
import torch
from safetensors.torch import load_file
from test_training import config, data, labels  # noqa: F401  (data is a fixture)

from clipcore import fine_tune
from clipcore.events import Finished, Preparing, StepDone
from clipcore.learner import Source, embed_captions, embed_images
from clipcore.towers import load_towers

CPU = torch.device("cpu")


@pytest.fixture
def passes(monkeypatch):
    """How often pictures and captions went through a tower."""
    from clipcore.towers import Towers

    counted = []
    for name in ("images", "captions"):
        original = getattr(Towers, name)
        monkeypatch.setattr(Towers, name, lambda self, x, f=original, n=name: counted.append(n) or f(self, x))
    return counted


def source(towers, settings, data, folder):  # noqa: F811
    pairs = data.train
    return Source(towers, [x.image for x in pairs], [x.caption for x in pairs], settings, cache_folder=folder)


def test_second_time_nothing_passes_the_towers(tmp_path, data, passes):  # noqa: F811
    settings = config(tmp_path)
    towers = load_towers(settings.model)
    first = source(towers, settings, data, tmp_path / "kept")
    embedded = [torch.cat(list(e(towers, first, range(20), CPU))) for e in (embed_images, embed_captions)]
    assert sorted(passes) == ["captions", "images"]
    again = source(towers, settings, data, tmp_path / "kept")
    found = [torch.cat(list(e(towers, again, range(20), CPU))) for e in (embed_images, embed_captions)]
    assert len(passes) == 2 and all(torch.equal(a, b) for a, b in zip(embedded, found, strict=True))
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_whatever_decides_an_embedding_is_in_its_key(tmp_path, data, passes):  # noqa: F811
    settings = config(tmp_path)
    torch.manual_seed(0)
    towers = load_towers(settings.model)
    kept = tmp_path / "kept"

    def embed(numbers=range(20), what=embed_images):
        passes.clear()
        made = source(towers, settings, data, kept)
        return torch.cat(list(what(towers, made, numbers, CPU))), bool(passes)

    first, computed = embed()
    assert computed and not embed()[1]
    assert embed(range(19))[1] and embed([1, 0, *range(2, 20)])[1]  # other pictures, another order
    with torch.no_grad():
        towers.model.text_projection.mul_(2)
        towers.model.logit_scale.mul_(2)
    assert not embed()[1]  # the image tower is what it was
    assert embed(what=embed_captions)[1] and not embed(what=embed_captions)[1]
    with torch.no_grad():
        next(towers.model.visual.parameters()).view(-1)[0] += 1
    second, computed = embed()
    assert computed and not torch.equal(first, second)
    towers.transform = load_towers(config(tmp_path).model).train_transform
    assert embed()[1]
    towers.model.double()
    assert embed()[1]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_damaged_file_is_computed_again(tmp_path, data, passes, damage, caplog):  # noqa: F811
    settings = config(tmp_path)
    towers = load_towers(settings.model)
    whole = torch.cat(
        list(embed_images(towers, source(towers, settings, data, tmp_path / "kept"), range(20), CPU))
    )
    (file,) = (tmp_path / "kept").iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 64
    file.write_bytes({"flip": bytes(content), "cut": content[:50], "empty": b"", "other": b"x" * 99}[damage])
    passes.clear()
    again = torch.cat(
        list(embed_images(towers, source(towers, settings, data, tmp_path / "kept"), range(20), CPU))
    )
    assert passes and torch.equal(whole, again) and "damaged" in caplog.text
    assert "embedding" in load_file(file)  # and repaired


def test_folder_that_cannot_be_written_costs_no_run(tmp_path, data, caplog):  # noqa: F811
    (tmp_path / "kept").write_text("a file where the folder should be")
    settings = config(tmp_path)
    towers = load_towers(settings.model)
    made = source(towers, settings, data, tmp_path / "kept")
    assert len(torch.cat(list(embed_images(towers, made, range(20), CPU)))) == 20
    assert "were not kept" in caplog.text


def test_interrupted_pass_keeps_nothing(tmp_path, data, monkeypatch):  # noqa: F811
    monkeypatch.setattr("clipcore.learner.EMBED_BATCH", 5)
    settings = config(tmp_path)
    towers = load_towers(settings.model)
    stream = embed_captions(towers, source(towers, settings, data, tmp_path / "kept"), range(20), CPU)
    assert len(next(stream)) == 5
    stream.close()
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    "kind,expected", [("adapter", set()), ("text_tower", {"captions"}), ("image_tower", {"images"})]
)
def test_second_run_with_a_still_tower_reads_its_embeddings(tmp_path, data, passes, kind, expected):  # noqa: F811
    torch.manual_seed(0)
    list(fine_tune(config(tmp_path, epochs=1), data, None, folder=tmp_path / "base"))
    base = {"name": f"local-dir:{tmp_path / 'base/checkpoint'}", "train": kind, "from_scratch": False}
    settings = config(tmp_path, model=base, epochs=1)
    outcomes = []
    for name in ("a", "b"):
        passes.clear()
        events = list(
            fine_tune(settings, data, labels(data), folder=tmp_path / name, cache_folder=tmp_path / "kept")
        )
        assert isinstance(events[-1], Finished)
        told = [e for e in events if isinstance(e, Preparing)]
        assert told[-1].done == told[-1].total == (80 if kind == "adapter" else 40)
        outcomes.append([e.loss for e in events if isinstance(e, StepDone)])
    assert set(passes) == expected and outcomes[0] == outcomes[1]
