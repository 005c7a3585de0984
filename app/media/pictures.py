"""From a file's bytes to a checked picture with its thumbnails: pure, made to run in a pool of processes."""

import hashlib
import io
import warnings
from dataclasses import dataclass, field

from PIL import Image, ImageOps, UnidentifiedImageError

from app.errors import NearmissError
from app.media.store import MediaStore, content_key

MIME_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
THUMBNAILS_PX = (256, 512)
MAX_PIXELS = 60_000_000  # a 60-megapixel photograph; a 10,000 × 10,000 bomb is over it
MAX_BYTES = 64 * 2**20
QUALITY = 80  # of the WebP thumbnails


@dataclass(frozen=True)
class Picture:
    """A picture that could be decoded whole: original bytes, size in px as shown, thumbnails by px."""

    data: bytes = field(repr=False)
    sha256: str
    width: int
    height: int
    thumbnails: dict[int, bytes] = field(repr=False)


def check_picture(data: bytes) -> Picture:
    """Decode, turn as EXIF says, and make the thumbnails.

    Raises NearmissError with a sentence about an empty, broken, disguised, foreign or too large file.
    """
    image = upright_rgb(data)
    return Picture(
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        width=image.width,
        height=image.height,
        thumbnails={px: _thumbnail(image, px) for px in THUMBNAILS_PX},
    )


def upright_rgb(data: bytes) -> Image.Image:
    """The first frame, upright, RGB, transparent parts on white, 16 bits scaled to 8. Raises NearmissError."""
    if not data:
        raise NearmissError("the file is empty (0 bytes); export the picture again")
    if len(data) > MAX_BYTES:
        raise NearmissError(
            f"the file has {len(data):,} bytes; at most {MAX_BYTES:,} are taken: make it smaller"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own pixel warning: our cap below is the stricter
            image = Image.open(io.BytesIO(data), formats=list(MIME_TYPES))
            _check_size(image)
            image.load()
            return _on_white(ImageOps.exif_transpose(image))
    except NearmissError:
        raise
    except UnidentifiedImageError:
        raise NearmissError(
            f"the file begins with {data[:8]!r}, which is no {', '.join(MIME_TYPES)}; convert it to PNG"
        ) from None
    except Image.DecompressionBombError:
        raise NearmissError(f"the picture has more than {MAX_PIXELS:,} pixels; make it smaller") from None
    except Exception as error:
        raise NearmissError(f"the picture is broken ({error}); export it again") from None


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise NearmissError(
            f"the picture has {image.width} × {image.height} pixels; at most {MAX_PIXELS:,} are taken:"
            " make it smaller"
        )


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scaled, not clipped: 16-bit greys over their full range, other depths over what occurs."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda grey: grey * (1 / 257)).convert("L")
    lowest, highest = (float(end) for end in image.getextrema())  # type: ignore[arg-type]  # one band
    if image.mode == "I" and lowest >= 0 and highest <= 65535:
        lowest, highest = 0.0, 65535.0
    scale = 255.0 / (highest - lowest) if highest > lowest else 0.0
    return image.convert("F").point(lambda grey: grey * scale - lowest * scale).convert("L")


def _thumbnail(image: Image.Image, px: int) -> bytes:
    """At most `px` on the longer side, WebP; a smaller picture keeps its size."""
    small = image.copy()
    small.thumbnail((px, px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    small.save(out, "WEBP", quality=QUALITY, method=2)
    return out.getvalue()


def keep_picture(store: MediaStore, picture: Picture) -> None:
    """Keep the original and the thumbnails; they are found again by `picture.sha256`."""
    store.put_at(original_key(picture.sha256), picture.data)
    for px, data in picture.thumbnails.items():
        store.put_at(thumbnail_key(picture.sha256, px=px), data)


def erase_picture(store: MediaStore, sha256: str) -> None:
    """Delete the original and the thumbnails."""
    for key in (original_key(sha256), *(thumbnail_key(sha256, px=px) for px in THUMBNAILS_PX)):
        store.delete(key)


def original_key(sha256: str) -> str:
    """Where an original lies."""
    return content_key(sha256, kind="images")


def thumbnail_key(sha256: str, *, px: int) -> str:
    """Where the thumbnail of an original lies."""
    return content_key(sha256, kind=f"thumbnails/{px}", suffix=".webp")


def mime_type(data: bytes) -> str:
    """The media type of a picture that was checked at import, by its first bytes."""
    with Image.open(io.BytesIO(data), formats=list(MIME_TYPES)) as image:
        return MIME_TYPES[image.format or ""]
