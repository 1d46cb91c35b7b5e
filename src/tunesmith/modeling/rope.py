"""Rotary position embeddings (Su et al. 2021, arXiv 2104.09864), in Hugging Face's layout: number
`i` of a head turns together with number `i + D/2`."""

import math

import torch
from torch import Tensor

from tunesmith.modeling.shape import Llama3RopeScaling, ModelShape


def rope_table(shape: ModelShape, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[P, 2, D]: for every position the cosines, and the sines with the sign that `rotate`
    needs. Computed in float32, as transformers does, and cast once."""
    positions = torch.arange(shape.max_positions, dtype=torch.float32, device=device)
    angles = positions[:, None] * _frequencies(shape).to(device)
    cos, sin = angles.cos(), angles.sin()
    table = torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)], dim=1)
    return table.to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`x` [T, H, D] turned by its tokens' angles; cos and sin are [T, 1, D].

    The textbook's (x1, x2) → (x1 cos - x2 sin, x2 cos + x1 sin) in three operations: rolling by
    half swaps x1 and x2, and the sign is in the table.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def _frequencies(shape: ModelShape) -> Tensor:
    """[D/2], in turns of a radian per position."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.int64).float() / shape.head_dim
    frequencies = 1.0 / (shape.rope_theta**exponents)
    if shape.rope_scaling is not None:
        return _stretch(frequencies, shape.rope_scaling)
    return frequencies


def _stretch(frequencies: Tensor, scaling: Llama3RopeScaling) -> Tensor:
    """Llama 3.1's rule: slow frequencies are divided by `factor`, fast ones stay, and those
    between go smoothly from one to the other."""
    wavelengths = 2 * math.pi / frequencies
    turns = scaling.original_max_positions / wavelengths  # within the original context
    span = scaling.high_freq_factor - scaling.low_freq_factor
    smooth = ((turns - scaling.low_freq_factor) / span).clamp(0.0, 1.0)
    return frequencies * (smooth + (1.0 - smooth) / scaling.factor)
