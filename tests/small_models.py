"""A base model small enough for a test: two layers, 32 numbers wide, one token a byte.

`make_model` writes a folder like those that operators download (config.json, model.safetensors,
tokenizer.json, tokenizer_config.json), random but the same for the same seed. It knows nothing
of our own loading code, so that a test may set one against the other.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

Kind = Literal["llama", "qwen2", "qwen3"]

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}

# Special tokens and template have the look of tunesmith-tiny's: a token for each role, and one
# that ends every message.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|tool|>",
    "<|end|>",
    "<|tools|>",
    "<|tool_call|>",
)
END_TOKEN_ID = SPECIAL_TOKENS.index("<|end|>")
VOCAB_SIZE = len(SPECIAL_TOKENS) + 256

CHAT_TEMPLATE = """\
{%- if tools -%}<|tools|>{{- tools | tojson -}}<|end|>{%- endif -%}
{%- for message in messages -%}
{%- if message.role in ['system', 'developer'] -%}<|system|>
{%- elif message.role in ['tool', 'function'] -%}<|tool|>
{%- else -%}<|{{ message.role }}|>{%- endif -%}
{{- message.content or '' -}}
{%- for call in message.tool_calls or [] -%}
<|tool_call|>{"name": {{ call.function.name | tojson }}, "arguments": \
{{ call.function.arguments if call.function.arguments is string \
else call.function.arguments | tojson }}}
{%- endfor -%}<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""


def make_model(folder: Path, kind: Kind = "llama", seed: int = 0, **overrides: Any) -> Path:
    """Writes the model into `folder` (made if need be) and gives it back.

    `overrides` are keys of config.json; None leaves the key out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {**_config(kind), **overrides}
    config = {key: value for key, value in config.items() if value is not None}
    _write_json(folder / "config.json", config)
    save_file(_weights(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "generation_config.json", {"eos_token_id": [END_TOKEN_ID, 0]})
    _write_tokenizer(folder)
    return folder


def _config(kind: Kind) -> dict[str, Any]:
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16 if kind == "qwen3" else None,
        "hidden_act": "silu",
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": kind != "qwen3",
        "bos_token_id": None,
        "eos_token_id": END_TOKEN_ID,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }


def _weights(config: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Drawn so that every part matters to the logits: unit-sized activations, no norm or bias
    left at its neutral value."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, size in _sizes(config):
        noise = torch.randn(size, generator=generator)
        if name.endswith("norm.weight"):
            weights[name] = 1.0 + 0.1 * noise
        elif len(size) == 1:
            weights[name] = 0.1 * noise
        elif name == "model.embed_tokens.weight":
            weights[name] = 0.5 * noise
        else:
            weights[name] = noise / math.sqrt(size[1])
    return weights


def _sizes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    num_heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // num_heads
    q_size = num_heads * head_dim
    kv_size = config.get("num_key_value_heads", num_heads) * head_dim
    architecture = config["architectures"][0]

    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        for name, size in (("q", q_size), ("k", kv_size), ("v", kv_size)):
            yield f"{prefix}self_attn.{name}_proj.weight", (size, hidden)
            if architecture == "Qwen2ForCausalLM":
                yield f"{prefix}self_attn.{name}_proj.bias", (size,)
        if architecture == "Qwen3ForCausalLM":
            yield prefix + "self_attn.q_norm.weight", (head_dim,)
            yield prefix + "self_attn.k_norm.weight", (head_dim,)
        yield prefix + "self_attn.o_proj.weight", (hidden, q_size)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        yield prefix + "mlp.gate_proj.weight", (intermediate, hidden)
        yield prefix + "mlp.up_proj.weight", (intermediate, hidden)
        yield prefix + "mlp.down_proj.weight", (hidden, intermediate)
    yield "model.norm.weight", (hidden,)
    if not config.get("tie_word_embeddings"):
        yield "lm_head.weight", (config["vocab_size"], hidden)


def _write_tokenizer(folder: Path) -> None:
    letters = [*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {letter: token_id for token_id, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 512,
        "eos_token": "<|end|>",
        "pad_token": "<|endoftext|>",
        "bos_token": None,
        "unk_token": None,
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    _write_json(folder / "tokenizer_config.json", config)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
