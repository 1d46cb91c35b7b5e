"""The memory of the key-value cache: tensors, cut into blocks. Who owns which: `cache.py`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tunesmith.modeling.shape import ModelShape


class PagedMemory:
    """Keys and values of all layers. K key-value heads, P tokens in a block, D numbers per head.

    Memory that nobody wrote to is uninitialised, so that a big cache costs nothing before it is
    used. A block is cleared when a sequence enters it, unless it is shared: attention gives no
    weight to what lies behind a sequence's end, but zero times NaN, which might be left there, is
    NaN.
    """

    def __init__(
        self,
        shape: ModelShape,
        num_blocks: int,
        block_size: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.block_size = block_size
        size = (shape.num_layers, num_blocks, shape.num_kv_heads, block_size, shape.head_dim)
        self._all_keys = torch.empty(size, device=device, dtype=dtype)
        self._all_values = torch.empty(size, device=device, dtype=dtype)
        # By layer, to make no views at every step.
        self.keys = self._all_keys.unbind()  # each [block, K, P, D]
        self.values = self._all_values.unbind()
        self._key_rows = self._all_keys.view(shape.num_layers, -1, shape.head_dim).unbind()
        self._value_rows = self._all_values.view(shape.num_layers, -1, shape.head_dim).unbind()
        self._block_rows = shape.num_kv_heads * block_size
        self._head_rows = torch.arange(0, self._block_rows, block_size, device=device)

    def clear(self, block_ids: Tensor) -> None:
        self._all_keys.index_fill_(1, block_ids, 0)
        self._all_values.index_fill_(1, block_ids, 0)

    def places(self, block_ids: Sequence[int], start: int, end: int) -> list[int]:
        """The first head's row of each token from `start` to `end` of a sequence."""
        size, block_rows = self.block_size, self._block_rows
        return [block_ids[p // size] * block_rows + p % size for p in range(start, end)]

    def rows(self, places: Tensor) -> Tensor:
        """[T] → [T * K], all heads' rows."""
        return (places.unsqueeze(1) + self._head_rows).flatten()

    def write(self, layer: int, rows: Tensor, k: Tensor, v: Tensor) -> None:
        """k and v [T, K, D]"""
        self._key_rows[layer].index_copy_(0, rows, k.flatten(0, 1))
        self._value_rows[layer].index_copy_(0, rows, v.flatten(0, 1))
