"""The same model folder in transformers: the oracle."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar


def load_twin(folder: Path) -> PreTrainedModel:
    disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def twin_logits(twin: PreTrainedModel, rows: Sequence[Tensor]) -> Tensor:
    """[T, V] of rows of token ids, each run alone."""
    return torch.cat([twin(row.unsqueeze(0)).logits[0] for row in rows])
