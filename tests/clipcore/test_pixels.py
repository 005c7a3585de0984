"""Pixels: the same bits whatever decodes them, ahead or not; augmentation by (seed, epoch, number); errors that name."""

import os
import random
import signal
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from test_training import config, data, labels  # noqa: F401  (data is a fixture)

from clipcore import ClipcoreError, FineTuneData, fine_tune
from clipcore.events import StepDone
from clipcore.example import Example
from clipcore.pictures import Pictures, open_image
from clipcore.pixels import PixelSource
from clipcore.towers import load_towers

NUM, PX = 90, 8
PICTURE_BYTES = 3 * PX * PX * 4


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plain(image):
    return torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)


def augment(image):
    """Draws from all three generators, as open_clip's and timm's transforms do."""
    return plain(image) + torch.rand(1) + random.random() + np.random.rand()


def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (PX, PX, 3), dtype=np.uint8)) for _ in range(NUM)]


def source(workers=0, *, fits=NUM, augmented=False, seed=3, pictures=None):
    pictures = pictures or Pictures(images(), plain, augment=augment if augmented else None, seed=seed)
    return PixelSource(pictures, cache_bytes=fits * PICTURE_BYTES, workers=workers)


def steps(seed, num_steps=4, size=40):
    rng = np.random.default_rng(seed)
    return [(k // 2, rng.integers(0, NUM, size).tolist()) for k in range(num_steps)]


def used(pixels, plan, *, micro_batch=7, resident=0):
    """What a run asks for: each step's micro-batches, then again those that kept no graph; sometimes an evaluation."""
    pixels.plan(iter(plan))
    found = []
    for epoch, numbers in plan:
        pixels.begin_step(epoch)
        parts = [numbers[i : i + micro_batch] for i in range(0, len(numbers), micro_batch)]
        for part in [*parts, *parts[: len(parts) - resident]]:
            found.append(pixels.pixels(part, training=True))
        found.append(pixels.pixels([1, 2]))
    pixels.close()
    return torch.cat(found)


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("workers,fits", [(0, 0), (0, 12), (0, NUM), (1, 12), (2, 0), (2, 12), (2, NUM)])
def test_same_bits_whatever_the_workers_and_the_memory(workers, fits, augmented):
    plan = steps(0)
    expected = []
    pictures = Pictures(images(), plain, augment=augment if augmented else None, seed=3)
    for epoch, numbers in plan:
        expected += [pictures.picture(n, epoch) for _ in "12" for n in numbers]
        expected += [pictures.picture(n) for n in (1, 2)]
    found = used(source(workers, fits=fits, augmented=augmented), plan)
    assert torch.equal(found, torch.stack(expected))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.integers(0, 50), st.integers(1, 40), st.integers(0, 6), st.booleans())
def test_any_plan_gives_what_was_asked_for(seed, fits, micro_batch, resident, augmented):
    plan = steps(seed, size=25)
    loose, exact = (source(fits=n, augmented=augmented) for n in (fits, 0))
    exact.plan = lambda _: None  # decodes each picture when it is asked for
    assert torch.equal(
        used(loose, plan, micro_batch=micro_batch, resident=resident),
        used(exact, plan, micro_batch=micro_batch, resident=resident),
    )


def test_each_picture_is_decoded_once_a_step_while_it_fits_and_once_a_run_when_all_fit():
    for fits, expected in ((NUM, NUM), (NUM - 1, 3 * (NUM + 1)), (0, 6 * NUM)):
        opened = []
        pictures = Pictures([lambda x=x, opened=opened: opened.append(1) or x for x in images()], plain)
        pixels = source(fits=fits, pictures=pictures)
        assert pixels._capacity == fits
        opened.clear()
        plan = [(k, np.random.default_rng(k).permutation(NUM).tolist()) for k in range(3)]
        pixels.plan(iter(plan))
        for epoch, numbers in plan:
            pixels.begin_step(epoch)
            for part in (numbers[:50], numbers[50:], numbers[:50], numbers[50:]):
                pixels.pixels(part, training=True)
        assert len(opened) == expected, fits


def test_threads_decode_the_coming_pictures_while_the_step_computes():
    opened = []
    pictures = Pictures([lambda x=x, k=k: opened.append(k) or x for k, x in enumerate(images())], plain)
    pixels = source(fits=20, pictures=pictures)
    assert pixels._capacity == 20
    pixels.plan(iter([(0, list(range(8))), (0, list(range(8, 16)))]))
    pixels.begin_step(0)
    pixels.pixels(range(8), training=True)
    deadline = time.monotonic() + 10
    while not set(range(8, 16)) <= set(opened) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(range(8, 16)) <= set(opened)  # nobody has asked for them yet
    pixels.close()


def test_augmentation_differs_by_epoch_and_picture_and_leaves_the_generators_alone():
    pictures = Pictures([images()[0]] * 2, plain, augment=augment, seed=3)
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    undisturbed = [float(torch.rand(1)), random.random(), np.random.rand()]
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    values = [pictures.picture(n, e) for n, e in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert [float(torch.rand(1)), random.random(), np.random.rand()] == undisturbed
    assert torch.equal(values[0], values[3])
    assert not torch.equal(values[0], values[1]) and not torch.equal(values[0], values[2])
    assert not torch.equal(values[0], Pictures([images()[0]], plain, augment=augment, seed=4).picture(0, 0))


def test_stream_gives_all_pictures_in_order():
    numbers = [*range(80), 3, 5]
    for workers in (0, 2):
        parts = list(source(workers).stream(numbers, 64))
        assert [len(p) for p in parts] == [64, 18]
        assert torch.equal(torch.cat(parts), torch.stack([plain(images()[n]) for n in numbers]))


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_picture_is_named(workers, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    pictures = Pictures([*images()[:5], tmp_path / "torn.png"], plain)
    pixels = source(workers, pictures=pictures)
    pixels.plan(iter([(0, [0, 1, 5])]))
    pixels.begin_step(0)
    with pytest.raises(ClipcoreError, match=r"^Cannot read .*torn\.png .*drop the pair\.$"):
        pixels.pixels([0, 1, 5], training=True)
    pixels.close()


@dataclass(frozen=True)
class Deadly:
    """A picture that kills whoever decodes it, except the test."""

    parent: int

    def __call__(self):
        if os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return images()[0]

    def __str__(self):
        return "deadly.jpg"


def test_death_of_a_decoding_process_names_its_picture():
    pictures = Pictures([*images()[:40], Deadly(os.getpid())], plain)
    pixels = source(1, pictures=pictures)
    pixels.plan(iter([(0, list(range(41)))]))
    pixels.begin_step(0)
    with pytest.raises(ClipcoreError, match=r"died at deadly\.jpg"):
        pixels.pixels(range(41), training=True)
    pixels.close()


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF"]),
)
def test_hostile_bytes_give_a_sentence(content, magic):
    try:
        assert open_image(magic + content).mode == "RGB"
    except ClipcoreError as error:
        assert str(error).startswith("Cannot read a picture in memory") and "\n" not in str(error)


@pytest.fixture(scope="module")
def files(data, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("pictures")

    def stored(x):
        path = folder / f"{x.image_id}.png"
        x.image.resize((40, 30)).save(path)
        return Example(x.image_id, x.caption_id, path, x.caption, x.split)

    return FineTuneData([stored(x) for x in data.train], [stored(x) for x in data.held_out])


def trained(tmp_path, name, files, *, interrupted=False, **batch):
    settings = config(tmp_path, batch={"size": 16, "micro_batch": 5, "num_resident": 1, **batch}, epochs=2)
    events = []
    for stop in ["pause", None] if interrupted else [None]:
        events += fine_tune(
            settings, files, labels(files), folder=tmp_path / name, stop=lambda stop=stop: stop
        )
    weights = load_file(tmp_path / name / "checkpoint/open_clip_model.safetensors")
    return weights, [e.loss for e in events if isinstance(e, StepDone)]


def test_run_has_the_same_bits_with_any_workers_and_after_a_resume(tmp_path, files):
    outcomes = [
        trained(tmp_path, "threads", files, augment=True),
        trained(tmp_path, "again", files, augment=True, memory_gb=1e-9),
        trained(tmp_path, "resumed", files, interrupted=True, augment=True),
    ]
    weights, losses = outcomes[0]
    for others, other_losses in outcomes[1:]:
        assert other_losses == losses and all(torch.equal(weights[k], others[k]) for k in weights)
    by_processes, same = trained(tmp_path, "processes", files, augment=True, workers=2)
    assert same == losses and all(torch.equal(weights[k], by_processes[k]) for k in weights)
    _, unaugmented = trained(tmp_path, "plain", files)
    assert unaugmented != losses


def test_open_clips_train_transform_is_what_augments(tmp_path, files):
    towers = load_towers(config(tmp_path).model)
    pictures = Pictures([files.train[0].image], towers.transform, augment=towers.train_transform)
    assert pictures.picture(0, 0).shape == pictures.picture(0).shape
    assert not torch.equal(pictures.picture(0, 0), pictures.picture(0, 1))


def test_locked_image_tower_ignores_augmentation_and_says_so(tmp_path, files, caplog):
    runs = {}
    for augmented in (False, True):
        settings = config(tmp_path, batch={"size": 16, "augment": augmented}, model={"train": "text_tower"})
        runs[augmented] = [
            e.loss
            for e in fine_tune(settings, files, None, folder=tmp_path / f"{augmented}")
            if isinstance(e, StepDone)
        ]
    assert runs[True] == runs[False] and "augment has no effect" in caplog.text
