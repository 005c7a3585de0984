"""Pictures: what is taken, how it is converted, what is refused with a sentence."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.errors import NearmissError
from app.media.lift import lift_second_level
from app.media.pictures import check_picture, upright_rgb
from app.media.store import MediaStore, content_key


def file(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = check_picture(file(Image.new("RGB", (40, 20)), "JPEG", exif=exif))
    assert (picture.width, picture.height) == (20, 40)


def test_transparent_parts_become_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert upright_rgb(file(clear, "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    greys = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    shown = upright_rgb(file(greys, "PNG"))
    assert [shown.getpixel((x, 0))[0] for x in range(3)] == pytest.approx([0, 127, 255], abs=1)


def test_cmyk_palette_and_animation_become_rgb() -> None:
    frames = [Image.new("P", (8, 8), i) for i in range(3)]
    moving = file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    for data in (file(Image.new("CMYK", (8, 8)), "JPEG"), moving):
        assert upright_rgb(data).mode == "RGB"


def test_thumbnails_are_webp_of_the_promised_size() -> None:
    picture = check_picture(file(Image.new("RGB", (1000, 400)), "PNG"))
    sizes = {px: Image.open(io.BytesIO(data)).size for px, data in picture.thumbnails.items()}
    assert sizes == {256: (256, 102), 512: (512, 205)}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "convert it to PNG"),
        (b"<!DOCTYPE html><script>alert(1)</script>", "convert it to PNG"),
        (file(Image.effect_noise((64, 64), 50), "PNG")[:900], "is broken"),
        (file(Image.new("1", (10_000, 10_000)), "PNG"), "pixels"),
    ],
)
def test_hostile_files_get_a_sentence(data: bytes, said: str) -> None:
    with pytest.raises(NearmissError, match=said):
        check_picture(data)


def test_pictures_of_a_home_with_two_folder_levels_are_found_again(tmp_path: Path) -> None:
    old = tmp_path / "images" / "ab" / "cd"
    old.mkdir(parents=True)
    (old / "abcdef").write_bytes(b"picture")
    url = f"file://{tmp_path}"
    assert lift_second_level(url) == 1
    assert MediaStore(url).get(content_key("abcdef", kind="images")) == b"picture"
    assert lift_second_level(url) == 0
