"""Which tokens the next step computes. No torch here.

A step has a budget of tokens. Sequences that lack one token (they decode) come first, so that
nobody's stream falters while a long prompt is read; what is left of the budget goes to prompts in
chunks: to each tenant the same share, within it oldest first.

Sequences are admitted when it is their turn (`queue.py`) and their known tokens fit into the
cache. The length of a completion isn't known before, and to reserve for the longest would leave
most of the cache idle: a chat without `max_tokens` may use the whole context and hardly ever does.
So running sequences can outgrow the cache. Then the youngest of the tenant who has most of them
gives up its blocks and waits at its place in the queue; its tokens stay known and are computed
anew, but for those that the cache still holds then. The oldest always goes on and alone it fits,
so all finish.

Tenants who want more than there is get the same number of sequences: one with fewer than its share
takes the place of another's youngest, in the same way. See decision 0012.

Of a request's choices the first reads the prompt; the others wait for it and share its blocks.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tunesmith.domain.shares import Fit, fit
from tunesmith.inference.adapter_slots import AdapterSlots
from tunesmith.inference.cache import Cache
from tunesmith.inference.limits import EngineLimits
from tunesmith.inference.queue import Queue, Tenant
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
        self._queue = Queue()
        self._running: list[Sequence] = []  # in order of arrival

    def __iter__(self) -> Iterator[Sequence]:
        """All sequences that are under way, the running ones first."""
        return iter([*self._running, *self._queue])

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._queue)

    def fit(self, num_sequences: int, tenant: Tenant) -> Fit:
        """Whether so many more may wait, of this tenant."""
        return fit(
            num_sequences,
            own=self._queue.num_waiting(tenant),
            taken=self.num_waiting,
            size=self._limits.max_waiting,
            num_others=self._queue.num_others(tenant),
        )

    def add(self, sequence: Sequence) -> None:
        sequence.arrival = self._num_arrivals
        self._num_arrivals += 1
        self._queue.add(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forgets a sequence, finished or not; one that isn't here is no mistake."""
        if sequence in self._running:
            self._stop(sequence)
        elif sequence in self._queue:
            self._queue.remove(sequence)

    def choose(self) -> list[Chunk]:
        """The next step's work; empty if nothing can be done now.

        That is so if there is no sequence, or if all that run wait for their adapter.
        """
        if self._extend_running() and self._queue:
            self._admit_waiting()
        return self._spend_budget()

    def _extend_running(self) -> bool:
        """Sees that known tokens have their place, oldest sequence first; False if that cost
        another one its blocks."""
        num_running = len(self._running)
        index = 0
        while index < len(self._running):
            if self._cache.can_extend(self._running[index]):
                self._cache.extend(self._running[index])
                index += 1
            else:
                index -= self._put_back_youngest() < index
        return len(self._running) == num_running

    def _admit_waiting(self) -> None:
        """Admits in turn until something is short.

        A sequence that finds all adapter slots pinned may be overtaken by others, but not for
        ever: from some number on, all wait behind it until running ones end and free a slot.
        """
        if self._is_full and not self._may_replace(self._queue.fewest_running):
            return
        passed_by: list[Sequence] = []
        for sequence in self._queue.in_turn():
            if self._is_led(sequence):
                continue
            if not self._slots.can_pin(sequence.adapter):
                if sequence.num_overtaken == self._limits.max_sequences:
                    return
                passed_by.append(sequence)
                continue
            if not self._make_room(sequence):
                return
            self._start(sequence)
            for other in passed_by:
                other.num_overtaken += 1

    @property
    def _is_full(self) -> bool:
        return len(self._running) == self._limits.max_sequences

    def _may_replace(self, num_running: int) -> bool:
        """Whether a tenant of whom so many run may take a place from the one who has most. By two
        fewer: else they would go on taking the same place from each other."""
        return num_running + 2 <= self._queue.most_running

    def _make_room(self, sequence: Sequence) -> bool:
        while not self._has_room(sequence):
            if not self._may_replace(self._queue.num_running(sequence.cache_salt)):
                return False
            self._put_back_youngest()
        return True

    def _has_room(self, sequence: Sequence) -> bool:
        # One block for each that runs: else it would be thrown out again at once.
        return not self._is_full and self._cache.can_admit(sequence, headroom=len(self._running))

    def _put_back_youngest(self) -> int:
        """Has the youngest sequence of the tenant who has most of them wait again; its place among
        the running ones. The oldest of all is never it, unless it is alone."""
        most = self._queue.most_running
        place = len(self._running) - 1
        while self._queue.num_running(self._running[place].cache_salt) < most:
            place -= 1
        sequence = self._running[place]
        self._stop(sequence)
        self._queue.add(sequence)
        return place

    def _is_led(self, sequence: Sequence) -> bool:
        """Whether another one is computing its prompt just now, for both."""
        leader = sequence.leader
        if leader is None or leader not in self._running:
            return False
        return leader.num_computed < self._cache.num_shareable(sequence)

    def _spend_budget(self) -> list[Chunk]:
        ready = [sequence for sequence in self._running if self._slots.is_ready(sequence.adapter)]
        decoding = [sequence for sequence in ready if sequence.num_uncomputed == 1]
        chunks = [_chunk(sequence, 1) for sequence in decoding]
        prompts: dict[Tenant, list[Sequence]] = defaultdict(list)
        for sequence in ready:
            if sequence.num_uncomputed > 1:
                prompts[sequence.cache_salt].append(sequence)
        budget = self._limits.max_step_tokens - len(chunks)
        # Who wants least comes first, so that what it leaves of its share goes to the others.
        tenants = sorted(prompts.values(), key=lambda own: sum(s.num_uncomputed for s in own))
        for num_before, own in enumerate(tenants):
            share = -(-budget // (len(tenants) - num_before))
            for sequence in own:
                num_tokens = min(share, sequence.num_uncomputed)
                if num_tokens == 0:
                    break
                chunks.append(_chunk(sequence, num_tokens))
                share -= num_tokens
                budget -= num_tokens
        return chunks

    def _start(self, sequence: Sequence) -> None:
        self._queue.start(sequence)
        sequence.slot = self._slots.pin(sequence.adapter)
        sequence.num_computed = self._cache.admit(sequence)
        if sequence.num_cached_tokens is None:
            sequence.num_cached_tokens = sequence.num_computed
        insort(self._running, sequence, key=lambda one: one.arrival)

    def _stop(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self._queue.stop(sequence)
        self._slots.unpin(sequence.adapter)
        self._cache.release(sequence)


def _chunk(sequence: Sequence, num_tokens: int) -> Chunk:
    start = sequence.num_computed
    is_last = num_tokens == sequence.num_uncomputed
    return Chunk(sequence, start, start + num_tokens, is_last)
