"""The pixels of a run: told the coming steps, it decodes ahead, and keeps a step's pictures for the second pass.

What it returns never depends on the plan, the cache or the workers: a picture that is not at hand is decoded now.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor

from clipcore.ahead import OPENED_PIECE, PIECE, THREADS, decoded_ahead
from clipcore.pictures import Pictures, Request

AHEAD_SHARE = 0.25  # of the cache's size, beside it: decoded while the second pass asks for no new pictures
Key = tuple[int | None, int]  # (epoch of the augmentation or None, number)


class PixelSource:
    """Transformed pictures by number, [m, 3, H, W].

    While all plain pictures of the data fit `cache_bytes` they are kept for the whole run; otherwise those of the
    present step are, as many as fit, and the rest are decoded again for the second pass.
    """

    def __init__(self, pictures: Pictures, *, cache_bytes: float, workers: int = 0):
        self.pictures, self._cache_bytes, self._workers = pictures, cache_bytes, workers
        self._pool = ThreadPoolExecutor(max(THREADS, workers), thread_name_prefix="pictures")
        self._kept: dict[Key, Tensor] = {}
        self._opens_only = workers == 0 and pictures.augment is not None  # see ahead._by_threads
        self._piece = OPENED_PIECE if self._opens_only else PIECE
        self._step, self._epoch = 0, 0
        self._stream: Generator[Tensor, None, None] | None = None
        self._coming: deque[tuple[int, Request]] = deque()  # asked for, not received: (step, request)
        self._in_flight: Counter[tuple[int, Key]] = Counter()  # how many copies of it, by step
        self._ready: dict[Key, list[Tensor]] = defaultdict(list)  # received, not yet used
        self._asked: set[int] = set()  # in the whole run

    def plan(self, steps: Iterable[tuple[int, Sequence[int]]]) -> None:
        """What is coming: of each step its epoch and its picture numbers in the order of use; read lazily."""
        self.close()
        self._step = 0
        ahead = 0 if self._opens_only else int(AHEAD_SHARE * self._capacity / PIECE)
        requests = self._requests(steps)
        self._stream = decoded_ahead(self.pictures, requests, workers=self._workers, ahead=ahead)

    def begin_step(self, epoch: int) -> None:
        """The next planned step begins; `epoch` seeds the augmentation of its pictures."""
        self._step, self._epoch = self._step + 1, epoch
        if not self._keeps_all:
            self._kept.clear()
        while self._coming and self._coming[0][0] < self._step:
            self._receive()  # pictures that the step before had no use for
        self._ready.clear()
        self._in_flight = +self._in_flight  # without those that arrived

    def pixels(self, numbers: Sequence[int], *, training: bool = False) -> Tensor:
        """The pictures of `numbers`, stacked [m, 3, H, W]: augmented, where that was asked for, in `training` only."""
        epoch = self._epoch if training and self.pictures.augment else None
        keys = [(epoch, number) for number in numbers]
        if training and self._stream is not None and not self._coming:
            self._receive()
        found: dict[Key, Tensor] = {}
        for key in dict.fromkeys(keys):
            while key not in self._kept and not self._ready[key] and self._in_flight[self._step, key] > 0:
                self._receive()
            if key in self._kept:
                found[key] = self._kept[key]
            elif self._ready[key]:
                found[key] = self._ready[key].pop()
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        found |= zip(missing, self._decoded([number for _, number in missing], epoch))
        if training or self._keeps_all:
            self._keep(found)
        return torch.stack([found[key] for key in keys])

    def stream(self, numbers: Sequence[int], size: int) -> Iterator[Tensor]:
        """All pictures of `numbers` once, plain, decoded ahead, [≤ size, 3, H, W] at a time; nothing is kept."""
        pieces = (Request(tuple(numbers[i : i + PIECE])) for i in range(0, len(numbers), PIECE))
        decoded = decoded_ahead(self.pictures, pieces, workers=self._workers)
        while part := list(islice(decoded, max(1, size // PIECE))):
            yield torch.cat(part)

    def close(self) -> None:
        """Ends the processes or threads that decode ahead."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        for found in (self._coming, self._in_flight, self._ready, self._asked):
            found.clear()

    # -- decoding --------------------------------------------------------------------------------------------

    def _requests(self, steps: Iterable[tuple[int, Sequence[int]]]) -> Iterator[Request]:
        """The pictures to decode, in the order of use; asked for lazily, a few requests ahead."""
        for step, (epoch, numbers) in enumerate(steps, 1):
            wanted = self._wanted(numbers)
            if self._keeps_all and not wanted:
                return  # the rest of the run finds its pictures kept
            self._asked.update(wanted)
            for i in range(0, len(wanted), self._piece):
                if step < self._step:
                    break  # its pictures come too late
                request = Request(
                    tuple(wanted[i : i + self._piece]), epoch if self.pictures.augment else None
                )
                self._coming.append((step, request))
                self._in_flight.update((step, (request.epoch, n)) for n in request.numbers)
                yield request

    def _wanted(self, numbers: Sequence[int]) -> list[int]:
        """Each use of a picture in both passes, less those that will find it kept."""
        unique = list(dict.fromkeys(numbers))
        if self._keeps_all:
            return [n for n in unique if (None, n) not in self._kept and n not in self._asked]
        kept = set(unique[: self._capacity])
        return [n for n in unique if n in kept] + 2 * [n for n in numbers if n not in kept]

    def _receive(self) -> None:
        """Takes the next decoded request in."""
        assert self._stream is not None
        pixels = next(self._stream, None)
        if pixels is None:
            self._stream = None
            return
        step, request = self._coming.popleft()
        for number, picture in zip(request.numbers, pixels):
            key = (request.epoch, number)
            self._in_flight[step, key] -= 1
            if self._keeps_all:
                self._kept[key] = picture
            else:
                self._ready[key].append(picture)

    def _decoded(self, numbers: Sequence[int], epoch: int | None) -> list[Tensor]:
        if epoch is None:
            return list(self._pool.map(self.pictures.picture, numbers))
        found: list[Tensor] = []
        for i in range(0, len(numbers), OPENED_PIECE):
            part = numbers[i : i + OPENED_PIECE]
            opened = self._pool.map(self.pictures.opened, part)
            found += [self.pictures.transformed(x, n, epoch) for x, n in zip(opened, part)]
        return found

    # -- keeping ---------------------------------------------------------------------------------------------

    @cached_property
    def _capacity(self) -> int:
        """How many pictures fit the budget; all have the size of the first."""
        return int(self._cache_bytes / self.pictures.picture(0).nbytes) if len(self.pictures) else 0

    @cached_property
    def _keeps_all(self) -> bool:
        return self.pictures.augment is None and self._capacity >= len(self.pictures)

    def _keep(self, found: dict[Key, Tensor]) -> None:
        for key, value in found.items():
            if len(self._kept) >= self._capacity:
                return
            self._kept.setdefault(key, value)
