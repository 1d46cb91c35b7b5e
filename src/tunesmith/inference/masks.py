"""Which tokens the sequences' grammars allow next, found while the model runs.

The grammars' work needs no logits, so it is done in a thread beside the step: see `Masker`.
"""

from collections.abc import Sequence as List
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tunesmith.inference.guide import Guide
from tunesmith.inference.sequence import Sequence

if TYPE_CHECKING:
    from llguidance import LLExecutor

WORD_BITS = 32

Masks = dict[Sequence, Tensor]  # [ceil(V / 32)] int32, a bit for each token: allowed or not


class Masker:
    def __init__(self, vocab_size: int) -> None:
        self._num_words = -(-vocab_size // WORD_BITS)

    def start(self, sequences: List[Sequence]) -> Future[Masks] | None:
        """Masks of those of the sequences that have a guide; None if none has. Until they are
        there, nobody may touch the guides."""
        guided = [(each, each.guide) for each in sequences if each.guide is not None]
        return self._thread.submit(self._find, guided) if guided else None

    def _find(self, guided: List[tuple[Sequence, Guide]]) -> Masks:
        bits = torch.zeros(len(guided), self._num_words, dtype=torch.int32)
        rows = [(guide.matcher, row) for row, (_, guide) in enumerate(guided)]
        width = bits.shape[1] * bits.element_size()
        self._executor.unsafe_compute_mask_ptr(rows, bits.data_ptr(), width, len(guided))
        return {sequence: mask for (sequence, _), mask in zip(guided, bits, strict=True)}

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="masks")

    @cached_property
    def _executor(self) -> "LLExecutor":
        from llguidance import LLExecutor

        return LLExecutor()


def masked(logits: Tensor, sequences: List[Sequence], masks: Masks) -> Tensor:
    """[N, V] with minus infinity for what a mask forbids, as another tensor."""
    rows = [row for row, sequence in enumerate(sequences) if sequence in masks]
    if not rows:
        return logits
    bits = torch.stack([masks[sequences[row]] for row in rows]).to(logits.device)
    places = torch.arange(WORD_BITS, dtype=torch.int32, device=logits.device)
    allowed = (bits.unsqueeze(-1) >> places & 1).bool().flatten(1)[:, : logits.shape[-1]]
    if len(rows) == len(sequences):
        return logits.masked_fill(~allowed, -torch.inf)
    chosen = torch.tensor(rows, device=logits.device)
    changed = logits[chosen].masked_fill(~allowed, -torch.inf)
    return logits.index_copy(0, chosen, changed)
