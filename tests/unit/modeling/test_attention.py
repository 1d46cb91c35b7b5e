import pytest
import torch
from torch import Tensor

from tunesmith.modeling.attention import RowAttention


def attend_by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √D) v of one row, head by head, each token over itself and those before."""
    out = torch.empty_like(q)
    heads_per_kv = q.shape[1] // k.shape[1]
    for head in range(q.shape[1]):
        for token in range(len(q)):
            seen_k, seen_v = (x[: token + 1, head // heads_per_kv] for x in (k, v))
            out[token, head] = (seen_k @ q[token, head] / q.shape[2] ** 0.5).softmax(0) @ seen_v
    return out


@pytest.mark.parametrize("lengths", [(4,), (3, 3), (1, 5, 2)])
@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_every_token_sees_its_own_row_up_to_itself(
    lengths: tuple[int, ...], num_kv_heads: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(sum(lengths), 4, 8, generator=generator)
    k, v = torch.randn(2, sum(lengths), num_kv_heads, 8, generator=generator)

    attended = RowAttention(lengths)(0, q, k, v)

    by_hand = [
        attend_by_hand(*row)
        for row in zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
    ]
    torch.testing.assert_close(attended, torch.cat(by_hand))


def test_gradients_are_those_of_rows_run_alone() -> None:
    lengths = (1, 5, 2)
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, sum(lengths), 2, 4, generator=generator)
    upstream = torch.randn(sum(lengths), 2, 4, generator=generator)

    def gradients(attend: object) -> tuple[Tensor, ...]:
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        return torch.autograd.grad(attend(*leaves), leaves, upstream)  # type: ignore[operator]

    def alone(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
        return torch.cat([RowAttention([len(row[0])])(0, *row) for row in rows])

    together = gradients(lambda q, k, v: RowAttention(lengths)(0, q, k, v))
    for ours, expected in zip(together, gradients(alone), strict=True):
        torch.testing.assert_close(ours, expected)
