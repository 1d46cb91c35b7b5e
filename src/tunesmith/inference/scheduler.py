"""Which tokens the next step computes. No torch here.

A step has a budget of tokens. Sequences that lack one token (they decode) come first, so that
nobody's stream falters while a long prompt is read; what is left of the budget goes to prompts,
oldest first, in chunks.

Sequences are admitted in order of arrival, when their known tokens fit into the cache. The
length of a completion isn't known before, and to reserve for the longest would leave most of the
cache idle: a chat without `max_tokens` may use the whole context and hardly ever does. So
running sequences can outgrow the cache. Then the youngest gives up its blocks and waits at its
place in the queue; its tokens stay known and are computed anew, but for those that the cache
still holds then. The oldest always goes on and alone it fits, so all finish.

Of a request's choices the first reads the prompt; the others wait for it and share its blocks.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tunesmith.inference.adapter_slots import AdapterSlots
from tunesmith.inference.cache import Cache
from tunesmith.inference.limits import EngineLimits
from tunesmith.inference.sequence import Sequence


@dataclass(frozen=True)
class Chunk:
    """Tokens of one sequence that one step computes: those at positions `start` to `end`."""

    sequence: Sequence
    start: int
    end: int
    is_last: bool  # nothing known is uncomputed after it: the next token can be sampled

    @property
    def num_tokens(self) -> int:
        return self.end - self.start


class Scheduler:
    # Any: the slots' weights, which nobody here looks at.
    def __init__(self, limits: EngineLimits, cache: Cache, slots: AdapterSlots[Any]) -> None:
        self._limits = limits
        self._cache = cache
        self._slots = slots
        self._num_arrivals = 0
        # Both in order of arrival.
        self._waiting: list[Sequence] = []
        self._running: list[Sequence] = []

    def __iter__(self) -> Iterator[Sequence]:
        """All sequences that are under way, the running ones first."""
        return iter([*self._running, *self._waiting])

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def add(self, sequence: Sequence) -> None:
        sequence.arrival = self._num_arrivals
        self._num_arrivals += 1
        self._waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forgets a sequence, finished or not; one that isn't here is no mistake."""
        if sequence in self._running:
            self._stop(sequence)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)

    def choose(self) -> list[Chunk]:
        """The next step's work; empty if nothing can be done now.

        That is so if there is no sequence, or if all that run wait for their adapter.
        """
        if self._extend_running():
            self._admit_waiting()
        return self._spend_budget()

    def _extend_running(self) -> bool:
        """Sees that known tokens have their place, oldest sequence first; False if that cost a
        younger one its blocks."""
        num_running = len(self._running)
        index = 0
        while index < len(self._running):
            if self._cache.can_extend(self._running[index]):
                self._cache.extend(self._running[index])
                index += 1
            else:
                youngest = self._running[-1]
                self._stop(youngest)
                insort(self._waiting, youngest, key=_arrival)
        return len(self._running) == num_running

    def _admit_waiting(self) -> None:
        """Admits from the front of the queue until something is short.

        A sequence that finds all adapter slots pinned may be overtaken by others, but not for
        ever: from some number on, all wait behind it until running ones end and free a slot.
        """
        passed_by: list[Sequence] = []
        for sequence in list(self._waiting):
            if len(self._running) == self._limits.max_sequences:
                return
            # One block for each that runs: else it would be thrown out again at once.
            if self._is_led(sequence):
                continue
            if not self._cache.can_admit(sequence, headroom=len(self._running)):
                return
            if self._slots.can_pin(sequence.adapter):
                self._start(sequence)
                for other in passed_by:
                    other.num_overtaken += 1
            elif sequence.num_overtaken < self._limits.max_sequences:
                passed_by.append(sequence)
            else:
                return

    def _is_led(self, sequence: Sequence) -> bool:
        """Whether another one is computing its prompt just now, for both."""
        leader = sequence.leader
        if leader is None or leader not in self._running:
            return False
        return leader.num_computed < self._cache.num_shareable(sequence)

    def _spend_budget(self) -> list[Chunk]:
        ready = [sequence for sequence in self._running if self._slots.is_ready(sequence.adapter)]
        ready.sort(key=lambda sequence: sequence.num_uncomputed > 1)  # stable: oldest first
        budget = self._limits.max_step_tokens
        chunks = []
        for sequence in ready:
            start, num_tokens = sequence.num_computed, min(budget, sequence.num_uncomputed)
            if num_tokens == 0:
                break
            is_last = num_tokens == sequence.num_uncomputed
            chunks.append(Chunk(sequence, start, start + num_tokens, is_last))
            budget -= num_tokens
        return chunks

    def _start(self, sequence: Sequence) -> None:
        self._waiting.remove(sequence)
        sequence.slot = self._slots.pin(sequence.adapter)
        sequence.num_computed = self._cache.admit(sequence)
        if sequence.num_cached_tokens is None:
            sequence.num_cached_tokens = sequence.num_computed
        insort(self._running, sequence, key=_arrival)

    def _stop(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self._slots.unpin(sequence.adapter)
        self._cache.release(sequence)


def _arrival(sequence: Sequence) -> int:
    return sequence.arrival
