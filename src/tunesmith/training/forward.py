"""From a batch to its summed loss: the pass that training and validation share.

Only positions that bear loss go through the vocabulary head, which is most of the memory where
the vocabulary is large; and they go in pieces, so that the logits of all never exist at once.

Letters: T tokens of all rows, N positions that bear loss, R rows, C channels, V vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunesmith.datasets.batch import Batch
from tunesmith.modeling.attention import RowAttention
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter
from tunesmith.training import losses

MAX_LOGITS = 2**25  # in one piece: 128 MiB in fp32, and about three times that with gradients


@dataclass(frozen=True)
class BatchSums:
    """Of each row, sums over its positions that bear loss. Still on the device: nothing has waited
    for it."""

    nll_R: Tensor  # fp64, weight times nats; in training it has a gradient
    num_wrong_R: Tensor  # int64, of the labels that are learned
    num_labels_R: NDArray[np.int64]  # that are learned, which a prompt's never are
    weight: float  # of all rows

    @property
    def nll(self) -> Tensor:
        """Of all rows, 0-dim."""
        return self.nll_R.sum()


@dataclass(frozen=True)
class Means:
    loss: float  # nats per unit of weight: per token, where all weights are 1
    accuracy: float  # share of the tokens that are learned, whatever their weights
    sequence_accuracy: float  # share of the rows whose learned tokens are all right
    preference: Mapping[str, float] = field(default_factory=dict)  # of preferences alone


def forward(
    base: Decoder, adapter: LoraAdapter | None, batch: Batch, max_logits: int = MAX_LOGITS
) -> BatchSums:
    """Run `batch` through base model and adapter, or the base model alone, and measure it against
    its labels."""
    device = base.device
    asked_N = np.flatnonzero(batch.weights)
    weights_N = batch.weights[asked_N]
    num_rows = len(batch.row_lengths)
    rows_T = np.repeat(np.arange(num_rows), batch.row_lengths)
    hidden_TC = base(
        _tensor(batch.token_ids, device),
        _tensor(batch.positions, device),
        RowAttention(batch.row_lengths),
        adapter,
    )
    nll_R, num_wrong_R = _HeadLoss.apply(
        hidden_TC,
        _tensor(asked_N, device),
        _tensor(batch.labels[asked_N], device),
        _tensor(weights_N, device),
        _tensor(batch.is_learned[asked_N], device),
        _tensor(rows_T[asked_N], device),
        num_rows,
        base,
        max(1, max_logits // base.shape.vocab_size),
    )  # type: ignore[no-untyped-call]  # torch gives `apply` no type
    num_labels_R = np.bincount(rows_T[batch.is_learned], minlength=num_rows)
    return BatchSums(nll_R, num_wrong_R, num_labels_R, weight_of(batch))


def weight_of(batch: Batch) -> float:
    """What its loss is divided by, alone or with the other micro-batches of its step."""
    return float(batch.weights.sum(dtype=np.float64))


def means(parts: Sequence[BatchSums]) -> Means:
    """Over all of `parts`, zeros if there are none. Waits for the device."""
    if not parts:
        return Means(0.0, 0.0, 0.0)
    nlls = torch.cat([part.nll_R.detach() for part in parts]).tolist()
    wrongs = torch.cat([part.num_wrong_R for part in parts]).tolist()
    num_labels = sum(int(part.num_labels_R.sum()) for part in parts)
    return Means(
        loss=math.fsum(nlls) / math.fsum(part.weight for part in parts),
        accuracy=(num_labels - sum(wrongs)) / num_labels,
        sequence_accuracy=wrongs.count(0) / len(wrongs),
    )


def _tensor(array: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)


class _HeadLoss(torch.autograd.Function):
    """Vocabulary head and loss at N of T positions, at most `max_positions` at a time.

    The head is frozen and a row's loss is a plain sum, so the gradient with respect to a piece's
    hidden states is worked out right away, in the forward pass, and its logits are dropped; the
    backward pass only scales, by row, and puts in place. (Autograd would hold all logits till then;
    checkpointing would pay for a third matrix product.)
    """

    @staticmethod
    def forward(
        ctx: Any,  # autograd gives its context no type
        hidden_TC: Tensor,
        asked_N: Tensor,
        labels_N: Tensor,
        weights_N: Tensor,
        is_learned_N: Tensor,
        rows_N: Tensor,
        num_rows: int,
        base: Decoder,
        max_positions: int,
    ) -> tuple[Tensor, Tensor]:
        """Of each row the summed loss, and the number of learned labels that are predicted
        wrong."""
        hidden_NC = hidden_TC.detach().index_select(0, asked_N)
        needs_grad = ctx.needs_input_grad[0]
        # Preferences compare sums over long answers, so these must not round at every token.
        nll_R = torch.zeros(num_rows, device=hidden_TC.device, dtype=torch.float64)
        num_wrong_R = torch.zeros(num_rows, device=hidden_TC.device, dtype=torch.int64)
        grads: list[Tensor] = []
        for start in range(0, len(asked_N), max_positions):
            piece = slice(start, start + max_positions)
            hidden = hidden_NC[piece].requires_grad_(needs_grad)
            with torch.set_grad_enabled(needs_grad):
                logits = base.logits(hidden)
                nll_N = losses.weighted_nll(logits, labels_N[piece], weights_N[piece])
                piece_nll = nll_N.sum()
            if needs_grad:
                grads.extend(torch.autograd.grad(piece_nll, hidden))
            nll_R.index_add_(0, rows_N[piece], nll_N.detach().double())
            is_wrong = losses.is_wrong(logits.detach(), labels_N[piece]) & is_learned_N[piece]
            num_wrong_R.index_add_(0, rows_N[piece], is_wrong.long())
        if needs_grad:
            ctx.save_for_backward(asked_N, rows_N, torch.cat(grads))
            ctx.num_tokens = len(hidden_TC)
        ctx.mark_non_differentiable(num_wrong_R)
        return nll_R, num_wrong_R

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        asked_N, rows_N, grad_NC = ctx.saved_tensors
        of_rows_N1 = grads[0].to(grad_NC.dtype).index_select(0, rows_N).unsqueeze(1)
        grad_TC = grad_NC.new_zeros(ctx.num_tokens, grad_NC.shape[1])
        grad_TC.index_copy_(0, asked_N, grad_NC * of_rows_N1)
        return grad_TC, None, None, None, None, None, None, None, None
