"""WebDataset shards: what the webdataset package writes is read without extraction; torn and hostile tars are refused."""

import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import webdataset
from braceexpand import braceexpand
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_training import config, labels

from clipcore import ClipcoreError, Example, FineTuneData, fine_tune
from clipcore.events import Finished
from clipcore.identical import identical_images
from clipcore.pictures import open_image
from clipcore.shards import ShardPicture, expand_braces


def picture(k):
    return Image.fromarray(np.random.default_rng(k).integers(0, 255, (16, 16, 3), dtype=np.uint8))


def png(k):
    content = io.BytesIO()
    picture(k).save(content, "png")
    return content.getvalue()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three shards of ten: captions in .txt, in .json, and the last with a split."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(3):
        with webdataset.TarWriter(str(folder / f"s-{shard:03d}.tar")) as writer:
            for k in range(10 * shard, 10 * shard + 10):
                sample = {"__key__": f"pic{k:04d}", "png": png(k)}
                if shard == 0:
                    sample["txt"] = f"Bild {k} 猫"
                else:
                    sample["json"] = {"caption": f"thing {k}", "split": "val" if shard == 2 else "train"}
                writer.write(sample)
    return folder


def tar(path, *members):
    """A tar of (name, content) or TarInfo."""
    with tarfile.open(path, "w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return str(path)


def test_what_webdataset_writes_is_read(shards):
    data = FineTuneData.from_webdataset(f"{shards}/s-{{000..002}}.tar")
    assert [x.image_id for x in data.train] == [f"pic{k:04d}" for k in range(20)]
    assert [x.image_id for x in data.held_out] == [f"pic{k:04d}" for k in range(20, 30)]
    assert data.train[3].caption == "Bild 3 猫" and data.train[13].caption == "thing 13"
    for k, example in enumerate([*data.train, *data.held_out]):
        assert np.array_equal(np.array(open_image(example.image)), np.array(picture(k)))
    assert sorted(x.name for x in shards.iterdir()) == [
        "s-000.tar",
        "s-001.tar",
        "s-002.tar",
    ]  # nothing was extracted


def test_keys_are_those_that_webdataset_reads(tmp_path):
    members = [("a/b.c/one.png", "a/b.c/one.txt"), ("a/two.v2.png", "a/two.txt"), ("three.PNG", "three.txt")]
    path = tar(tmp_path / "t.tar", *[m for p, t in members for m in ((p, png(1)), (t, t.encode()))])
    keys = [sample["__key__"] for sample in webdataset.WebDataset(path, shardshuffle=False)]
    assert [x.image_id for x in FineTuneData.from_webdataset(path).train] == keys and len(keys) == 3


def test_star_several_urls_held_out_and_file_system_urls(shards):
    whole = FineTuneData.from_webdataset(
        [
            f"{shards}/s-00[01].tar".replace("[01]", "?"),
        ]
    )
    assert len(whole.train) == 20 and len(whole.held_out) == 10
    apart = FineTuneData.from_webdataset(f"file://{shards}/s-000.tar", held_out=[f"{shards}/s-001.tar"])
    assert len(apart.train) == 10 and len(apart.held_out) == 10
    assert open_image(apart.train[0].image).size == (16, 16)


def test_shards_behind_another_file_system_are_read_where_they_lie(shards):
    import fsspec

    remote = fsspec.filesystem("memory")
    remote.pipe("/far/s.tar", (shards / "s-000.tar").read_bytes())
    data = FineTuneData.from_webdataset("memory://far/s.tar")
    assert len(data.train) == 10
    assert np.array_equal(np.array(open_image(data.train[4].image)), np.array(picture(4)))


@settings(max_examples=100)
@given(st.text(alphabet="ab{}.,019/", max_size=14))
def test_braces_expand_as_braceexpand_does_on_ranges_and_lists(text):
    for pattern in (f"x{{0{len(text)}..012}}y", f"{{a,b{len(text)}}}-{{8..11}}.tar", "{3..1}", "plain.tar"):
        assert expand_braces(pattern) == list(braceexpand(pattern))
    assert expand_braces(text)  # anything gives a list of names


def test_samples_that_start_anew_in_each_shard_need_the_shard_in_their_id(tmp_path):
    for k in range(2):
        tar(tmp_path / f"s{k}.tar", ("0000.png", png(k)), ("0000.txt", f"thing {k}".encode()))
    with pytest.raises(ClipcoreError, match=r"image id '0000' stands for 0000\.png in .*s0\.tar and for"):
        FineTuneData.from_webdataset(f"{tmp_path}/s{{0..1}}.tar")
    data = FineTuneData.from_webdataset(f"{tmp_path}/s{{0..1}}.tar", shard_in_id=True)
    assert [x.image_id for x in data.train] == ["s0/0000", "s1/0000"]


def test_sample_may_carry_several_captions_and_incomplete_ones_are_counted(tmp_path, caplog):
    listed = json.dumps({"captions": ["one", "two"], "image_id": "mine"}).encode()
    path = tar(
        tmp_path / "t.tar", ("a.png", png(0)), ("a.json", listed), ("b.png", png(1)), ("c.txt", b"no picture")
    )
    data = FineTuneData.from_webdataset(path)
    assert [(x.image_id, x.caption) for x in data.train] == [("mine", "one"), ("mine", "two")]
    assert "2 samples without a picture or a caption" in caplog.text


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_links_devices_and_climbing_names_open_nothing(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(9))
    path = tar(
        tmp_path / "t.tar",
        link("a.png", str(tmp_path / "secret.png"), tarfile.SYMTYPE),
        ("a.txt", b"a secret"),
        link("b.png", "secret.png", tarfile.LNKTYPE),
        ("b.txt", b"a secret"),
        link("c.png", "", tarfile.CHRTYPE),
        ("c.txt", b"a device"),
        ("../../up.png", png(1)),
        ("../../up.txt", b"only a name"),
    )
    (example,) = FineTuneData.from_webdataset(path).train
    assert example.image_id == "../../up" and example.image() == png(1)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["secret.png", "t.tar"]


def whole(folder):
    return tar(
        folder / "t.tar", *[m for k in range(3) for m in ((f"{k}.png", png(k)), (f"{k}.txt", b"x%d" % k))]
    )


@pytest.mark.parametrize("left", [0, 100, 511, 512, 600, 1024, 1536, 3072])
def test_shard_that_is_cut_off_anywhere_is_refused(tmp_path, left):
    path = whole(tmp_path)
    content = (tmp_path / "t.tar").read_bytes()
    (tmp_path / "t.tar").write_bytes(content[:left])
    with pytest.raises(ClipcoreError, match=r"t\.tar is cut off, compressed or no tar"):
        FineTuneData.from_webdataset(path)


def test_damage_in_the_middle_does_not_silently_drop_the_rest(tmp_path):
    path = whole(tmp_path)
    content = bytearray((tmp_path / "t.tar").read_bytes())
    second = content.index(b"1.png")
    content[second : second + 8] = b"\xff" * 8
    (tmp_path / "t.tar").write_bytes(content)
    with pytest.raises(ClipcoreError, match=r"read up to 0\.txt"):
        FineTuneData.from_webdataset(path)


def test_other_refusals_name_the_remedy(tmp_path):
    with tarfile.open(tmp_path / "z.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    cases = {
        f"{tmp_path}/z.tar": "write it again as a plain tar",
        f"{tmp_path}/none-{{000..001}}.tar": "There is no shard .*none-000.tar",
        f"{tmp_path}/none-*.tar": "No shard is named like",
        tar(tmp_path / "e.tar"): "holds no pairs",
        tar(tmp_path / "j.tar", ("a.json", b"{")): "a.json in .* is not JSON",
        tar(tmp_path / "u.tar", ("a.txt", b"\xff\xfe")): "a.txt in .* is not UTF-8",
        tar(tmp_path / "b.tar", ("a.txt", b"x" * (1 << 21))): "a caption has at most",
    }
    for url, expected in cases.items():
        with pytest.raises(ClipcoreError, match=expected):
            FineTuneData.from_webdataset(url)
    with pytest.raises(ClipcoreError, match="No shards were given"):
        FineTuneData.from_webdataset([])


def test_shard_that_changed_since_is_told_by_its_name(tmp_path):
    path = whole(tmp_path)
    data = FineTuneData.from_webdataset(path)
    (tmp_path / "t.tar").write_bytes(b"short")
    with pytest.raises(ClipcoreError, match=r"Cannot read 2\.png in .*t\.tar"):
        open_image(data.train[2].image)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5119), st.integers(0, 255)), max_size=12), st.integers(0, 10240))
