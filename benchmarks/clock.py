"""Times: seconds of a call, percentiles of many, and waiting until something is there."""

import statistics
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

AWAY = (OSError, ValueError, HTTPException)  # no connection, half an answer


def timed(call: Callable[[], Any]) -> float:
    """Its seconds."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def percentile(times: list[float], which: int) -> float:
    """The percentile by linear interpolation, one decimal."""
    return round(statistics.quantiles(times, n=100, method="inclusive")[which - 1], 1)


def wait(
    what: str,
    found: Callable[[], Any],
    *,
    timeout_s: float = 60.0,
    pause_s: float = 0.1,
    not_yet: tuple[type[BaseException], ...] = AWAY,
    told: Callable[[], str] = str,
) -> Any:
    """What `found` answers once it is true. Raises RuntimeError with what `told` says then, such as the logs."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        try:
            if value := found():
                return value
        except not_yet:
            pass
        time.sleep(pause_s)
    raise RuntimeError(f"{what} did not come within {timeout_s:.0f} s\n{told()}")


def wait_for_page(url: str, *, timeout_s: float = 90.0, told: Callable[[], str] = str) -> None:
    """Until the address answers."""

    def answers() -> bool:
        urllib.request.urlopen(url, timeout=5).close()
        return True

    wait(url, answers, timeout_s=timeout_s, told=told)
