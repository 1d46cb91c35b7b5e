"""Random rows of tokens, and our decoder run over them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tests.small_models import VOCAB_SIZE
from tunesmith.modeling.attention import RowAttention
from tunesmith.modeling.decoder import Adapters, Decoder

LENGTHS = (5, 17, 1, 9)


def random_rows(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(VOCAB_SIZE, (length,), generator=generator) for length in lengths]


def logits_of(decoder: Decoder, rows: Sequence[Tensor], adapters: Adapters | None = None) -> Tensor:
    """[T, V], all rows in one pass."""
    positions = torch.cat([torch.arange(len(row)) for row in rows])
    attend = RowAttention([len(row) for row in rows])
    return decoder.logits(decoder(torch.cat(list(rows)), positions, attend, adapters))
