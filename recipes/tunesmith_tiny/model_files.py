"""tunesmith-tiny's shape, and its files in Hugging Face's format."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from recipes.tunesmith_tiny.tokenizer import (
    END,
    END_OF_TEXT,
    MAX_LENGTH,
    SPECIAL_TOKENS,
    VOCAB_SIZE,
)

_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "max_position_embeddings": MAX_LENGTH,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": SPECIAL_TOKENS.index(END),
    "pad_token_id": SPECIAL_TOKENS.index(END_OF_TEXT),
    "torch_dtype": "bfloat16",
}
_GENERATION_CONFIG = {
    # A conversation ends its messages with one, a plain text with the other.
    "eos_token_id": [SPECIAL_TOKENS.index(END), SPECIAL_TOKENS.index(END_OF_TEXT)],
    "pad_token_id": SPECIAL_TOKENS.index(END_OF_TEXT),
    "do_sample": True,
    "temperature": 1.0,
}


def new_module() -> LlamaForCausalLM:
    """Fresh weights, by torch's random generator, in float32."""
    return LlamaForCausalLM(LlamaConfig.from_dict({**_CONFIG, "torch_dtype": "float32"}))


def save_model(module: LlamaForCausalLM, folder: Path) -> None:
    """Write weights in bfloat16, whole or not at all, and the config files beside them."""
    tensors = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in module.state_dict().items()
        if name != "lm_head.weight"  # tied to the embedding
    }
    temporary = folder / "model.safetensors.part"
    save_file(tensors, temporary, metadata={"format": "pt"})
    temporary.chmod(0o644)  # safetensors makes files that only their owner can read
    os.replace(temporary, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(_CONFIG, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(_GENERATION_CONFIG, indent=2) + "\n")
