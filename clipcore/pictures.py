"""Pictures: opened, named when they cannot be read, and transformed, plainly or augmented.

An augmented picture is a pure function of (seed, epoch, number): both passes of gradient caching, any number of worker
processes and a resumed run see the same one.
"""

import io
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipcore.errors import ClipcoreError


@dataclass(frozen=True)
class Request:
    """Pictures to decode; `epoch` seeds their augmentation, None asks for the plain transform."""

    numbers: tuple[int, ...]
    epoch: int | None = None


def open_image(source: Any, name: str = "a picture in memory") -> Any:
    """The PIL image, RGB, of whatever an Example carries. Raises ClipcoreError naming what cannot be read.

    A path, or a callable that has a text of its own (a picture in a shard), tells its name; others bear `name`.
    """
    from PIL import Image

    name = name_of(source, name)
    try:
        if callable(source):
            source = source()
        if isinstance(source, bytes):
            source = io.BytesIO(source)
        if isinstance(source, str | Path | io.BytesIO):
            with Image.open(source) as image:
                return image.convert("RGB")
        return source.convert("RGB")
    except ClipcoreError:
        raise
    except Exception as error:  # on hostile bytes Pillow raises anything from SyntaxError to struct.error
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClipcoreError(f"Cannot read {name} ({told}): replace the file or drop the pair.") from None


def content_of(source: Any) -> bytes:
    """The bytes that decide a picture, for hashing: the encoded file, or mode, size and pixels of a PIL image.

    Raises ClipcoreError naming what cannot be read.
    """
    try:
        found = source() if callable(source) else source
        if isinstance(found, bytes):
            return found
        if isinstance(found, str | Path):
            return Path(found).read_bytes()
        return f"{found.mode} {found.size} ".encode() + found.tobytes()
    except OSError as error:
        name = name_of(source, "a picture in memory")
        raise ClipcoreError(f"Cannot read {name} ({error}): replace the file or drop the pair.") from None


def name_of(source: Any, otherwise: str) -> str:
    """What a person calls this picture."""
    if isinstance(source, str | Path):
        return str(source)
    has_text = callable(source) and "__str__" in vars(type(source))
    return str(source) if has_text else otherwise


class Pictures:
    """Pictures by number, as tensors [3, H, W]. Raises ClipcoreError naming a picture that cannot be read.

    `transform` is deterministic; `augment`, where given, draws from torch's, NumPy's and Python's global generators.
    """

    def __init__(
        self,
        images: Sequence[Any],
        transform: Callable[[Any], Tensor],
        *,
        augment: Callable[[Any], Tensor] | None = None,
        seed: int = 0,
        names: Sequence[str] = (),
    ):
        self.images, self.transform, self.augment, self.seed = images, transform, augment, seed
        self._names = names

    def __len__(self) -> int:
        return len(self.images)

    def name(self, number: int) -> str:
        """What a person calls picture `number`."""
        known = repr(self._names[number]) if self._names else f"number {number}"
        return name_of(self.images[number], f"picture {known}")

    def opened(self, number: int) -> Any:
        """The PIL image, RGB."""
        return open_image(self.images[number], self.name(number))

    def transformed(self, image: Any, number: int, epoch: int | None) -> Tensor:
        """[3, H, W]. With an epoch it uses the global generators of this process: call it from one thread only."""
        try:
            if epoch is None or self.augment is None:
                return self.transform(image)
            with _randomness(self.seed, epoch, number):
                return self.augment(image)
        except Exception as error:
            raise ClipcoreError(
                f"{self.name(number)} of {image.size} px cannot be transformed ({error}): replace it or drop the pair."
            ) from error

    def picture(self, number: int, epoch: int | None = None) -> Tensor:
        """Opened and transformed, [3, H, W]."""
        return self.transformed(self.opened(number), number, epoch)


@contextmanager
def _randomness(seed: int, epoch: int, number: int) -> Iterator[None]:
    """Generators seeded for one picture and put back afterwards; CUDA's are left alone: a step is using them."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    word = int(np.random.SeedSequence([seed, epoch, number]).generate_state(1)[0])
    torch.default_generator.manual_seed(word)
    np.random.seed(word)
    random.seed(word)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
