"""Runs the base model over one step's tokens.

`Runner.run` turns the scheduler's chunks into tensors (`Batch`) and the batch into logits. The
cache's bookkeeping (`cache.py`) says which block is whose.
"""

from collections.abc import Sequence as List
from dataclasses import dataclass

import torch
from torch import Tensor

from tunesmith.domain.generation import TokenLogprobs
from tunesmith.inference import decode_attention
from tunesmith.inference.adapter_slots import AdapterSlots
from tunesmith.inference.attention import CachedPrompt, Decodes, PagedAttention, PromptChunk
from tunesmith.inference.limits import EngineLimits
from tunesmith.inference.logprobs import tell
from tunesmith.inference.paged_memory import PagedMemory
from tunesmith.inference.scheduler import Chunk
from tunesmith.inference.sequence import Sequence
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import AdapterSpans, LoraAdapter


@dataclass(frozen=True)
class Batch:
    """One step's input. Chunks lie one after another on T, those of one adapter together."""

    chunks: List[Chunk]
    token_ids: Tensor  # [T] int64
    positions: Tensor  # [T] int64
    rows: Tensor  # [T * K] int64: where the tokens' keys and values go
    entered_blocks: Tensor | None  # [E] int64: blocks that a sequence writes to for the first time
    last_tokens: Tensor  # [N] int64: places on T whose logits are asked for
    adapter_spans: List[tuple[int, int, LoraAdapter]]  # (start, end, adapter) on T
    decodes: Decodes | None
    prompt_chunks: List[PromptChunk]


@dataclass(frozen=True)
class Output:
    """What came of a step."""

    ready: List[Chunk]  # N, the last of their sequences' known tokens
    logits: Tensor  # [N, V] of their last tokens
    prompt_logprobs: List[tuple[Sequence, list[TokenLogprobs]]]  # further ones


class Runner:
    def __init__(
        self, decoder: Decoder, limits: EngineLimits, slots: AdapterSlots[LoraAdapter]
    ) -> None:
        self._decoder = decoder
        self._slots = slots
        self._max_logits = limits.max_logits
        self._memory = PagedMemory(
            decoder.shape,
            limits.num_blocks,
            limits.block_size,
            decoder.device,
            decoder.embedding.dtype,
        )

    @torch.inference_mode()
    def run(self, chunks: List[Chunk]) -> Output:
        batch = self.batch(chunks)
        if batch.entered_blocks is not None:
            self._memory.clear(batch.entered_blocks)
        attend = PagedAttention(self._memory, batch.rows, batch.decodes, batch.prompt_chunks)
        adapters = AdapterSpans(batch.adapter_spans) if batch.adapter_spans else None
        hidden = self._decoder(batch.token_ids, batch.positions, attend, adapters)
        prompt_logprobs = self._prompt_logprobs(batch.chunks, hidden)
        if len(batch.last_tokens) < len(batch.token_ids):
            hidden = hidden.index_select(0, batch.last_tokens)
        ready = [chunk for chunk in batch.chunks if chunk.is_last]
        return Output(ready, self._decoder.logits(hidden), prompt_logprobs)

    def batch(self, chunks: List[Chunk]) -> Batch:
        chunks = sorted(chunks, key=lambda chunk: chunk.sequence.slot)
        token_ids: list[int] = []
        positions: list[int] = []
        places: list[int] = []
        entered: list[int] = []
        last_tokens: list[int] = []
        spans = []
        size = self._memory.block_size
        for chunk in chunks:
            sequence, first = chunk.sequence, len(token_ids)
            token_ids += sequence.token_ids[chunk.start : chunk.end]
            positions += range(chunk.start, chunk.end)
            places += self._memory.places(sequence.block_ids, chunk.start, chunk.end)
            entered += sequence.block_ids[-(-chunk.start // size) : -(-chunk.end // size)]
            if chunk.is_last:
                last_tokens.append(len(token_ids) - 1)
            if sequence.adapter is not None:
                spans.append((first, len(token_ids), self._slots.weights(sequence.adapter)))
        # One tensor for all: on a GPU it is one copy.
        fields = (token_ids, positions, places, entered, last_tokens)
        joined = torch.tensor([n for field in fields for n in field], device=self._device)
        tensors = torch.split(joined, [len(field) for field in fields])
        return Batch(
            chunks=chunks,
            token_ids=tensors[0],
            positions=tensors[1],
            rows=self._memory.rows(tensors[2]),
            entered_blocks=tensors[3] if entered else None,
            last_tokens=tensors[4],
            adapter_spans=spans,
            decodes=self._decodes(chunks),
            prompt_chunks=self._prompt_chunks(chunks),
        )

    def _prompt_logprobs(
        self, chunks: List[Chunk], hidden: Tensor
    ) -> list[tuple[Sequence, list[TokenLogprobs]]]:
        """hidden [T, C] → those that are asked for and not told yet."""
        found = []
        first = 0
        for chunk in chunks:
            sequence, num_top = chunk.sequence, chunk.sequence.params.prompt_logprobs
            # The hidden state at a position tells of the token at the next.
            start = len(sequence.prompt_logprobs)
            end = min(chunk.end, sequence.num_prompt_tokens - 1)
            if num_top is not None and start < end:
                rows = hidden[first + start - chunk.start : first + end - chunk.start]
                targets = sequence.token_ids[start + 1 : end + 1]
                found.append((sequence, self._tell(rows, targets, num_top)))
            first += chunk.num_tokens
        return found

    def _tell(self, hidden: Tensor, token_ids: list[int], num_top: int) -> list[TokenLogprobs]:
        """In parts: all logits of a long prompt might be more than the whole cache."""
        size = max(1, self._max_logits // self._decoder.shape.vocab_size)
        told: list[TokenLogprobs] = []
        for start in range(0, len(token_ids), size):
            part = token_ids[start : start + size]
            logits = self._decoder.logits(hidden[start : start + size])
            told += tell(logits, part, [num_top] * len(part))
        return told

    def _decodes(self, chunks: List[Chunk]) -> Decodes | None:
        """The chunks of one token."""
        tokens, block_ids, lengths = [], [], []
        first = 0
        for chunk in chunks:
            if chunk.num_tokens == 1:
                tokens.append(first)
                block_ids.append(self._blocks_of(chunk))
                lengths.append(chunk.end)
            first += chunk.num_tokens
        if not tokens:
            return None
        attention = decode_attention.plan(
            block_ids, lengths, self._memory.block_size, like=self._decoder.embedding
        )
        return Decodes(torch.tensor(tokens, device=self._device), attention)

    def _prompt_chunks(self, chunks: List[Chunk]) -> list[PromptChunk]:
        """The chunks of several tokens."""
        found = []
        first = 0
        for chunk in chunks:
            if chunk.num_tokens > 1:
                cached = None
                if chunk.start > 0:
                    blocks = self._blocks_of(chunk)
                    cached = CachedPrompt.of(blocks, chunk.start, chunk.end, self._device)
                found.append(PromptChunk(slice(first, first + chunk.num_tokens), cached))
            first += chunk.num_tokens
        return found

    def _blocks_of(self, chunk: Chunk) -> list[int]:
        """The sequence's blocks up to the chunk's end; further ones may be there already."""
        return chunk.sequence.block_ids[: -(-chunk.end // self._memory.block_size)]

    @property
    def _device(self) -> torch.device:
        return self._decoder.device
