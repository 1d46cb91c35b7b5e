"""What is accepted and what is refused, by name, from config.json alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.small_models import Kind, make_model
from tunesmith.domain.errors import UnsupportedModel
from tunesmith.modeling.shape import Architecture, Llama3RopeScaling, read_shape

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_shape_holds_what_the_config_says(tmp_path: Path) -> None:
    shape = read_shape(make_model(tmp_path, "qwen3"))
    assert shape.architecture is Architecture.QWEN3
    assert (shape.hidden_size, shape.intermediate_size, shape.num_layers) == (32, 48, 2)
    assert (shape.num_heads, shape.num_kv_heads, shape.head_dim) == (4, 2, 16)
    assert (shape.max_positions, shape.rope_theta, shape.norm_eps) == (512, 10_000.0, 1e-5)
    assert shape.rope_scaling is None
    assert not shape.is_tied


@pytest.mark.parametrize(
    ("kind", "has_qkv_bias", "has_qk_norm"),
    [("llama", False, False), ("qwen2", True, False), ("qwen3", False, True)],
)
def test_the_three_architectures_differ_in_two_switches(
    tmp_path: Path, kind: Kind, has_qkv_bias: bool, has_qk_norm: bool
) -> None:
    shape = read_shape(make_model(tmp_path, kind))
    assert (shape.has_qkv_bias, shape.has_qk_norm) == (has_qkv_bias, has_qk_norm)


def test_both_spellings_of_the_rotary_parameters_mean_the_same(tmp_path: Path) -> None:
    older = read_shape(make_model(tmp_path / "a", rope_theta=5e5, rope_scaling=LLAMA3))
    oldest_names = {**LLAMA3, "type": LLAMA3["rope_type"], "rope_type": None}
    oldest_names.pop("rope_type")
    oldest = read_shape(make_model(tmp_path / "b", rope_theta=5e5, rope_scaling=oldest_names))
    new = read_shape(
        make_model(tmp_path / "c", rope_theta=None, rope_parameters={**LLAMA3, "rope_theta": 5e5})
    )
    assert older == oldest == new
    assert new.rope_theta == 5e5
    assert new.rope_scaling == Llama3RopeScaling(32.0, 1.0, 4.0, 8192)


def test_linear_modules_come_with_their_sizes(tmp_path: Path) -> None:
    """By hand: hidden 32, 4 heads of 8 over 2 key-value heads, intermediate 48."""
    sizes = read_shape(make_model(tmp_path)).linear_sizes()
    assert len(sizes) == 2 * 7
    assert sizes["layers.1.self_attn.q_proj"] == (32, 32)
    assert sizes["layers.1.self_attn.k_proj"] == (32, 16)
    assert sizes["layers.1.mlp.gate_proj"] == (32, 48)
    assert sizes["layers.1.mlp.down_proj"] == (48, 32)


@pytest.mark.parametrize(
    ("kind", "overrides", "told"),
    [
        ("llama", {"architectures": ["GemmaForCausalLM"]}, "LlamaForCausalLM, Qwen2ForCausalLM"),
        ("llama", {"architectures": ["LlamaForCausalLM", "Other"]}, "architectures"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "bfloat16 or float16"),
        ("llama", {"auto_map": {"AutoModel": "modeling_x.X"}}, "no code from their own folder"),
        ("llama", {"hidden_act": "gelu"}, "'silu'"),
        ("llama", {"attention_bias": True}, "attention_bias"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("qwen3", {"attention_bias": True}, "attention_bias"),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1},
            "full attention in every layer",
        ),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "'full_attention' in"),
        ("qwen3", {"layer_types": 3}, "layer_types"),
        ("llama", {"architectures": [{}]}, "architectures"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'default' and 'llama3'"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "'llama3'"),
        ("llama", {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "one set"),
        ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        (
            "llama",
            {"rope_scaling": {**LLAMA3, "low_freq_factor": 4.0}},
            "more than low_freq_factor",
        ),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("llama", {"hidden_size": 30}, "can't be divided"),
        ("llama", {"num_attention_heads": 64}, "can't be divided"),
        ("qwen2", {"num_key_value_heads": None}, "num_key_value_heads"),
        ("qwen3", {"head_dim": None}, "head_dim"),
        ("qwen3", {"head_dim": 15}, "even"),
        ("llama", {"num_key_value_heads": 3}, "multiple"),
    ],
)
def test_what_the_decoder_does_not_do_is_refused_by_name(
    tmp_path: Path, kind: Kind, overrides: dict[str, Any], told: str
) -> None:
    folder = make_model(tmp_path)  # good weights; what counts is the config
    _change_config(folder, kind, overrides)
    with pytest.raises(UnsupportedModel) as refusal:
        read_shape(folder)
    assert told in refusal.value.message


def test_qwen2_may_name_the_biases_that_it_has_anyway(tmp_path: Path) -> None:
    assert read_shape(make_model(tmp_path, "qwen2", attention_bias=True)).has_qkv_bias


@pytest.mark.parametrize("value", [None, 0, -1, 2.5, "32", True])
def test_sizes_must_be_positive_whole_numbers(tmp_path: Path, value: object) -> None:
    folder = make_model(tmp_path)
    _change_config(folder, "llama", {"hidden_size": value})
    with pytest.raises(UnsupportedModel, match="hidden_size"):
        read_shape(folder)


def test_an_unused_sliding_window_is_no_obstacle(tmp_path: Path) -> None:
    """Qwen's configs name a window and leave it off, or begin it behind the last layer."""
    off = make_model(tmp_path / "a", "qwen2", use_sliding_window=False, sliding_window=64)
    late = make_model(
        tmp_path / "b",
        "qwen2",
        use_sliding_window=True,
        sliding_window=64,
        max_window_layers=2,
    )
    assert read_shape(off) == read_shape(late)


@pytest.mark.parametrize("text", [None, "", "{", "[]", "\x80"])
def test_a_folder_without_a_readable_config_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UnsupportedModel, match=r"config\.json"):
        read_shape(tmp_path)


def test_reading_a_shape_does_not_import_torch() -> None:
    """The API process reads shapes, and starts without torch."""
    code = "import sys, tunesmith.modeling.shape; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def _change_config(folder: Path, kind: Kind, overrides: dict[str, Any]) -> None:
    """Puts a config beside weights that it need not fit."""
    donor = make_model(folder / "donor", kind)
    config = json.loads((donor / "config.json").read_text()) | overrides
    (folder / "config.json").write_text(json.dumps(config))
