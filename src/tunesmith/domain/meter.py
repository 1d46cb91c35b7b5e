"""How much of something was used in the last minute, for limits per minute.

A meter fills at once and empties steadily: with a limit of 60 a minute, 60 may come at one go, and
then one a second (the *generic cell rate algorithm*). All that is remembered of somebody is when
the meter will be empty; who has not come for a minute costs no memory.
"""

import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

MINUTE_S = 60.0
TOLERANCE_S = 1e-6  # who waits as long as we said must get in
MIN_SWEPT = 1024


@dataclass(frozen=True)
class Reading:
    limit: int
    used: int
    empty_in_s: float
    wait_s: float = 0.0  # until what was asked for fits; infinite: it never will

    @property
    def remaining(self) -> int:
        return max(self.limit - self.used, 0)


class Meters:
    """One meter for each name. Safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._empty_at: dict[Hashable, float] = {}
        self._swept_at = MIN_SWEPT

    def __len__(self) -> int:
        return len(self._empty_at)

    def take(self, name: Hashable, amount: int, limit: int) -> Reading:
        """Counts `amount` if it fits; the reading says whether it did (`wait_s` is 0)."""
        with self._lock:
            now = self._clock()
            before = max(self._empty_at.get(name, now), now)
            after = before + amount * MINUTE_S / limit
            wait_s = after - now - MINUTE_S
            if amount > limit:
                return _reading(limit, before - now, math.inf)
            if wait_s > TOLERANCE_S:
                return _reading(limit, before - now, wait_s)
            self._note(name, after, now)
            return _reading(limit, after - now)

    def correct(self, name: Hashable, difference: int, limit: int) -> None:
        """What was counted turned out to be more, or less: the meter may run over by it."""
        with self._lock:
            now = self._clock()
            before = max(self._empty_at.get(name, now), now)
            self._note(name, before + difference * MINUTE_S / limit, now)

    def _note(self, name: Hashable, empty_at: float, now: float) -> None:
        self._empty_at[name] = empty_at
        if len(self._empty_at) > self._swept_at:
            self._empty_at = {key: time for key, time in self._empty_at.items() if time > now}
            self._swept_at = max(MIN_SWEPT, 2 * len(self._empty_at))


def _reading(limit: int, empty_in_s: float, wait_s: float = 0.0) -> Reading:
    used = math.ceil(empty_in_s * limit / MINUTE_S - 1e-6)
    return Reading(limit, used, empty_in_s, wait_s)
