"""What a base model looks like, read from its `config.json`. No torch here: the API asks too.

One decoder (`decoder.py`) serves three architectures that differ in two switches: Llama, Qwen2
(biases on q, k and v) and Qwen3 (RMS norm on each head's q and k). Whatever a config asks for
beyond that is refused here, by name, before any weight is read; a model that loads is a model
whose logits are right. A model folder's own code is never run.

The keys and their defaults are those of transformers' configuration classes, in both spellings
of the rotary parameters: `rope_parameters` (since transformers 5) and `rope_theta` with
`rope_scaling` (before).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tunesmith.domain.errors import UnsupportedModel

# A config's JSON, of which nothing is known yet: hence Any.
Config = Mapping[str, Any]


class Architecture(StrEnum):
    """The names that configs use in `architectures`."""

    LLAMA = "LlamaForCausalLM"
    QWEN2 = "Qwen2ForCausalLM"
    QWEN3 = "Qwen3ForCausalLM"


@dataclass(frozen=True)
class Llama3RopeScaling:
    """Llama 3.1's stretching of the slow rotary frequencies."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True)
class ModelShape:
    architecture: Architecture
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    rope_theta: float
    rope_scaling: Llama3RopeScaling | None
    norm_eps: float
    is_tied: bool  # the vocabulary head is the embedding

    @property
    def has_qkv_bias(self) -> bool:
        return self.architecture is Architecture.QWEN2

    @property
    def has_qk_norm(self) -> bool:
        return self.architecture is Architecture.QWEN3

    def linear_sizes(self) -> dict[str, tuple[int, int]]:
        """(in, out) of every linear module that can bear an adapter, in the order of the
        forward pass: `layers.0.self_attn.q_proj`, …"""
        hidden, intermediate = self.hidden_size, self.intermediate_size
        q_size = self.num_heads * self.head_dim
        kv_size = self.num_kv_heads * self.head_dim
        sizes = {
            "self_attn.q_proj": (hidden, q_size),
            "self_attn.k_proj": (hidden, kv_size),
            "self_attn.v_proj": (hidden, kv_size),
            "self_attn.o_proj": (q_size, hidden),
            "mlp.gate_proj": (hidden, intermediate),
            "mlp.up_proj": (hidden, intermediate),
            "mlp.down_proj": (intermediate, hidden),
        }
        return {
            f"layers.{layer}.{module}": size
            for layer in range(self.num_layers)
            for module, size in sizes.items()
        }

    def linear_groups(self) -> list[tuple[str, ...]]:
        """The same modules, those that share an input together: what is one product."""
        return [group for layer in range(self.num_layers) for group in layer_groups(layer)]


def layer_groups(layer: int) -> tuple[tuple[str, ...], ...]:
    attention, feed_forward = f"layers.{layer}.self_attn", f"layers.{layer}.mlp"
    return (
        tuple(f"{attention}.{name}_proj" for name in "qkv"),
        (f"{attention}.o_proj",),
        tuple(f"{feed_forward}.{name}_proj" for name in ("gate", "up")),
        (f"{feed_forward}.down_proj",),
    )


