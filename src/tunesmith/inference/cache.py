"""Which sequence owns which block of the key-value cache. Bookkeeping only: no tensors, no torch.

Memory for keys and values is cut into blocks of `block_size` tokens. A sequence is admitted with
blocks for all the tokens that it knows and extended as it learns more. The lowest free block
goes first, so that blocks in use lie close together: `decode_attention.py` is fastest then.

Blocks that sequences share, because their prompts begin alike, would come in here: `admit` would
find them and answer how many tokens they hold already. (Attention then has to be told of a
shared block once for each of its owners.)
"""

import heapq

from tunesmith.inference.sequence import Sequence


class Cache:
    def __init__(self, num_blocks: int, block_size: int) -> None:
        self._block_size = block_size
        self._free = list(range(num_blocks))  # a heap

    @property
    def num_free(self) -> int:
        return len(self._free)

    def can_admit(self, sequence: Sequence, headroom: int) -> bool:
        """Whether its blocks are there, and `headroom` more for others to grow into."""
        return self._num_missing(sequence) + headroom <= len(self._free)

    def admit(self, sequence: Sequence) -> int:
        """Gives it blocks for all tokens it knows; how many of these are computed already."""
        assert not sequence.block_ids, "a sequence is admitted once"
        self.extend(sequence)
        return 0

    def can_extend(self, sequence: Sequence) -> bool:
        return self._num_missing(sequence) <= len(self._free)

    def extend(self, sequence: Sequence) -> None:
        """Adds blocks until all tokens it knows have their place."""
        for _ in range(self._num_missing(sequence)):
            sequence.block_ids.append(heapq.heappop(self._free))

    def release(self, sequence: Sequence) -> None:
        """Takes all its blocks back; what was computed is lost."""
        for block_id in sequence.block_ids:
            heapq.heappush(self._free, block_id)
        sequence.block_ids = []
        sequence.num_computed = 0

    def _num_missing(self, sequence: Sequence) -> int:
        return -(-sequence.num_known // self._block_size) - len(sequence.block_ids)
