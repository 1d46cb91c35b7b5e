"""An adapter on disk, in PEFT's format: what transformers, PEFT and vLLM load as it is.

    adapter_config.json           rank, alpha, target modules, name of the base model
    adapter_model.safetensors     float32, `base_model.model.model.<module>.lora_A.weight`, …

We write what vLLM's loader accepts: a rank of its list, linear modules only, nothing saved
beside them, no DoRA. We read that too when PEFT wrote it, and refuse the rest by name. The same
adapter always gives the same bytes.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunesmith.domain.errors import UnsupportedModel
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.modeling.shape import ModelShape

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

RANKS = (8, 16, 32, 64)

# The rest of PEFT's LoraConfig as we use it. Reading, any other value is refused.
_PLAIN_LORA: Mapping[str, Any] = {
    "alora_invocation_tokens": None,
    "alpha_pattern": {},
    "bias": "none",
    "fan_in_fan_out": False,
    "layer_replication": None,
    "lora_bias": False,
    "modules_to_save": None,
    "peft_type": "LORA",
    "rank_pattern": {},
    "target_parameters": None,
    "trainable_token_indices": None,
    "use_dora": False,
    "use_qalora": False,
    "use_rslora": False,
}

# Ways to begin that leave the base model's weights alone, which PiSSA and its kin don't.
_PLAIN_BEGINNINGS = (True, False, "gaussian", "orthogonal", "eva")

_TENSOR_NAME = re.compile(r"base_model\.model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


def save_adapter(folder: Path, adapter: LoraAdapter, base_model: str) -> None:
    """Leaves the two files in `folder`, which is made if need be. Not flushed to the disk."""
    spec = adapter.spec
    assert spec.rank in RANKS, f"vLLM loads adapters of the ranks {RANKS}, not {spec.rank}"
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        **_PLAIN_LORA,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": int(spec.alpha) if spec.alpha == int(spec.alpha) else spec.alpha,
        "lora_dropout": 0.0,
        "r": spec.rank,
        "target_modules": list(spec.target_modules),
        "task_type": "CAUSAL_LM",
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    tensors = {}
    for module, (a, b) in adapter.weights.items():
        tensors[_tensor_name(module, "A")] = a.detach().to("cpu", torch.float32).contiguous()
        tensors[_tensor_name(module, "B")] = b.detach().to("cpu", torch.float32).contiguous()
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load_adapter(folder: Path, shape: ModelShape, device: torch.device) -> LoraAdapter:
    """The adapter in `folder`, for a base model of this shape; its weights are trainable.

    Raises UnsupportedModel if files are missing or damaged, if the adapter is of a kind that we
    don't run, or if it was made for another base model.
    """
    config = _read_config(folder / CONFIG_FILE)
    rank, alpha = _read_rank_and_alpha(config)
    weights = _pair_up(_read_tensors(folder / WEIGHTS_FILE), folder)
    sizes = shape.linear_sizes()
    for module, pair in weights.items():
        _check_fit(module, pair, rank, sizes.get(module), folder)
    ordered = [module for module in sizes if module in weights]
    targets = tuple(dict.fromkeys(module.rpartition(".")[2] for module in ordered))
    return LoraAdapter(
        shape,
        LoraSpec(rank, alpha, targets),
        {
            module: (weights[module][0].to(device), weights[module][1].to(device))
            for module in ordered
        },
    )


def _tensor_name(module: str, side: str) -> str:
    return f"base_model.model.model.{module}.lora_{side}.weight"


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnsupportedModel(f"{path} is missing or damaged: {error}") from error
    if not isinstance(config, dict):
        raise UnsupportedModel(f"{path} must hold a JSON object.")
    for key, plain in _PLAIN_LORA.items():
        # An empty list or object asks for as little as none at all.
        if (config.get(key, plain) or None) != (plain or None):
            raise UnsupportedModel(f"{path}: {key} is {config[key]!r}; supported: {plain!r}.")
    if config.get("init_lora_weights", True) not in _PLAIN_BEGINNINGS:
        raise UnsupportedModel(
            f"{path}: init_lora_weights is {config['init_lora_weights']!r}, which changes the "
            "base model; convert the adapter to plain LoRA with PEFT first."
        )
    return config


def _read_rank_and_alpha(config: Mapping[str, Any]) -> tuple[int, float]:
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise UnsupportedModel(
            f"{CONFIG_FILE} needs numbers as r and lora_alpha, not {rank!r} and {alpha!r}."
        )
    return rank, float(alpha)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UnsupportedModel(f"{path} is missing or damaged: {error}") from error


def _pair_up(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    modules = []
    for name in tensors:
        match = _TENSOR_NAME.fullmatch(name)
        if match is None:
            raise UnsupportedModel(
                f"The adapter in {folder} holds {name}; supported are LoRA weights of the "
                "attention's and feed-forward's linear modules."
            )
        modules.append(match["module"])
    try:
        return {
            module: (tensors[_tensor_name(module, "A")], tensors[_tensor_name(module, "B")])
            for module in modules
        }
    except KeyError as error:
        raise UnsupportedModel(f"The adapter in {folder} lacks {error}.") from error


def _check_fit(
    module: str,
    pair: tuple[Tensor, Tensor],
    rank: int,
    sizes: tuple[int, int] | None,
    folder: Path,
) -> None:
    if sizes is None:
        raise UnsupportedModel(
            f"The adapter in {folder} was made for another base model: this one has no {module}."
        )
    expected = (rank, sizes[0]), (sizes[1], rank)
    found = tuple(pair[0].shape), tuple(pair[1].shape)
    if found != expected:
        raise UnsupportedModel(
            f"The adapter in {folder} does not fit the base model: {module} has the shapes "
            f"{found[0]} and {found[1]}; rank {rank} on this base asks for {expected[0]} and "
            f"{expected[1]}."
        )