def read_shape(folder: Path) -> ModelShape:
    """The shape of the base model in `folder`.

    Raises UnsupportedModel, saying what stands in the way and what is supported.
    """
    config = _read_config(folder / "config.json")
    architecture = _read_architecture(config)
    _refuse_what_we_do_not_run(config, architecture)
    num_heads = _positive(config, "num_attention_heads")
    hidden_size = _positive(config, "hidden_size")
    rope = _rope_parameters(config)
    shape = ModelShape(
        architecture=architecture,
        vocab_size=_positive(config, "vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=_positive(config, "intermediate_size"),
        num_layers=_positive(config, "num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=_num_kv_heads(config, architecture, num_heads),
        head_dim=_head_dim(config, architecture, hidden_size, num_heads),
        max_positions=_positive(config, "max_position_embeddings"),
        rope_theta=_number(rope, "rope_theta", 10_000.0),
        rope_scaling=_rope_scaling(rope),
        norm_eps=_number(config, "rms_norm_eps", 1e-6),
        is_tied=config.get("tie_word_embeddings", False) is True,
    )
    if shape.num_heads % shape.num_kv_heads or shape.head_dim % 2:
        raise UnsupportedModel(
            f"{shape.num_heads} attention heads over {shape.num_kv_heads} key-value heads of "
            f"{shape.head_dim} numbers do not fit: the first must be a multiple of the second, "
            "and the third even."
        )
    return shape


def _read_config(path: Path) -> Config:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnsupportedModel(
            f"{path} does not exist; a base model is a folder with config.json, "
            "model.safetensors and tokenizer.json."
        ) from error
    except (OSError, ValueError) as error:
        raise UnsupportedModel(f"{path} can't be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise UnsupportedModel(f"{path} must hold a JSON object.")
    return config


def _read_architecture(config: Config) -> Architecture:
    names = config.get("architectures")
    for architecture in Architecture:
        if names == [architecture]:
            return architecture
    supported = ", ".join(Architecture)
    raise UnsupportedModel(f"architectures is {names!r}; supported are: {supported}.")


def _refuse_what_we_do_not_run(config: Config, architecture: Architecture) -> None:
    """Raises on the first key that asks for arithmetic the decoder does not have."""
    if config.get("quantization_config") is not None:
        _refuse(config, "quantization_config", "weights in float32, bfloat16 or float16")
    if config.get("auto_map") is not None:
        _refuse(config, "auto_map", "models that need no code from their own folder")
    if config.get("hidden_act", "silu") != "silu":
        _refuse(config, "hidden_act", "'silu'")
    if config.get("attention_bias") and architecture is not Architecture.QWEN2:
        _refuse(config, "attention_bias", "false")
    if config.get("mlp_bias"):
        _refuse(config, "mlp_bias", "false")
    _refuse_sliding_windows(config)


def _refuse_sliding_windows(config: Config) -> None:
    """Qwen's configs name a window and leave it off, or begin it behind the last layer."""
    layer_types = config.get("layer_types")
    if layer_types is not None:
        if layer_types != ["full_attention"] * _positive(config, "num_hidden_layers"):
            _refuse(config, "layer_types", "'full_attention' in every layer")
    elif config.get("use_sliding_window") and config.get("sliding_window") is not None:
        begin = config.get("max_window_layers", 28)
        if type(begin) is not int or begin < _positive(config, "num_hidden_layers"):
            _refuse(config, "sliding_window", "full attention in every layer")


def _num_kv_heads(config: Config, architecture: Architecture, num_heads: int) -> int:
    if config.get("num_key_value_heads") is None and architecture is Architecture.LLAMA:
        return num_heads
    return _positive(config, "num_key_value_heads")


def _head_dim(config: Config, architecture: Architecture, hidden_size: int, num_heads: int) -> int:
    """As said, or what divides the hidden size among the heads; Qwen3 has another default."""
    if config.get("head_dim") is not None or architecture is Architecture.QWEN3:
        return _positive(config, "head_dim")
    if hidden_size % num_heads:
        raise UnsupportedModel(
            f"hidden_size {hidden_size} can't be divided among {num_heads} attention heads; "
            "config.json needs a head_dim."
        )
    return hidden_size // num_heads


def _rope_parameters(config: Config) -> Config:
    """The rotary parameters in their new form, whichever form the config has."""
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(rope, dict) or any(isinstance(value, dict) for value in rope.values()):
        _refuse(config, "rope_parameters", "one set of parameters for all layers")
    return {
        "rope_theta": config.get("rope_theta", 10_000.0),
        "partial_rotary_factor": config.get("partial_rotary_factor", 1.0),
        **rope,
    }


def _rope_scaling(rope: Config) -> Llama3RopeScaling | None:
    if rope["partial_rotary_factor"] not in (None, 1.0):
        _refuse(rope, "partial_rotary_factor", "1.0")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        _refuse({"rope_type": kind}, "rope_type", "'default' and 'llama3'")
    scaling = Llama3RopeScaling(
        factor=_number(rope, "factor"),
        low_freq_factor=_number(rope, "low_freq_factor"),
        high_freq_factor=_number(rope, "high_freq_factor"),
        original_max_positions=_positive(rope, "original_max_position_embeddings"),
    )
    if scaling.high_freq_factor <= scaling.low_freq_factor:
        _refuse(rope, "high_freq_factor", "more than low_freq_factor")
    return scaling


def _positive(config: Config, key: str) -> int:
    value = config.get(key)
    if type(value) is not int or value < 1:
        raise UnsupportedModel(f"config.json needs a positive whole number as {key}, not {value!r}")
    return value


def _number(config: Config, key: str, default: float | None = None) -> float:
    value = config.get(key, default)
    if type(value) not in (int, float) or not value > 0:
        raise UnsupportedModel(f"config.json needs a positive number as {key}, not {value!r}")
    return float(value)


def _refuse(config: Config, key: str, supported: str) -> None:
    raise UnsupportedModel(f"{key} is {config.get(key)!r} in config.json; supported: {supported}.")
