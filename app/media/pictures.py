"""From a file's bytes to a checked picture with its thumbnails: pure, made to run in a pool of processes."""

import hashlib
import io
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

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
WORKING_PX = 2 * max(THUMBNAILS_PX)  # larger pictures are reduced to about this as they are decoded
MAX_PIXELS = 60_000_000  # a 60-megapixel photograph; a 10,000 × 10,000 bomb is over it
MAX_BYTES = 64 * 2**20
MAX_QUERY_PX = 2048
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
    width, height, image = _decode(data, at_least_px=WORKING_PX)
    return Picture(
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        width=width,
        height=height,
        thumbnails=_thumbnails(image),
    )


def check_query(data: bytes) -> None:
    """A picture that somebody brings to search with: its head is read, nothing is decoded. Raises NearmissError."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            size = max(image.size)
    except Exception:
        raise NearmissError("this is no PNG, JPEG or WebP; bring another picture") from None
    if size > MAX_QUERY_PX:
        raise NearmissError(f"the picture is {size:,} px wide or high; bring one of at most {MAX_QUERY_PX:,}")


def upright_rgb(data: bytes) -> Image.Image:
    """The first frame, upright, RGB, transparent parts on white, 16 bits scaled to 8. Raises NearmissError."""
    return _decode(data, at_least_px=None)[2]


def shown_size(data: bytes) -> tuple[int, int]:
    """Width and height in px as shown, of a picture that was decoded whole before."""
    with Image.open(io.BytesIO(data), formats=list(MIME_TYPES)) as image:
        return _turned(image)


def _decode(data: bytes, *, at_least_px: int | None) -> tuple[int, int, Image.Image]:
    """Width and height as shown, and the picture, with `at_least_px` reduced by whole factors that leave so much."""
    if not data:
        raise NearmissError("the file is empty (0 bytes); export the picture again")
    if len(data) > MAX_BYTES:
        raise NearmissError(
            f"the file has {len(data):,} bytes; at most {MAX_BYTES:,} are taken: make it smaller"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own pixel warning: our cap below is the stricter
            image: Image.Image = Image.open(io.BytesIO(data), formats=list(MIME_TYPES))
            _check_size(image)
            width, height = _turned(image)
            if at_least_px:
                image.draft(None, (at_least_px, at_least_px))  # JPEG: decodes at 1/2, 1/4 or 1/8
            image.load()
            if at_least_px:
                image = _reduced(image, at_least_px)
            return width, height, _on_white(ImageOps.exif_transpose(image))
    except NearmissError:
        raise
    except UnidentifiedImageError:
        raise NearmissError(
            f"the file begins with {data[:8]!r}, which is no {', '.join(MIME_TYPES)}; convert it to PNG"
        ) from None
    except Image.DecompressionBombError:
        raise NearmissError(f"the picture has more than {MAX_PIXELS:,} pixels; make it smaller") from None
    except MemoryError:
        raise NearmissError("the picture needs too much memory to decode; make it smaller") from None
    except Exception as error:
        raise NearmissError(f"the picture is broken ({error}); export it again") from None


def _turned(image: Image.Image) -> tuple[int, int]:
    """EXIF's orientations 5 to 8 lie on their side."""
    lies = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return (image.height, image.width) if lies else (image.width, image.height)


def _reduced(image: Image.Image, px: int) -> Image.Image:
    factor = max(image.size) // px
    if factor < 2:
        return image
    info, exif = image.info, image.getexif()
    if image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.mode in ("P", "PA", "1"):
        image = image.convert("RGBA" if "transparency" in info or image.mode == "PA" else "RGB")
    small = image.reduce(factor)
    small.info = {**info, "exif": exif.tobytes()}
    return small


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


