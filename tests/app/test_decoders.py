"""The pool of limited processes: what eats memory or time costs its own row only."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

from app.media import decoders
from app.media.decoders import DIED, MEMORY_BYTES, Decoders
from app.media.pictures import keep_file


def work(item: str) -> str:
    if item == "memory":
        try:
            return str(len(bytes(MEMORY_BYTES)))
        except MemoryError:
            return "refused"
    if item == "crash":
        ctypes.string_at(0)
    if item == "exit":
        os._exit(1)
    return item.upper()


def impatient(item: str) -> str:
    decoders._alarm(0.3)
    if item == "slow":
        time.sleep(60)
    return item


def test_a_process_that_dies_or_asks_for_too_much_costs_its_own_row():
    items = ["a", "crash", "b", "memory", "exit", *"cdefgh" * 20]
    with Decoders(work, num_processes=2) as pool:
        found = list(pool.map(items))
    assert [item for item, _ in found] == items
    answers = [answer for _, answer in found]
    assert answers[:5] == ["A", DIED, "B", "refused", DIED]
    assert answers[5:] == [item.upper() for item in items[5:]]


def test_a_picture_that_takes_too_long_ends_its_process_and_the_rest_goes_on():
    with Decoders(impatient, num_processes=1) as pool:
        assert list(pool.map(["a", "slow", "b"])) == [("a", "a"), ("slow", DIED), ("b", "b")]


def test_files_wait_in_bounded_number():
    taken = []

    def items():
        for i in range(10_000):
            taken.append(i)
            yield "x"

    with Decoders(work, num_processes=1) as pool:
        next(pool.map(items()))
    assert len(taken) <= 200


def test_a_picture_is_kept_once_however_often_it_comes(tmp_path):
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    Image.new("RGB", (2000, 1000), (9, 9, 9)).save(out, "JPEG")
    url = f"file://{tmp_path}/media"
    first = keep_file(out.getvalue(), media_url=url)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert first == keep_file(out.getvalue(), media_url=url) and first[1:] == (2000, 1000)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert len(times) == 3  # the original and two thumbnails


def busy(item: str) -> str:
    decoders._alarm(0.3)
    while item == "busy":
        pass
    return item


def test_a_picture_that_computes_too_long_ends_its_process_and_the_rest_goes_on():
    with Decoders(busy, num_processes=1) as pool:
        assert list(pool.map(["a", "busy", "b"])) == [("a", "a"), ("busy", DIED), ("b", "b")]


def test_no_process_outlives_an_import_that_is_killed():
    code = (
        "import os, sys, time\nfrom app.media.decoders import Decoders\n"
        "if __name__ == '__main__':\n"
        "    with Decoders(os.path.basename, num_processes=2) as decoders:\n"
        "        list(decoders.map(['a'] * 100))\n"
        "        print(*decoders._pool._processes, flush=True)\n"
        "        time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert children and all(Path(f"/proc/{pid}").exists() for pid in children)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(_lives(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if _lives(pid)]


def _lives(pid: int) -> bool:
    """Neither gone nor waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
