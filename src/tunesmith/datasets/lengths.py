"""How long a file's examples are, in tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

SHORTEST_BIN = 16  # of the histogram: up to 16 tokens, up to 32, …


@dataclass(frozen=True)
class Lengths:
    count: int
    total: int
    shortest: int
    mean: float
    median: int
    percentile_95: int
    longest: int
    histogram: tuple[tuple[int, int], ...]  # up to so many tokens (and above the bin before): n

    @classmethod
    def of(cls, num_tokens: NDArray[np.int32]) -> Self | None:
        """None of no examples at all."""
        if not len(num_tokens):
            return None
        median, percentile_95 = np.percentile(num_tokens, [50, 95], method="inverted_cdf")
        return cls(
            count=len(num_tokens),
            total=int(num_tokens.sum(dtype=np.int64)),
            shortest=int(num_tokens.min()),
            mean=float(num_tokens.mean(dtype=np.float64)),
            median=int(median),
            percentile_95=int(percentile_95),
            longest=int(num_tokens.max()),
            histogram=tuple(_histogram(num_tokens)),
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        histogram = tuple((end, count) for end, count in value["histogram"])
        return cls(**{**value, "histogram": histogram})


def _histogram(num_tokens: NDArray[np.int32]) -> list[tuple[int, int]]:
    ends = [SHORTEST_BIN]
    while ends[-1] < num_tokens.max():
        ends.append(2 * ends[-1])
    counts = np.bincount(np.searchsorted(ends, num_tokens), minlength=len(ends))
    return list(zip(ends, counts.tolist(), strict=True))
