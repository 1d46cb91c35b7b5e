"""A model whose next token depends on the last one alone, by a table of probabilities: what it
says of a row can be worked out on paper."""

from collections.abc import Mapping
from pathlib import Path

import torch

from tests.small_models import make_model
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.weights import load_decoder

IMPOSSIBLE = -1e4  # a logit


def bigram_model(folder: Path, table: Mapping[int, Mapping[int, float]]) -> Decoder:
    """`table[last][next]` is a probability; tokens are below 32, the model's width."""
    base = load_decoder(make_model(folder, "qwen3"), torch.device("cpu"), torch.float32)
    assert base.head is not None
    width = base.shape.hidden_size
    with torch.no_grad():
        for layer in base._layers:  # they add nothing
            layer.o.zero_()
            layer.down.zero_()
        base.norm.fill_(1.0)
        # Token t is the unit vector t, which the norm scales to a length of sqrt(width).
        base.embedding.zero_()
        base.embedding[:width] = 1e3 * torch.eye(width)
        base.head.fill_(IMPOSSIBLE)
        for last, nexts in table.items():
            for following, probability in nexts.items():
                base.head[following, last] = torch.tensor(probability).log()
        base.head /= width**0.5
    return base
