"""Rows made into padded batches of token ids, with a loss weight per position."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Encoding, Tokenizer

from recipes.tunesmith_tiny.corpus import Row, rows
from recipes.tunesmith_tiny.styles import Mix
from recipes.tunesmith_tiny.tokenizer import END_OF_TEXT, MAX_LENGTH

# Rows are sorted by length inside a pool of many batches, so that little is padding.
POOL_ROWS = 2_048


Weighted = tuple[list[int], list[float]]  # token ids, loss weights


@dataclass(frozen=True)
class Batch:
    token_ids: torch.Tensor  # [B, L]
    targets: torch.Tensor  # [B, L]: the next token
    weights: torch.Tensor  # [B, L]: loss weight of that next token
    num_tokens: int  # without padding


def batches(tokenizer: Tokenizer, seed: int, mix: Mix, batch_tokens: int) -> Iterator[Batch]:
    """Batches without end; the same for the same seed. `batch_tokens`: with padding."""
    source = rows(seed, mix)
    rng = random.Random(seed)
    while True:
        pool = list(itertools.islice(source, POOL_ROWS))
        encodings = tokenizer.encode_batch([row.text for row in pool])
        encoded = [weighted(row, encoding) for row, encoding in zip(pool, encodings, strict=True)]
        encoded.sort(key=lambda pair: len(pair[0]))
        chunks = list(_chunks(encoded, batch_tokens))
        rng.shuffle(chunks)
        pad = tokenizer.token_to_id(END_OF_TEXT)
        assert pad is not None, "the tokenizer is this recipe's own"
        yield from (_batch(chunk, pad) for chunk in chunks)


def weighted(row: Row, encoding: Encoding) -> Weighted:
    """Token ids, cut to the window, and their loss weights: those of their last characters."""
    by_character = [weight for text, weight in row.parts for _ in text]
    weights = [by_character[end - 1] for _, end in encoding.offsets]
    return encoding.ids[: MAX_LENGTH + 1], weights[: MAX_LENGTH + 1]


def _chunks(encoded: list[Weighted], batch_tokens: int) -> Iterator[list[Weighted]]:
    chunk: list[Weighted] = []
    for pair in encoded:
        if chunk and (len(chunk) + 1) * len(pair[0]) > batch_tokens:
            yield chunk
            chunk = []
        chunk.append(pair)
    if chunk:
        yield chunk


def _batch(chunk: list[Weighted], pad: int) -> Batch:
    length = max(len(ids) for ids, _ in chunk)
    ids = torch.tensor([row + [pad] * (length - len(row)) for row, _ in chunk])
    weights = torch.tensor([row + [0.0] * (length - len(row)) for _, row in chunk])
    return Batch(ids[:, :-1], ids[:, 1:], weights[:, 1:], sum(len(row) for row, _ in chunk))
