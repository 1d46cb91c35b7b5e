"""From logits to token ids.

A sequence's draws depend on its seed, its place among its request's choices, and the position:
nothing else. So a seed repeats whatever else is in the batch, and after a sequence lost its
place in the cache. Probabilities are turned into whole numbers before they are added up: such
sums are exact, on every device and in every order.
"""

import math
import struct
from collections.abc import Sequence as List
from hashlib import blake2b

import torch
from torch import Tensor

from tunesmith.inference.masks import Masks, masked
from tunesmith.inference.sequence import Sequence

# 32 bits for a probability and 30 for the draw: a product stays below 2**63. Tokens that are
# less likely than 2**-32 are never drawn.
PROBABILITY_SCALE = 2.0**32
DRAW_BITS = 30
COLDEST = 1e-6  # a smaller temperature would be the same, and float32 might make it 0


def sample(
    logits: Tensor, sequences: List[Sequence], masks: Masks | None = None
) -> list[int | None]:
    """The next token of each sequence, [N, V] → N; None where logits aren't numbers. `masks`: of
    those that have a grammar."""
    logits = _adjust(logits, sequences)
    if masks is not None:
        logits = masked(logits, sequences, masks)
    largest, best = logits.max(-1)  # NaN counts as larger than all else
    is_sound = [math.isfinite(logit) for logit in largest.tolist()]
    chosen = best.tolist()
    drawing = [row for row, sequence in enumerate(sequences) if sequence.params.temperature > 0]
    if drawing:
        drawn = _draw(logits[drawing], [sequences[row] for row in drawing])
        for row, token_id in zip(drawing, drawn.tolist(), strict=True):
            chosen[row] = token_id
    return [token_id if sound else None for token_id, sound in zip(chosen, is_sound, strict=True)]


def uniform(seed: int, index: int, position: int) -> int:
    """A random number of `DRAW_BITS` bits that is always the same for the same three."""
    key = struct.pack("<qqq", seed, index, position)
    return int.from_bytes(blake2b(key, digest_size=8).digest()) >> (64 - DRAW_BITS)


def _adjust(logits: Tensor, sequences: List[Sequence]) -> Tensor:
    """With biases and penalties; the same tensor if nobody has any, else another one."""
    rows: list[int] = []
    token_ids: list[int] = []
    offsets: list[float] = []
    for row, sequence in enumerate(sequences):
        if sequence.logit_offsets:
            rows += [row] * len(sequence.logit_offsets)
            token_ids += sequence.logit_offsets.keys()
            offsets += sequence.logit_offsets.values()
    if not rows:
        return logits
    adjusted = logits.to(torch.float32, copy=True)
    places = torch.tensor([rows, token_ids], device=logits.device)
    adjusted[places[0], places[1]] += torch.tensor(offsets, device=logits.device)
    return adjusted


def _draw(logits: Tensor, sequences: List[Sequence]) -> Tensor:
    """[M, V] → [M]"""
    temperatures = _column([max(s.params.temperature, COLDEST) for s in sequences], logits)
    # The largest becomes 0 first, so that a small temperature doesn't make infinities meet.
    shifted = logits.float() - logits.float().amax(-1, keepdim=True)
    weights = (torch.softmax(shifted / temperatures, -1) * PROBABILITY_SCALE).long()
    if any(s.params.top_p < 1 for s in sequences):
        bounds = [s.params.top_p if s.params.top_p < 1 else float("inf") for s in sequences]
        weights = _keep_top(weights, _column(bounds, logits))
    sums = weights.cumsum(-1)
    draws = torch.tensor(
        [[uniform(s.seed, s.index, s.num_known)] for s in sequences], device=logits.device
    )
    targets = (draws * sums[:, -1:]) >> DRAW_BITS  # below the sum, as draws are below 1
    return torch.searchsorted(sums, targets, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


def _keep_top(weights: Tensor, top_ps: Tensor) -> Tensor:
    """Nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751): the smallest set of the most
    likely tokens whose probability reaches top_p; the others' weights become 0."""
    ordered, order = weights.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered.masked_fill(before >= top_ps * PROBABILITY_SCALE, 0)
    ordered[:, 0] = ordered[:, 0].clamp(min=1)  # top_p may be 0: the most likely token stays
    return torch.zeros_like(weights).scatter_(-1, order, ordered)


def _column(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=torch.float32).unsqueeze(-1)
