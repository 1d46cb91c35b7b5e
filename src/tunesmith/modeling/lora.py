"""LoRA (Hu et al. 2021, arXiv 2106.09685): what is trained, and what is served.

For each adapted module, y = x Wᵀ + scaling · x aᵀ bᵀ, with W frozen. `add_deltas` is the one
place where the second term is computed. The trainer hands a `LoraAdapter` to the decoder, the
engine hands it `AdapterSpans`; both end up there.

Modules that share an input (q, k, v; gate, up) are one product in the decoder, so their
adapters lie together too: a group's `a` is the modules' a below one another, and so is its `b`.
What the products save is most of what LoRA costs on a small model.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tunesmith.modeling.shape import ModelShape


@dataclass(frozen=True)
class LoraSpec:
    rank: int
    alpha: float
    target_modules: tuple[str, ...]  # last parts of module names: `q_proj`, …

    @property
    def scaling(self) -> float:
        return self.alpha / self.rank


@dataclass(frozen=True)
class Part:
    """Where one module lies in its group."""

    columns: slice  # of the group's output
    rows: slice  # of the group's b
    ranks: slice  # of the group's a, and so of x aᵀ


# Up to so many tokens, few products beat small ones. Measured on one core, rank 16, three modules
# of 256 × 256: 1 token 13 µs against 35, 16 tokens 36 against 46; then the zeros cost too much.
FEW_TOKENS = 16


def add_deltas(
    y: Tensor, x: Tensor, a: Tensor, b: Tensor, parts: Sequence[Part], scaling: float
) -> Tensor:
    """Adds scaling · x aᵀ bᵀ of n modules to `y` in place; gives x aᵀ, which gradients need.

    y [T, out], x [T, in], a [n · rank, in], b [out of the n modules, rank], all of x's precision.
    """
    x_a = F.linear(x, a)
    for part in parts:
        y[:, part.columns].addmm_(x_a[:, part.ranks], b[part.rows].t(), alpha=scaling)
    return x_a


class LoraAdapter(nn.Module):
    """One adapter's weights, float32, and an `Adapters` that applies it to all of T."""

    def __init__(
        self, shape: ModelShape, spec: LoraSpec, weights: Mapping[str, tuple[Tensor, Tensor]]
    ) -> None:
        """`weights`: module → (a [rank, in], b [out, rank]); copied."""
        super().__init__()
        self.spec = spec
        sizes = shape.linear_sizes()
        unknown = weights.keys() - sizes.keys()
        assert not unknown, f"the base model has no {min(unknown, default=None)}"
        self._groups = nn.ModuleList(
            _Group(modules, sizes, weights)
            for modules in shape.linear_groups()
            if any(module in weights for module in modules)
        )
        self._group_of = {group.all_modules: group for group in self._each_group()}

    @classmethod
    def initialise(
        cls, shape: ModelShape, spec: LoraSpec, seed: int, device: torch.device | None = None
    ) -> "LoraAdapter":
        """A fresh adapter that changes nothing yet: a as PEFT draws it (Kaiming uniform with
        a=√5, which is ±1/√in), b zero. The same seed gives the same bits on every device."""
        generator = torch.Generator().manual_seed(seed)
        weights = {}
        for module, (size_in, size_out) in target_sizes(shape, spec).items():
            bound = 1 / math.sqrt(size_in)
            a = torch.empty(spec.rank, size_in).uniform_(-bound, bound, generator=generator)
            weights[module] = a, torch.zeros(size_out, spec.rank)
        return cls(shape, spec, weights).to(device)

    @property
    def weights(self) -> dict[str, tuple[Tensor, Tensor]]:
        """module → (a, b), views of the live parameters, in the order of the forward pass."""
        return {
            module: pair for group in self._each_group() for module, pair in group.weights().items()
        }

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def linear(
        self, modules: tuple[str, ...], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        group = self._group_of.get(modules)
        if group is None:
            return F.linear(x, weight, bias)
        y: Tensor = _AdaptedLinear.apply(
            x, weight, bias, group.a, group.b, group.parts, self.spec.scaling
        )  # type: ignore[no-untyped-call]  # torch gives `apply` no type
        return y

    def add_to(self, y: Tensor, modules: tuple[str, ...], x: Tensor) -> None:
        """Adds the deltas to `y`, in place and without gradients."""
        group = self._group_of.get(modules)
        if group is None:
            return
        if group.b_diagonal is not None and x.shape[0] <= FEW_TOKENS:
            y.addmm_(F.linear(x, group.a), group.b_diagonal, alpha=self.spec.scaling)
        else:
            a, b = group.a.to(x.dtype), group.b.to(x.dtype)
            add_deltas(y, x, a, b, group.parts, self.spec.scaling)

    def freeze(self, dtype: torch.dtype) -> Self:
        """Makes this adapter ready to be served by a base of `dtype`; it can't be trained again.

        Optional. The numbers are those that training rounds to as it goes; what is gained is
        that nothing is rounded again at every step, and that few tokens need few operations.
        """
        self.requires_grad_(False).to(dtype)
        for group in self._each_group():
            group.b_diagonal = group.lay_out_diagonally()
        return self

    def _each_group(self) -> Iterable["_Group"]:
        # ModuleList forgets its members' type.
        return (group for group in self._groups if isinstance(group, _Group))


class AdapterSpans:
    """An `Adapters` for a step whose tokens belong to different adapters; no gradients.

    Spans are (start, end, adapter) on T, in order and apart; tokens in no span get the base.
    """

    def __init__(self, spans: Iterable[tuple[int, int, LoraAdapter]]) -> None:
        self._spans = _merge(spans)

    def linear(
        self, modules: tuple[str, ...], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        y = F.linear(x, weight, bias)
        for start, end, adapter in self._spans:
            adapter.add_to(y[start:end], modules, x[start:end])
        return y


def target_sizes(shape: ModelShape, spec: LoraSpec) -> dict[str, tuple[int, int]]:
    """(in, out) of the modules that `spec` targets in a model of this shape."""
    return {
        module: sizes
        for module, sizes in shape.linear_sizes().items()
        if module.rpartition(".")[2] in spec.target_modules
    }


class _Group(nn.Module):
    """The weights of those modules of a group that the adapter has."""

    def __init__(
        self,
        all_modules: tuple[str, ...],
        sizes: Mapping[str, tuple[int, int]],
        weights: Mapping[str, tuple[Tensor, Tensor]],
    ) -> None:
        super().__init__()
        self.all_modules = all_modules
        part_of: dict[str, Part] = {}
        column = row = rank = 0
        for module in all_modules:
            size_out = sizes[module][1]
            if module in weights:
                next_rank = rank + len(weights[module][0])
                part_of[module] = Part(
                    columns=slice(column, column + size_out),
                    rows=slice(row, row + size_out),
                    ranks=slice(rank, next_rank),
                )
                row, rank = row + size_out, next_rank
            column += size_out
        self.size_out = column  # of all modules
        self.modules_here, self.parts = tuple(part_of), tuple(part_of.values())
        self.b_diagonal: Tensor | None = None  # [n · rank, out], once the adapter is frozen
        pairs = [weights[module] for module in part_of]
        self.a = nn.Parameter(torch.cat([a.detach().float() for a, _ in pairs]))
        self.b = nn.Parameter(torch.cat([b.detach().float() for _, b in pairs]))

    def weights(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {
            module: (self.a[part.ranks], self.b[part.rows])
            for module, part in zip(self.modules_here, self.parts, strict=True)
        }

    def lay_out_diagonally(self) -> Tensor:
        """bᵀ of each module in its own ranks and columns, zero elsewhere: then all of the
        group's deltas are one product."""
        diagonal = self.b.new_zeros(len(self.a), self.size_out)
        for part in self.parts:
            diagonal[part.ranks, part.columns] = self.b[part.rows].t()
        return diagonal


class _AdaptedLinear(torch.autograd.Function):
    """x Wᵀ + bias + deltas, with gradients for x, a and b.

    By hand, since it keeps no more than x and x aᵀ, adds in place what autograd would add up in
    fresh tensors, and leaves out what nobody asks for: W's gradient, and x's in the first layer.
    """

    @staticmethod
    def forward(  # Any: autograd gives no type to its context
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        parts: Sequence[Part],
        scaling: float,
    ) -> Tensor:
        y = F.linear(x, weight, bias)
        a, b = a.to(x.dtype), b.to(x.dtype)  # as under autocast
        x_a = add_deltas(y, x, a, b, parts, scaling)
        ctx.save_for_backward(x, weight, a, b, x_a)
        ctx.parts, ctx.scaling = parts, scaling
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, x_a = ctx.saved_tensors
        grad_x_a, grad_b = torch.empty_like(x_a), torch.empty_like(b)
        for part in ctx.parts:
            grad_y = grad[:, part.columns]
            torch.mm(grad_y, b[part.rows], out=grad_x_a[:, part.ranks])
            torch.mm(grad_y.t(), x_a[:, part.ranks], out=grad_b[part.rows])
        grad_x_a.mul_(ctx.scaling)
        grad_b.mul_(ctx.scaling)
        grad_a = grad_x_a.t() @ x
        grad_x = (grad @ weight).addmm_(grad_x_a, a) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, grad_a.float(), grad_b.float(), None, None


def _merge(
    spans: Iterable[tuple[int, int, LoraAdapter]],
) -> list[tuple[int, int, LoraAdapter]]:
    """Neighbours with the same adapter made one: fewer, larger products."""
    merged: list[tuple[int, int, LoraAdapter]] = []
    done = 0
    for start, end, adapter in spans:
        assert done <= start <= end, "spans are in order and do not overlap"
        done = end
        if merged and merged[-1][1] == start and merged[-1][2] is adapter:
            merged[-1] = (merged[-1][0], end, adapter)
        elif end > start:
            merged.append((start, end, adapter))
    return merged
