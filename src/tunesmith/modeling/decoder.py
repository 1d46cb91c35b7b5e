"""The base model: one decoder for the shapes of Llama, Qwen2 and Qwen3.

Tokens of all rows (training) or sequences (serving) lie on one axis T; there is no batch axis
and no padding. Only attention needs to know which tokens belong together, so the caller hands
it in (`Attend`): `attention.py` for rows, the engine's paged cache for sequences. Adapters are
handed in the same way (`Adapters`).

Weights that share an input lie in one matrix (q, k, v; gate, up): fewer, larger products, which
is what a small model on a CPU needs. `checkpoint_tensors` gives views of them under Hugging
Face's names.

Letters: T tokens, C hidden size, F intermediate size, V vocabulary, H heads, K key-value heads,
D numbers per head.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunesmith.modeling.rope import rope_table, rotate
from tunesmith.modeling.shape import ModelShape, layer_groups


class Attend(Protocol):
    """Causal attention among the tokens that belong together."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [T, H, D], k and v [T, K, D] (any strides) → [T, H, D]; scaled by 1/sqrt(D)."""
        ...


class Adapters(Protocol):
    """Stands in for the base model's linear modules, to add what adapters add."""

    def linear(
        self, modules: tuple[str, ...], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        """x weightᵀ + bias + deltas, [T, in] → [T, out], for modules that share their input,
        such as `layers.3.self_attn.q_proj`, k and v; their rows follow one another in weight.

        Gives a fresh tensor, which the caller may change.
        """
        ...


class Decoder(nn.Module):
    """`weights.load_decoder` gives one with frozen weights; fresh from here they are
    uninitialised and trainable."""

    rope: Tensor

    def __init__(self, shape: ModelShape, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = _empty(shape.vocab_size, shape.hidden_size, device=device, dtype=dtype)
        self._layers = [_Layer(shape, index, device, dtype) for index in range(shape.num_layers)]
        self.layers = nn.ModuleList(self._layers)  # the same ones, for torch to know of
        self.norm = _empty(shape.hidden_size, device=device, dtype=dtype)
        self.head = (
            None
            if shape.is_tied
            else _empty(shape.vocab_size, shape.hidden_size, device=device, dtype=dtype)
        )
        self.register_buffer("rope", rope_table(shape, device, dtype), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    def forward(
        self,
        token_ids: Tensor,
        positions: Tensor,
        attend: Attend,
        adapters: Adapters | None = None,
    ) -> Tensor:
        """token_ids and positions [T] int64 → hidden [T, C], after the final norm."""
        x = F.embedding(token_ids, self.embedding)
        cos, sin = self.rope[positions].unsqueeze(2).unbind(1)
        for layer in self._layers:
            x = layer(x, cos, sin, attend, adapters)
        return F.rms_norm(x, self.norm.shape, self.norm, self.shape.norm_eps)

    def checkpoint_tensors(self) -> dict[str, Tensor]:
        """Hugging Face's name → a view of the decoder's own memory."""
        tensors: dict[str, Tensor] = {
            "model.embed_tokens.weight": self.embedding,
            "model.norm.weight": self.norm,
        }
        if self.head is not None:
            tensors["lm_head.weight"] = self.head
        for layer in self._layers:
            tensors |= layer.checkpoint_tensors()
        return {name: tensor.detach() for name, tensor in tensors.items()}

    def logits(self, hidden: Tensor, token_ids: Tensor | None = None) -> Tensor:
        """[..., C] → [..., V], or of some tokens only. Ask only where you need them: the head is
        the largest product."""
        head = self.embedding if self.head is None else self.head
        return F.linear(hidden, head if token_ids is None else head[token_ids])


class _Layer(nn.Module):
    def __init__(
        self, shape: ModelShape, index: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.index = index
        self.eps = shape.norm_eps
        self.head_dim = shape.head_dim
        self.num_heads, self.num_kv_heads = shape.num_heads, shape.num_kv_heads
        self.qkv_names, self.o_name, self.gate_up_names, self.down_name = layer_groups(index)
        hidden, intermediate = shape.hidden_size, shape.intermediate_size
        q_size, kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        self.qkv_sizes = q_size, kv_size, kv_size

        def empty(*size: int) -> nn.Parameter:
            return _empty(*size, device=device, dtype=dtype)

        self.input_norm = empty(hidden)
        self.qkv = empty(sum(self.qkv_sizes), hidden)
        self.qkv_bias = empty(sum(self.qkv_sizes)) if shape.has_qkv_bias else None
        self.q_norm = empty(shape.head_dim) if shape.has_qk_norm else None
        self.k_norm = empty(shape.head_dim) if shape.has_qk_norm else None
        self.o = empty(hidden, q_size)
        self.post_attention_norm = empty(hidden)
        self.gate_up = empty(2 * intermediate, hidden)
        self.down = empty(hidden, intermediate)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend, adapters: Adapters | None
    ) -> Tensor:
        normed = F.rms_norm(x, self.input_norm.shape, self.input_norm, self.eps)
        qkv = _linear(self.qkv_names, normed, self.qkv, self.qkv_bias, adapters)
        attended = attend(self.index, *self._split_and_rotate(qkv, cos, sin)).flatten(1)
        x = _linear(self.o_name, attended, self.o, None, adapters).add_(x)

        normed = F.rms_norm(x, self.input_norm.shape, self.post_attention_norm, self.eps)
        gate_up = _linear(self.gate_up_names, normed, self.gate_up, None, adapters)
        gate, up = gate_up.chunk(2, dim=-1)
        return _linear(self.down_name, F.silu(gate) * up, self.down, None, adapters).add_(x)

    def checkpoint_tensors(self) -> dict[str, Tensor]:
        """Hugging Face's name → a view of this layer's own memory."""
        prefix = f"model.layers.{self.index}."
        tensors: dict[str, Tensor] = {
            prefix + "input_layernorm.weight": self.input_norm,
            prefix + "post_attention_layernorm.weight": self.post_attention_norm,
        }
        halves = self.down.shape[1], self.down.shape[1]
        for modules, fused, sizes in (
            (self.qkv_names, self.qkv, self.qkv_sizes),
            (self.o_name, self.o, self.o.shape[:1]),
            (self.gate_up_names, self.gate_up, halves),
            (self.down_name, self.down, self.down.shape[:1]),
        ):
            tensors |= _by_name(modules, "weight", fused, sizes)
        if self.qkv_bias is not None:
            tensors |= _by_name(self.qkv_names, "bias", self.qkv_bias, self.qkv_sizes)
        if self.q_norm is not None and self.k_norm is not None:
            tensors[prefix + "self_attn.q_norm.weight"] = self.q_norm
            tensors[prefix + "self_attn.k_norm.weight"] = self.k_norm
        return tensors

    def _split_and_rotate(
        self, qkv: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = qkv.view(qkv.shape[0], -1, self.head_dim)  # [T, H + 2K, D]
        num_qk = self.num_heads + self.num_kv_heads
        qk, v = heads[:, :num_qk], heads[:, num_qk:]
        if self.q_norm is not None and self.k_norm is not None:
            q, k = qk[:, : self.num_heads], qk[:, self.num_heads :]
            q = F.rms_norm(q, self.q_norm.shape, self.q_norm, self.eps)
            k = F.rms_norm(k, self.k_norm.shape, self.k_norm, self.eps)
            qk = torch.cat([q, k], dim=1)
        qk = rotate(qk, cos, sin)
        return qk[:, : self.num_heads], qk[:, self.num_heads :], v


def _linear(
    modules: tuple[str, ...],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    adapters: Adapters | None,
) -> Tensor:
    if adapters is None:
        return F.linear(x, weight, bias)
    return adapters.linear(modules, x, weight, bias)


def _by_name(
    modules: tuple[str, ...], kind: str, fused: Tensor, sizes: Sequence[int]
) -> dict[str, Tensor]:
    rows = torch.split(fused, list(sizes))
    return {f"model.{name}.{kind}": view for name, view in zip(modules, rows, strict=True)}


def _empty(*size: int, device: torch.device, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.empty(*size, device=device, dtype=dtype))
