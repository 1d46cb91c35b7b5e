"""Causal attention for training and evaluation: whole rows at once, nothing cached."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class RowAttention:
    """An `Attend` for rows that lie one after another on T; each sees only itself.

    Rows are laid side by side again, padded at the end to the longest. Under a causal mask a
    row's tokens never look at the padding after them, so nothing else is masked. (Explicit
    products and softmax were tried instead of torch's fused attention: 1.1 to 3.5 times slower.)
    """

    def __init__(self, row_lengths: Sequence[int]) -> None:
        self._num_rows = len(row_lengths)
        self._longest = max(row_lengths)
        self._places: Tensor | None = None  # [T], of each token in the padded rows
        if any(length != self._longest for length in row_lengths):
            starts = range(0, self._num_rows * self._longest, self._longest)
            places = [
                torch.arange(start, start + length)
                for start, length in zip(starts, row_lengths, strict=True)
            ]
            self._places = torch.cat(places)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        del layer  # nothing is kept between layers
        if self._places is not None:
            self._places = self._places.to(q.device)  # copied at the first layer only
        attended = F.scaled_dot_product_attention(
            self._pad(q),
            self._pad(k),
            self._pad(v),
            is_causal=True,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return self._unpad(attended)

    def _pad(self, x: Tensor) -> Tensor:
        """[T, H, D] → [R, H, L, D]"""
        if self._places is not None:
            size = self._num_rows * self._longest
            x = _Spread.apply(x, self._places, size)  # type: ignore[no-untyped-call]
        return x.view(self._num_rows, self._longest, *x.shape[1:]).transpose(1, 2)

    def _unpad(self, x: Tensor) -> Tensor:
        """[R, H, L, D] → [T, H, D]"""
        x = x.transpose(1, 2).flatten(0, 1)
        if self._places is not None:
            x = _Take.apply(x, self._places)  # type: ignore[no-untyped-call]
        return x


class _Spread(torch.autograd.Function):
    """Rows of x into their places among `size` rows of zeros. Both this and its inverse know
    their gradient as the other, which torch's own indexing would compute by slow adding up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(places)
        return x.new_zeros(size, *x.shape[1:]).index_copy_(0, places, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


class _Take(torch.autograd.Function):
    """The rows of x at `places`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = x.shape[0]
        return x.index_select(0, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        return grad.new_zeros(ctx.size, *grad.shape[1:]).index_copy_(0, places, grad), None
