"""An `Attend` for one engine step: prompts in chunks and single tokens, mixed.

Prompt chunks are attended to one by one, here; sequences with one token all together, in
`decode_attention.py`. Keys and values lie in `paged_memory.py`.

Letters: T tokens, S sequences with one token, H heads, K key-value heads, D numbers per head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tunesmith.inference.decode_attention import DecodeAttention
from tunesmith.inference.paged_memory import PagedMemory


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
    """The sequences that have one token in this step."""

    tokens: Tensor  # [S] their places on T
    attention: DecodeAttention


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
        by_kv_head = q.reshape(q.shape[0], keys.shape[1], -1, q.shape[2])
        return decodes.attention.attend(by_kv_head, keys, values).reshape(q.shape)

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
