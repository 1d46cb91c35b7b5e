"""The decoder against transformers, which is what "Llama" and "Qwen" mean in practice."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_models import Kind, make_model
from tests.unit.modeling.rows import logits_of, random_rows
from tests.unit.modeling.twin import load_twin, twin_logits
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.weights import load_decoder

CPU = torch.device("cpu")

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def load(folder: Path) -> Decoder:
    return load_decoder(folder, CPU, torch.float32)


@pytest.mark.parametrize(
    ("kind", "overrides"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": False}),
        ("llama", {"num_key_value_heads": None}),
        ("llama", {"num_key_value_heads": 1}),
        ("llama", {"head_dim": 12}),
        ("llama", {"rope_theta": 500_000.0, "rope_scaling": LLAMA3_ROPE}),
        ("llama", {"rope_theta": None, "rope_parameters": {**LLAMA3_ROPE, "rope_theta": 5e5}}),
        ("llama", {"rope_theta": None}),
        ("qwen2", {}),
        ("qwen2", {"tie_word_embeddings": False, "rope_theta": 1e6}),
        ("qwen2", {"head_dim": 12}),
        ("qwen2", {"sliding_window": 4, "use_sliding_window": False}),
        ("qwen3", {}),
        ("qwen3", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
        (
            "qwen3",
            {
                "rope_theta": None,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
                "layer_types": ["full_attention"] * 2,
            },
        ),
    ],
)
def test_logits_equal_transformers(tmp_path: Path, kind: Kind, overrides: dict[str, Any]) -> None:
    folder = make_model(tmp_path, kind, **overrides)
    rows = random_rows((5, 100, 1, 9))

    with torch.no_grad():
        ours = logits_of(load(folder), rows)
    theirs = twin_logits(load_twin(folder), rows)

    assert theirs.std() > 0.5  # a comparison of noughts would say nothing
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_stretched_rotary_frequencies_matter_to_the_logits(tmp_path: Path) -> None:
    """Guards the comparisons above: two models that ignored the rule alike would agree."""
    rows = random_rows((100,))
    plain = load(make_model(tmp_path / "plain"))
    stretched = load(make_model(tmp_path / "stretched", rope_scaling=LLAMA3_ROPE))

    with torch.no_grad():
        assert (logits_of(plain, rows) - logits_of(stretched, rows)).abs().max() > 0.1


def test_a_rows_logits_do_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    decoder = load(make_model(tmp_path))
    rows = random_rows()

    with torch.no_grad():
        together = logits_of(decoder, rows)
        alone = torch.cat([logits_of(decoder, [row]) for row in rows])

    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_same_inputs_give_the_same_bits(tmp_path: Path) -> None:
    decoder = load(make_model(tmp_path))
    with torch.no_grad():
        first, second = (logits_of(decoder, random_rows()) for _ in range(2))
    assert torch.equal(first, second)


def test_bfloat16_stays_close_to_float32(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    rows = random_rows()
    with torch.no_grad():
        full = logits_of(load(folder), rows)
        half = logits_of(load_decoder(folder, CPU, torch.bfloat16), rows)
    # bfloat16 keeps 8 bits; over two layers the error stays within a few units of the last.
    assert half.dtype == torch.bfloat16
    assert (full - half.float()).std() < 0.02 * full.std()


def test_gradients_reach_every_weight_of_a_thawed_model(tmp_path: Path) -> None:
    """Nothing in the decoder relies on frozen weights."""
    decoder = load(make_model(tmp_path, "qwen3")).requires_grad_(True)
    logits_of(decoder, random_rows()).square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
