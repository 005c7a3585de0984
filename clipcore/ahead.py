"""Decoding ahead: the pictures of coming requests, in order, while the step computes; by threads or by processes."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from clipcore.errors import ClipcoreError
from clipcore.pictures import Pictures, Request

PIECE = 32  # pictures a request: 19 MB at 224 px, small beside a container's /dev/shm
OPENED_PIECE = 8  # where they wait opened, at full size: a photograph may be 36 MB
AHEAD = 2  # requests that each process, or all threads together, are ahead at least
THREADS = 2
IDLE = -1


def decoded_ahead(
    pictures: Pictures, requests: Iterator[Request], *, workers: int, ahead: int = 0
) -> Generator[Tensor, None, None]:
    """The pictures [m, 3, H, W] of each request; `workers` processes, or threads when it is 0. Close it when done.

    About `ahead` requests are decoded before they are asked for, at least AHEAD by each process. Raises ClipcoreError
    naming the picture that cannot be read, or at which a process died.
    """
    if workers > 0:
        return _by_processes(pictures, requests, workers, max(AHEAD, ahead // workers))
    return _by_threads(pictures, requests, max(AHEAD, ahead))


def _by_threads(pictures: Pictures, requests: Iterator[Request], ahead: int) -> Generator[Tensor, None, None]:
    """Augmentation draws from global generators, so it happens here, in the caller's thread; decoding does not."""
    coming: deque[tuple[Request, list[Future[Any]]]] = deque()
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="pictures")
    try:
        for request in requests:
            decode = pictures.picture if request.epoch is None else pictures.opened
            coming.append((request, [pool.submit(decode, n) for n in request.numbers]))
            if len(coming) > ahead:
                yield _finished(pictures, *coming.popleft())
        while coming:
            yield _finished(pictures, *coming.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _finished(pictures: Pictures, request: Request, decoded: list[Future[Any]]) -> Tensor:
    found = [future.result() for future in decoded]
    if request.epoch is not None:
        found = [pictures.transformed(x, n, request.epoch) for x, n in zip(found, request.numbers)]
    return torch.stack(found)


class _Watched(Dataset[Any]):
    """Runs in the worker processes; `at_work` [workers, 2] tells each one's process id and present picture."""

    def __init__(self, pictures: Pictures, at_work: Tensor):
        self.pictures, self.at_work = pictures, at_work

    def __getitem__(self, request: Request) -> Tensor | ClipcoreError:
        info = get_worker_info()
        place = self.at_work[info.id if info else 0]
        place[0] = os.getpid()
        found = []
        try:
            for number in request.numbers:
                place[1] = number
                found.append(self.pictures.picture(number, request.epoch))
        except ClipcoreError as error:  # as a value: torch would wrap its sentence in a traceback
            return error
        place[1] = IDLE
        return torch.stack(found)


def _by_processes(
    pictures: Pictures, requests: Iterator[Request], workers: int, ahead: int
) -> Generator[Tensor, None, None]:
    at_work = torch.full((workers, 2), IDLE, dtype=torch.int64).share_memory_()
    loader = DataLoader(
        _Watched(pictures, at_work),
        sampler=requests,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=ahead,
        collate_fn=_unchanged,
        generator=torch.Generator(),  # its own: the global one belongs to the training
        multiprocessing_context="fork" if sys.platform == "linux" else None,  # pictures may be no pickles
    )
    stream = _started(loader)
    while True:
        try:
            found = next(stream)
        except StopIteration:
            return
        except RuntimeError as error:
            death = _death(pictures, at_work)
            if death is None:
                raise
            raise death from error
        if isinstance(found, ClipcoreError):
            raise found
        yield found.clone()  # out of shared memory, whose file handles are few


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """torch's own SIGCHLD handler would raise anywhere in the step; a death is found when its pictures are missing."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    stream = iter(loader)
    signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return stream


def _death(pictures: Pictures, at_work: Tensor) -> ClipcoreError | None:
    alive = {child.pid for child in multiprocessing.active_children()}
    dead = [number for pid, number in at_work.tolist() if pid != IDLE and pid not in alive]
    if not dead:
        return None
    names = " or ".join(pictures.name(n) for n in dead if n != IDLE) or "pictures"
    return ClipcoreError(
        f"A process that decodes pictures died at {names}: the file crashes the decoder or memory (/dev/shm too) "
        "ran out; drop the picture or lower batch.workers."
    )


def _unchanged(value: Any) -> Any:
    return value