def _thumbnails(image: Image.Image) -> dict[int, bytes]:
    """By px, each from the larger one; a size that would be the next smaller one again is left out."""
    found: dict[int, bytes] = {}
    width, height = image.size
    for px, smaller in zip(reversed(THUMBNAILS_PX), (*reversed(THUMBNAILS_PX[:-1]), 0), strict=True):
        if max(width, height) <= smaller:
            continue
        scale = min(1.0, px / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        found[px] = _webp(image)
    return found


def _webp(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=QUALITY, method=2)
    return out.getvalue()


def keep_picture(store: MediaStore, picture: Picture, *, refer_to: Path | None = None) -> None:
    """Keep the original (or, with `refer_to`, a link to that file) and the thumbnails under `picture.sha256`.

    Nothing is forced to the disk: call `store.flush()` before the rows that name it are committed.
    """
    original = original_key(picture.sha256)
    if refer_to is not None:
        store.refer_at(original, refer_to)
    else:
        store.put_at(original, picture.data, flush=False)
    for px, data in picture.thumbnails.items():
        store.put_at(thumbnail_key(picture.sha256, px=px), data, flush=False)


def keep_file(image: Path | bytes, *, media_url: str, refer: bool = False) -> tuple[str, int, int] | str:
    """In a pool's process: (sha256, width, height) of a picture that is kept with its thumbnails, or a sentence.

    Bytes that are kept already were decoded whole before and are not decoded again. `refer` leaves originals in place.
    Raises NearmissError where the store cannot be written: then no picture could be kept.
    """
    try:
        if isinstance(image, Path) and image.stat().st_size > MAX_BYTES:
            return f"the file has {image.stat().st_size:,} bytes; at most {MAX_BYTES:,} are taken: make it smaller"
        data = image if isinstance(image, bytes) else image.read_bytes()
        store, sha256 = _store(media_url), hashlib.sha256(data).hexdigest()
        if is_kept(store, sha256):
            return sha256, *shown_size(data)
        picture = check_picture(data)
    except NearmissError as error:
        return str(error)
    except MemoryError:
        return "the picture needs too much memory to decode; make it smaller"
    except OSError as error:
        return f"the picture cannot be read ({error.strerror or error}); check the path and the disk"
    try:
        keep_picture(store, picture, refer_to=image if refer and isinstance(image, Path) else None)
    except OSError as error:
        raise NearmissError(
            f"the media store cannot be written ({error.strerror or error}); mend that and resume the import"
        ) from None
    return picture.sha256, picture.width, picture.height


@lru_cache(maxsize=1)
def _store(media_url: str) -> MediaStore:
    return MediaStore(media_url)


def is_kept(store: MediaStore, sha256: str) -> bool:
    """Whether original and smallest thumbnail (written last) of these bytes are there: then they were decoded whole before."""
    return store.exists(thumbnail_key(sha256, px=THUMBNAILS_PX[0])) and store.exists(original_key(sha256))


def erase_picture(store: MediaStore, sha256: str) -> None:
    """Delete the original, the thumbnails and the fingerprint."""
    thumbnails = (thumbnail_key(sha256, px=px) for px in THUMBNAILS_PX)
    for key in (original_key(sha256), *thumbnails, fingerprint_key(sha256)):
        store.delete(key)


def original_key(sha256: str) -> str:
    """Where an original lies."""
    return content_key(sha256, kind="images")


def thumbnail_key(sha256: str, *, px: int) -> str:
    """Where the thumbnail of an original lies."""
    return content_key(sha256, kind=f"thumbnails/{px}", suffix=".webp")


def fingerprint_key(sha256: str) -> str:
    """Where the perceptual hash of an original lies once mining has taken it."""
    return content_key(sha256, kind="fingerprints")


def thumbnail_keys(sha256: str, *, px: int) -> list[str]:
    """Where to look for a thumbnail of at most `px`: a picture that is smaller has only the smaller one."""
    return [thumbnail_key(sha256, px=one) for one in reversed(THUMBNAILS_PX) if one <= px]


def mime_type(data: bytes) -> str:
    """The media type of a picture that was checked at import, by its first bytes."""
    with Image.open(io.BytesIO(data), formats=list(MIME_TYPES)) as image:
        return MIME_TYPES[image.format or ""]
