"""Who waits, and whose turn it is. No torch here.

Tenants are told apart by their salts. Next comes the tenant of whom the fewest sequences run; among
equals, the one whose last turn is longest ago. A tenant who comes joins the round at its end, so
one that comes and goes gains nothing by it. Within a tenant the oldest sequence goes first.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterator

from tunesmith.inference.sequence import Sequence

Tenant = str | None  # a salt


class Queue:
    def __init__(self) -> None:
        self._waiting: dict[Tenant, list[Sequence]] = {}  # each list in order of arrival
        self._num_waiting = 0
        self._running: Counter[Tenant] = Counter()
        self._turns: dict[Tenant, int] = {}  # of those who are here: when they had their last one
        self._num_turns = 0

    def __len__(self) -> int:
        return self._num_waiting

    def __iter__(self) -> Iterator[Sequence]:
        return (sequence for own in self._waiting.values() for sequence in own)

    def __contains__(self, sequence: Sequence) -> bool:
        return sequence in self._waiting.get(sequence.cache_salt, ())

    def num_waiting(self, tenant: Tenant) -> int:
        return len(self._waiting.get(tenant, ()))

    def num_others(self, tenant: Tenant) -> int:
        """How many other tenants have something waiting."""
        return len(self._waiting.keys() - {tenant})

    def num_running(self, tenant: Tenant) -> int:
        return self._running[tenant]

    @property
    def fewest_running(self) -> int:
        """Of a tenant that has something waiting; there is one."""
        return min(self._running[tenant] for tenant in self._waiting)

    @property
    def most_running(self) -> int:
        """Of any tenant."""
        return max(self._running.values(), default=0)

    def add(self, sequence: Sequence) -> None:
        tenant = sequence.cache_salt
        if tenant not in self._turns:
            self._turns[tenant] = self._next_turn()
        insort(self._waiting.setdefault(tenant, []), sequence, key=_arrival)
        self._num_waiting += 1

    def remove(self, sequence: Sequence) -> None:
        """One that waits goes away."""
        self._take_out(sequence)
        self._forget_if_gone(sequence.cache_salt)

    def start(self, sequence: Sequence) -> None:
        """One that waits has its turn."""
        self._take_out(sequence)
        self._running[sequence.cache_salt] += 1
        self._turns[sequence.cache_salt] = self._next_turn()

    def stop(self, sequence: Sequence) -> None:
        """One that ran does so no longer."""
        tenant = sequence.cache_salt
        self._running[tenant] -= 1
        self._forget_if_gone(tenant)

    def in_turn(self) -> Iterator[Sequence]:
        """Those that wait, each once, in the order of turns. Sequences may be started and put back
        meanwhile; what is put back has no turn in this round."""
        rests = {tenant: iter(list(own)) for tenant, own in self._waiting.items()}
        while rests:
            tenant = min(rests, key=lambda one: (self._running[one], self._turns.get(one, 0)))
            sequence = next(rests[tenant], None)
            if sequence is None:
                del rests[tenant]
            else:
                yield sequence

    def _take_out(self, sequence: Sequence) -> None:
        own = self._waiting[sequence.cache_salt]
        own.remove(sequence)
        if not own:
            del self._waiting[sequence.cache_salt]
        self._num_waiting -= 1

    def _forget_if_gone(self, tenant: Tenant) -> None:
        """Tenants come and go by the thousand."""
        if self._running[tenant] == 0:
            del self._running[tenant]
            if tenant not in self._waiting:
                del self._turns[tenant]

    def _next_turn(self) -> int:
        self._num_turns += 1
        return self._num_turns


def _arrival(sequence: Sequence) -> int:
    return sequence.arrival
