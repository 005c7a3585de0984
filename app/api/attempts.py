"""How often an address may try to log in: each attempt costs a slow hash."""

import threading
import time
from collections import deque


class Attempts:
    """At most `most` attempts in any `window_s` seconds from one address, in this process."""

    def __init__(self, *, most: int, window_s: float) -> None:
        self._most, self._window_s = most, window_s
        self._times: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def allow(self, address: str) -> bool:
        """Counts an attempt; False when it is one too many."""
        now = time.monotonic()
        with self._lock:
            if len(self._times) > 10_000:  # a flood of addresses must not fill the memory
                self._times = {a: t for a, t in self._times.items() if now - t[-1] < self._window_s}
            times = self._times.setdefault(address, deque())
            while times and now - times[0] > self._window_s:
                times.popleft()
            if len(times) >= self._most:
                return False
            times.append(now)
            return True

    def forget(self) -> None:
        """Starts anew."""
        with self._lock:
            self._times.clear()
