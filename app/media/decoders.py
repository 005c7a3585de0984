"""A pool of limited processes for pictures: one that eats memory or time costs its own row and nothing else.

Each process may map MEMORY_BYTES and spend TIME_S on a picture; past that it is refused memory, or killed by its own
alarm. A process that dies takes the pool with it, so the rows of its chunk are done again one by one, each in a
process of its own, and the one that kills again is refused with a sentence.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait
from typing import Generic, TypeVar

MEMORY_BYTES = 1 << 30
TIME_S = 30.0  # of computing
CLOCK = 10  # times as long by the clock
CHUNK = 32  # rows a message to a process
DIED = f"decoding it took more than {TIME_S:.0f} s of computing or ended the process; export it again as a plain PNG or JPEG"
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Decoders(Generic[Item, Answer]):
    """`work(item)` for many items in limited processes; `work` must be a module's function. Use it in a `with`."""

    def __init__(self, work: Callable[[Item], Answer], *, num_processes: int | None = None) -> None:
        self._work = work
        self._num = num_processes or min(8, os.cpu_count() or 1)
        self._pool = self._start(self._num)

    def __enter__(self) -> "Decoders[Item, Answer]":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, items: Iterable[Item], *, ahead: int = 3) -> Iterator[tuple[Item, Answer | str]]:
        """(item, answer) in order, the sentence DIED in the place of an answer that never came.

        At most `ahead` chunks a process wait, so that memory stays flat however many items there are.
        """
        waiting: deque[tuple[list[Item], Future[list[Answer]]]] = deque()
        source = iter(items)
        while True:
            while len(waiting) < self._num * ahead and (chunk := list(islice(source, CHUNK))):
                waiting.append((chunk, self._submit(chunk)))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            try:
                yield from zip(chunk, future.result(), strict=True)
            except BrokenProcessPool:
                self._pool.shutdown(wait=False)
                self._pool = self._start(self._num)
                yield from self._one_by_one(chunk)
                waiting = deque((c, f if _is_done(f) else self._submit(c)) for c, f in waiting)

    def _submit(self, chunk: list[Item]) -> "Future[list[Answer]]":
        try:
            return self._pool.submit(_do, self._work, chunk)
        except BrokenProcessPool as error:
            broken: Future[list[Answer]] = Future()
            broken.set_exception(error)
            return broken

    def _one_by_one(self, chunk: Sequence[Item]) -> Iterator[tuple[Item, Answer | str]]:
        pool = self._start(1)
        try:
            for item in chunk:
                try:
                    yield item, pool.submit(_do, self._work, [item]).result()[0]
                except BrokenProcessPool:
                    yield item, DIED
                    pool.shutdown(wait=False)
                    pool = self._start(1)
        finally:
            pool.shutdown(wait=False)

    def _start(self, num: int) -> ProcessPoolExecutor:
        # spawned, not forked: the importing process has threads, and its mapped libraries would count
        method = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(num, mp_context=method, initializer=_limit)


def _is_done(future: "Future[list[Answer]]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _limit() -> None:
    """In the new process: memory and the alarm that kills it (Windows has neither), and no life after the parent's."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's to handle
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A parent that was killed closes no queue, and each process holds the queue's other end open for itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _do(work: Callable[[Item], Answer], chunk: list[Item]) -> list[Answer]:
    answers = []
    for item in chunk:
        _alarm(TIME_S)
        answers.append(work(item))
    _alarm(0)
    return answers


def _alarm(seconds: float) -> None:
    """Computing time, so that a busy machine refuses no good picture; ten times as much on the clock for a dead disk."""
    if hasattr(signal, "setitimer"):
        for kind, timer, allowed in (
            (signal.SIGPROF, signal.ITIMER_PROF, seconds),
            (signal.SIGALRM, signal.ITIMER_REAL, CLOCK * seconds),
        ):
            signal.signal(kind, signal.SIG_DFL)
            signal.setitimer(timer, allowed)