def test_hostile_tar_gives_pairs_or_a_sentence(tmp_path, changes, length):
    path = whole(tmp_path)
    content = bytearray((tmp_path / "t.tar").read_bytes())
    for place, value in changes:
        content[place] = value
    (tmp_path / "t.tar").write_bytes(content[:length])
    try:
        assert FineTuneData.from_webdataset(path).train
    except ClipcoreError as error:
        assert str(error)


def test_command_trains_on_a_pattern_of_shards(shards, tmp_path):
    settings = config(tmp_path, batch={"size": 8}, max_steps=1)
    (tmp_path / "run.yaml").write_text(settings.to_yaml())
    command = [
        sys.executable,
        "-m",
        "clipcore",
        str(tmp_path / "run.yaml"),
        "--pairs",
        f"{shards}/s-{{000..001}}.tar",
    ]
    done = subprocess.run(
        [*command, "--held-out", f"{shards}/s-002.tar", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "step 1/1" in done.stdout and "before:" in done.stdout


def test_processes_decode_shards(shards, tmp_path):
    data = FineTuneData.from_webdataset(f"{shards}/s-{{000..001}}.tar")
    settings = config(tmp_path, batch={"size": 8, "workers": 1}, max_steps=2)
    events = list(fine_tune(settings, data, labels(data), folder=tmp_path / "run"))
    assert isinstance(events[-1], Finished) and events[-1].checkpoint is not None


def test_the_same_picture_in_two_shards_is_known_as_one_without_reading_the_others(tmp_path, monkeypatch):
    same = png(0)
    for shard in range(2):
        with webdataset.TarWriter(str(tmp_path / f"{shard}.tar")) as writer:
            writer.write({"__key__": f"same{shard}", "png": same, "txt": f"twice {shard}"})
            for n in range(3):
                more = png(10 * shard + n + 1) + bytes(n + 1)  # of another length
                writer.write({"__key__": f"{shard}{n}", "png": more, "txt": f"once {shard} {n}"})
            tail = same[:-1] + bytes([same[-1] ^ (shard + 1)])  # as long, and another end
            writer.write({"__key__": f"other{shard}", "png": tail, "txt": f"other {shard}"})
    data = FineTuneData.from_webdataset(f"{tmp_path}/{{0..1}}.tar")
    read = []
    whole = ShardPicture.__call__
    monkeypatch.setattr(ShardPicture, "__call__", lambda self: read.append(self.member) or whole(self))
    assert set(identical_images(data.train)) == {"same0", "same1"}
    assert sorted(read) == ["same0.png", "same1.png"]


def test_a_picture_in_a_shard_behind_a_network_is_not_fetched_to_be_compared():
    far = ShardPicture("s3://bucket/s.tar", 0, 100, "a.png")
    assert not far.is_local and ShardPicture("/data/s.tar", 0, 1, "a").is_local
    pairs = [Example("a", "c", far, "one"), Example("b", "d", far, "two")]
    assert identical_images(pairs) == {}
