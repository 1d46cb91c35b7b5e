"""Attention over a paged key-value cache: its memory, and an `Attend` for one engine step.

A block holds `block_size` tokens of one sequence in every layer. Tokens that come one to a
sequence (decode) are attended to all together, prompt chunks one by one.

Decode never copies keys or values into rows of equal length, as would be simplest: that traffic
was the greater part of a step on a CPU (2.4 ms against 0.9 ms a layer, 32 sequences of 300 tokens,
8 heads). Blocks are used where they lie. If no sequence has more than one, that is a single fused
operation; else each block's scores are computed in place, and only the scores, much smaller, are
laid side by side for the softmax.

Letters: T tokens, S decoding sequences, B blocks looked at, N blocks of the longest sequence,
H heads, K key-value heads, G = H / K, P tokens in a block, D numbers per head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tunesmith.modeling.shape import ModelShape

MOST_UNUSED = 2  # blocks computed in place for each that is needed, before copying pays


class PagedMemory:
    """Keys and values of all layers, by block.

    Memory that nobody wrote to is uninitialised, so that a big cache costs nothing before it is
    used. A block is cleared when a sequence enters it: attention gives no weight to what lies
    behind a sequence's end, but zero times NaN, which might be left there, is NaN.
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
        keys = self._all_keys = torch.empty(size, device=device, dtype=dtype)
        self._all_values = torch.empty(size, device=device, dtype=dtype)
        # By layer, to make no views at every step.
        self.keys = keys.unbind()  # each [block, K, P, D]
        self.values = self._all_values.unbind()
        self._key_rows = keys.view(shape.num_layers, -1, shape.head_dim).unbind()
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


@dataclass(frozen=True)
class PromptChunk:
    """Some tokens of one sequence's prompt: the first, or (`cached`) those that follow others."""

    tokens: slice  # their places on T
    cached: "CachedPrompt | None" = None


@dataclass(frozen=True)
class CachedPrompt:
    block_ids: Tensor  # [N] of the sequence, up to the chunk's end
    is_visible: Tensor  # [tokens of the chunk, positions up to its end]

    @classmethod
    def of(cls, block_ids: list[int], start: int, end: int, device: torch.device) -> "CachedPrompt":
        """For a chunk of the positions from `start` to `end`."""
        positions = torch.arange(end, device=device)
        return cls(
            block_ids=torch.tensor(block_ids, device=device),
            is_visible=positions <= positions[start:].unsqueeze(1),
        )


@dataclass(frozen=True)
class Decodes:
    """The sequences that have one token in this step, and their blocks."""

    tokens: Tensor  # [S] their places on T
    blocks: slice | Tensor  # the B blocks to look at: a part of the cache, or [B] numbers
    num_blocks: int  # N
    asker: Tensor  # [B] whose query a block is scored with
    owner: Tensor  # [B] whose sum its values join: the asker, or S if nobody needs the block
    place: Tensor  # [S * N] among the B; where a sequence has no further block, any
    source: Tensor  # [B] the reverse: a block's place among the S * N; nobody's block: any
    is_visible: Tensor  # [S, 1, 1, N * P] places before a sequence's end

    @classmethod
    def of(
        cls,
        tokens: Sequence[int],
        block_ids: Sequence[list[int]],
        lengths: Sequence[int],
        block_size: int,
        device: torch.device,
    ) -> "Decodes":
        """`lengths`: tokens of each sequence, the one computed now counted in."""
        blocks, numbers = _choose_blocks([block for own in block_ids for block in own])
        number_of = {block: number for number, block in enumerate(numbers)}
        longest = max(map(len, block_ids))
        owner, asker = [len(tokens)] * len(numbers), [0] * len(numbers)
        source = [0] * len(numbers)
        place = [0] * (len(tokens) * longest)
        for sequence, own in enumerate(block_ids):
            for index, block in enumerate(own, start=sequence * longest):
                number = number_of[block]
                place[index], source[number] = number, index
                owner[number] = asker[number] = sequence
        # One tensor for all: on a GPU it is one copy.
        fields = (tokens, asker, owner, place, source, lengths)
        joined = torch.tensor([n for field in fields for n in field], device=device)
        parts = torch.split(joined, [len(field) for field in fields])
        positions = torch.arange(longest * block_size, device=device)
        return cls(
            tokens=parts[0],
            blocks=blocks if isinstance(blocks, slice) else torch.tensor(blocks, device=device),
            num_blocks=longest,
            asker=parts[1],
            owner=parts[2],
            place=parts[3],
            source=parts[4],
            is_visible=positions < parts[5].view(-1, 1, 1, 1),
        )


