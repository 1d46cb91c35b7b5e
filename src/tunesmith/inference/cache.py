"""Which sequences own which block of the key-value cache. Bookkeeping only: no tensors, no torch.

Memory for keys and values is cut into blocks of `block_size` tokens. A sequence is admitted with
blocks for all the tokens that it knows and extended as it learns more.

A block that is full of computed tokens is *shared*: whoever comes with the same tokens from the
very beginning, the same adapter and the same salt owns it too instead of computing it anew. It
is never written to again, for the token that a sequence computes next lies in another block. One
that lost its last owner keeps its content (it is *idle*) until its place is needed; the least
recently used goes first. The salt keeps tenants apart: nobody learns from times or counts what
others have asked.

Of the free blocks the lowest goes first, so that blocks in use lie close together:
`decode_attention.py` is fastest then.
"""

import heapq
from array import array
from hashlib import blake2b

from tunesmith.inference.adapter_slots import KnownAdapter
from tunesmith.inference.sequence import Sequence

# What a block's content follows from. Adapter and salt stand here as they are: two adapters of
# one name, one after the other, are two, and no digest has to keep tenants apart.
Key = tuple[KnownAdapter | None, str | None, bytes]


class Cache:
    def __init__(self, num_blocks: int, block_size: int) -> None:
        self._block_size = block_size
        self._free = list(range(num_blocks))  # a heap: nobody's, and with nothing to keep
        self._idle: dict[int, None] = {}  # shared ones without owner, least recently used first
        self._num_owners = [0] * num_blocks
        self._shared: dict[Key, int] = {}
        self._keys: dict[int, Key] = {}  # the reverse

    @property
    def num_free(self) -> int:
        """Blocks that can be had: those that are idle too."""
        return len(self._free) + len(self._idle)

    def can_admit(self, sequence: Sequence, headroom: int) -> bool:
        """Whether its blocks are there, and `headroom` more for others to grow into."""
        reused = self._find(sequence)
        num_left = self.num_free - sum(block_id in self._idle for block_id in reused)
        return self._num_missing(sequence) - len(reused) + headroom <= num_left

    def admit(self, sequence: Sequence) -> int:
        """Gives it blocks for all tokens it knows; how many of these are computed already."""
        assert not sequence.block_ids, "a sequence is admitted once"
        reused = self._find(sequence)
        for block_id in reused:
            self._idle.pop(block_id, None)
            self._own(sequence, block_id)
        self.extend(sequence)
        return len(reused) * self._block_size

    def can_extend(self, sequence: Sequence) -> bool:
        return self._num_missing(sequence) <= self.num_free

    def extend(self, sequence: Sequence) -> None:
        """Adds blocks until all tokens it knows have their place."""
        for _ in range(self._num_missing(sequence)):
            self._own(sequence, self._take())

    def share(self, sequence: Sequence, num_computed: int) -> None:
        """Notes that its tokens are computed up to there: blocks that are full now are shared,
        unless another one with the same content is."""
        for index in range(
            sequence.num_computed // self._block_size, num_computed // self._block_size
        ):
            block_id, key = sequence.block_ids[index], self._key(sequence, index)
            if key not in self._shared:
                self._shared[key] = block_id
                self._keys[block_id] = key
        sequence.num_computed = num_computed

    def num_shareable(self, sequence: Sequence) -> int:
        """How many of its tokens could be there already, at best."""
        return sequence.max_reused // self._block_size * self._block_size

    def forget(self, sequence: Sequence) -> None:
        """What it computed is in doubt: nobody else gets its blocks."""
        for block_id in sequence.block_ids:
            self._unshare(block_id)

    def release(self, sequence: Sequence) -> None:
        """Takes all its blocks back; what was computed is lost, but for what is shared."""
        # The last block first: the more a block follows from, the less often it is of use.
        for block_id in reversed(sequence.block_ids):
            self._num_owners[block_id] -= 1
            if self._num_owners[block_id] > 0:
                continue
            if block_id in self._keys:
                self._idle[block_id] = None
            else:
                heapq.heappush(self._free, block_id)
        sequence.block_ids = []
        sequence.num_computed = 0

    def _find(self, sequence: Sequence) -> list[int]:
        """The shared blocks that its tokens begin with."""
        found: list[int] = []
        for index in range(sequence.max_reused // self._block_size):
            block_id = self._shared.get(self._key(sequence, index))
            if block_id is None:
                break
            found.append(block_id)
        return found

    def _key(self, sequence: Sequence, index: int) -> Key:
        """Of its block number `index`: from all the tokens up to the block's end."""
        digests, size = sequence.digests, self._block_size
        for start in range(len(digests) * size, (index + 1) * size, size):
            before = digests[-1] if digests else b""
            tokens = array("q", sequence.token_ids[start : start + size])
            digests.append(blake2b(before + tokens.tobytes(), digest_size=32).digest())
        return sequence.adapter, sequence.cache_salt, digests[index]

    def _own(self, sequence: Sequence, block_id: int) -> None:
        self._num_owners[block_id] += 1
        sequence.block_ids.append(block_id)

    def _take(self) -> int:
        if not self._free:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            self._unshare(oldest)
            return oldest
        return heapq.heappop(self._free)

    def _unshare(self, block_id: int) -> None:
        key = self._keys.pop(block_id, None)
        if key is not None:
            del self._shared[key]

    def _num_missing(self, sequence: Sequence) -> int:
        return -(-sequence.num_known // self._block_size) - len(sequence.block_ids)
