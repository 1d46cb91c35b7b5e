"""Paged attention against attention written down plainly, one sequence and head at a time."""

import math

import pytest
import torch
from torch import Tensor

from tests.small_models import make_model
from tunesmith.inference import decode_attention
from tunesmith.inference.attention import CachedPrompt, Decodes, PagedAttention, PromptChunk
from tunesmith.inference.paged_memory import PagedMemory
from tunesmith.modeling.shape import ModelShape, read_shape

CPU = torch.device("cpu")
BLOCK_SIZE = 4


@pytest.fixture
def shape(tmp_path) -> ModelShape:
    return read_shape(make_model(tmp_path))  # 4 heads over 2 key-value heads of 8 numbers


@pytest.fixture
def memory(shape: ModelShape) -> PagedMemory:
    """Full of what a broken sequence left behind."""
    memory = PagedMemory(shape, 64, BLOCK_SIZE, CPU, torch.float32)
    for tensor in (*memory.keys, *memory.values):
        tensor.fill_(math.nan)
    return memory


def numbers(shape: ModelShape, length: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v of one sequence."""
    generator = torch.Generator().manual_seed(seed)

    def draw(num_heads: int) -> Tensor:
        return torch.randn(length, num_heads, shape.head_dim, generator=generator)

    return draw(shape.num_heads), draw(shape.num_kv_heads), draw(shape.num_kv_heads)


def plainly(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of a whole sequence."""
    attended = torch.empty_like(q)
    group = q.shape[1] // k.shape[1]
    for position in range(q.shape[0]):
        for head in range(q.shape[1]):
            own_k = k[: position + 1, head // group]
            own_v = v[: position + 1, head // group]
            scores = own_k @ q[position, head] / math.sqrt(q.shape[2])
            attended[position, head] = scores.softmax(0) @ own_v
    return attended


def write(memory: PagedMemory, blocks: list[int], k: Tensor, v: Tensor) -> Tensor:
    """Puts a whole sequence into its blocks; the rows that it has there."""
    memory.clear(torch.tensor(blocks))
    rows = memory.rows(torch.tensor(memory.places(blocks, 0, k.shape[0])))
    memory.write(1, rows, k, v)
    return rows


def single_tokens(tokens: list[int], blocks: list[list[int]], lengths: list[int]) -> Decodes:
    attention = decode_attention.plan(blocks, lengths, BLOCK_SIZE, like=torch.empty(0))
    return Decodes(torch.tensor(tokens), attention)


@pytest.mark.parametrize(
    ("lengths", "blocks"),
    [
        ([7, 1, 9], [[5, 6], [7], [8, 9, 10]]),  # side by side
        ([7, 1, 9], [[9, 5], [12], [10, 6, 7]]),  # in disorder, with a stranger's block 8 between
        ([7, 1, 9], [[60, 3], [20], [40, 1, 33]]),  # all over the place
        ([3, 1, 2], [[7], [5], [8]]),  # one block each
        ([3, 1, 4], [[60], [20], [1]]),
        ([2, 2, 2], [[4], [5], [6]]),
    ],
)
def test_tokens_of_several_sequences_at_once(
    shape: ModelShape, memory: PagedMemory, lengths: list[int], blocks: list[list[int]]
) -> None:
    sequences = [numbers(shape, length, seed) for seed, length in enumerate(lengths)]
    rows = [
        write(memory, own, k, v)[-shape.num_kv_heads :]
        for own, (_, k, v) in zip(blocks, sequences, strict=True)
    ]
    decodes = single_tokens([0, 1, 2], blocks, lengths)
    attend = PagedAttention(memory, torch.cat(rows), decodes, [])
    q, k, v = (torch.stack([s[part][-1] for s in sequences]) for part in range(3))
    expected = torch.stack([plainly(*s)[-1] for s in sequences])
    torch.testing.assert_close(attend(1, q, k, v), expected)


@pytest.mark.parametrize("num_sequences", [2, 7, 8, 9, 20])
@pytest.mark.parametrize("num_common", [1, 3])
def test_sequences_share_blocks(
    shape: ModelShape, memory: PagedMemory, num_sequences: int, num_common: int
) -> None:
    """All begin with the same block, every second one has more in common, one has nothing."""
    blocks, sequences, rows = [], [], []
    unused = iter(range(10, 64))
    beginning = numbers(shape, num_common * BLOCK_SIZE, seed=99)
    for n in range(num_sequences):
        own = numbers(shape, 1 + n % 7, seed=n)
        num_shared = num_common if n % 2 else min(n, 1)
        shared = [part[: num_shared * BLOCK_SIZE] for part in beginning]
        q, k, v = (torch.cat(parts) for parts in zip(shared, own, strict=True))
        sequences.append((q, k, v))
        own_blocks = [next(unused) for _ in range(-(-(1 + n % 7) // BLOCK_SIZE))]
        blocks.append([5, 3, 50][:num_shared] + own_blocks)
        rows.append(write(memory, blocks[-1], k, v)[-shape.num_kv_heads :])
    lengths = [q.shape[0] for q, _, _ in sequences]
    decodes = single_tokens(list(range(num_sequences)), blocks, lengths)
    attend = PagedAttention(memory, torch.cat(rows), decodes, [])
    q, k, v = (torch.stack([s[part][-1] for s in sequences]) for part in range(3))
    expected = torch.stack([plainly(*s)[-1] for s in sequences])
    torch.testing.assert_close(attend(1, q, k, v), expected)


@pytest.mark.parametrize("chunk_size", [2, 4, 5, 11])
def test_a_prompt_in_chunks(shape: ModelShape, memory: PagedMemory, chunk_size: int) -> None:
    q, k, v = numbers(shape, 11, seed=0)
    blocks = [7, 2, 30]
    memory.clear(torch.tensor(blocks))
    found = []
    for start in range(0, 11, chunk_size):
        end = min(start + chunk_size, 11)
        rows = memory.rows(torch.tensor(memory.places(blocks, start, end)))
        own = blocks[: -(-end // BLOCK_SIZE)]
        cached = CachedPrompt.of(own, start, end, CPU) if start else None
        attend = PagedAttention(memory, rows, None, [PromptChunk(slice(0, end - start), cached)])
        found.append(attend(1, q[start:end], k[start:end], v[start:end]))
    torch.testing.assert_close(torch.cat(found), plainly(q, k, v))


def test_prompts_and_single_tokens_in_one_step(shape: ModelShape, memory: PagedMemory) -> None:
    old, new = numbers(shape, 6, seed=1), numbers(shape, 5, seed=2)
    old_rows = write(memory, [3, 4], *old[1:])[-shape.num_kv_heads :]
    memory.clear(torch.tensor([5, 6]))
    new_rows = memory.rows(torch.tensor(memory.places([5, 6], 0, 5)))
    attend = PagedAttention(
        memory,
        torch.cat([new_rows, old_rows]),
        single_tokens([5], [[3, 4]], [6]),
        [PromptChunk(slice(0, 5))],
    )
    q, k, v = (torch.cat([b, a[-1:]]) for a, b in zip(old, new, strict=True))
    expected = torch.cat([plainly(*new), plainly(*old)[-1:]])
    torch.testing.assert_close(attend(1, q, k, v), expected)