class PagedAttention:
    """An `Attend` for one step."""

    def __init__(
        self,
        memory: PagedMemory,
        rows: Tensor,
        decodes: Decodes | None,
        chunks: Sequence[PromptChunk],
    ) -> None:
        """`rows` [T * K] from `PagedMemory.rows`."""
        self._memory = memory
        self._rows = rows
        self._decodes = decodes
        self._chunks = chunks

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self._memory.write(layer, self._rows, k, v)
        if not self._chunks:
            assert self._decodes is not None, "a step has tokens"
            return self._decode(layer, q, self._decodes)
        attended = torch.empty_like(q, memory_format=torch.contiguous_format)
        for chunk in self._chunks:
            attended[chunk.tokens] = self._read_prompt(
                layer, chunk.cached, q[chunk.tokens], k[chunk.tokens], v[chunk.tokens]
            )
        if self._decodes is not None:
            q = q.index_select(0, self._decodes.tokens)
            attended.index_copy_(0, self._decodes.tokens, self._decode(layer, q, self._decodes))
        return attended

    def _decode(self, layer: int, q: Tensor, decodes: Decodes) -> Tensor:
        """[S, H, D] → [S, H, D]"""
        keys, values = self._memory.keys[layer], self._memory.values[layer]
        if isinstance(decodes.blocks, slice):
            keys, values = keys[decodes.blocks], values[decodes.blocks]  # [B, K, P, D]
        else:
            keys = keys.index_select(0, decodes.blocks)
            values = values.index_select(0, decodes.blocks)
        attend = _attend_to_one_block if decodes.num_blocks == 1 else _attend_to_blocks
        by_kv_head = q.reshape(q.shape[0], keys.shape[1], -1, q.shape[2])  # [S, K, G, D]
        return attend(by_kv_head, keys, values, decodes).view(q.shape)

    def _read_prompt(
        self, layer: int, cached: CachedPrompt | None, q: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        """q [n, H, D], k and v [n, K, D] → [n, H, D]"""
        if cached is not None:
            k, v = self._cached(layer, cached)
        attended = F.scaled_dot_product_attention(
            q.transpose(0, 1).unsqueeze(0),
            k.transpose(0, 1).unsqueeze(0),
            v.transpose(0, 1).unsqueeze(0),
            attn_mask=None if cached is None else cached.is_visible,
            is_causal=cached is None,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return attended.squeeze(0).transpose(0, 1)

    def _cached(self, layer: int, cached: CachedPrompt) -> tuple[Tensor, Tensor]:
        """Keys and values [positions, K, D] of a whole sequence, up to its chunk's end."""
        num_positions = cached.is_visible.shape[1]
        keys, values = (
            memory[layer].index_select(0, cached.block_ids).transpose(1, 2).flatten(0, 1)
            for memory in (self._memory.keys, self._memory.values)
        )
        return keys[:num_positions], values[:num_positions]


def _attend_to_one_block(q: Tensor, keys: Tensor, values: Tensor, decodes: Decodes) -> Tensor:
    """q [S, K, G, D], keys and values [B, K, P, D] → [S, K, G, D], no sequence with more blocks."""
    attended = F.scaled_dot_product_attention(
        q.index_select(0, decodes.asker),
        keys,
        values,
        attn_mask=decodes.is_visible.index_select(0, decodes.asker),
    )
    return attended.index_select(0, decodes.place)


def _attend_to_blocks(q: Tensor, keys: Tensor, values: Tensor, decodes: Decodes) -> Tensor:
    """q [S, K, G, D], keys and values [B, K, P, D] → [S, K, G, D]"""
    num_sequences, *heads, head_dim = q.shape
    num_blocks, size = decodes.num_blocks, keys.shape[2]
    q = (q * head_dim**-0.5).index_select(0, decodes.asker)  # [B, K, G, D]
    scores = torch.matmul(q, keys.transpose(2, 3)).index_select(0, decodes.place)
    scores = scores.view(num_sequences, num_blocks, *heads, size).permute(0, 2, 3, 1, 4)
    scores = scores.reshape(num_sequences, *heads, num_blocks * size)
    shares = scores.where(decodes.is_visible, -torch.inf).softmax(-1)
    shares = shares.view(num_sequences, *heads, num_blocks, size).permute(0, 3, 1, 2, 4)
    shares = shares.reshape(-1, *heads, size).index_select(0, decodes.source)  # [B, K, G, P]
    parts = torch.matmul(shares, values)  # [B, K, G, D]
    sums = parts.new_zeros(num_sequences + 1, *parts.shape[1:])  # the last one: nobody's
    return sums.index_add_(0, decodes.owner, parts)[:-1]


def _choose_blocks(needed: list[int]) -> tuple[slice | list[int], Sequence[int]]:
    """The blocks to look at and their numbers: everything from the first needed to the last, in
    place, or just those needed if they lie too far apart."""
    first, last = min(needed), max(needed)
    if last + 1 - first <= MOST_UNUSED * len(needed):
        return slice(first, last + 1), range(first, last + 1)
    return needed, needed
