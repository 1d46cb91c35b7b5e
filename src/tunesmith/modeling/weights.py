"""A base model's weights, from safetensors to a decoder.

Only safetensors are read: data, never code. Files are memory-mapped and every tensor is copied
once, straight to its place, device and precision, so loading needs no second copy in memory.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tunesmith.domain.errors import UnsupportedModel
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.shape import read_shape
from tunesmith.modeling.weight_files import INDEX_FILE, SINGLE_FILE, indexed_files

READABLE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def load_decoder(folder: Path, device: torch.device, dtype: torch.dtype) -> Decoder:
    """The base model in `folder`, frozen, in evaluation mode.

    Raises UnsupportedModel for a shape that we don't run, and for files that are missing,
    damaged, or don't fit the config.
    """
    decoder = Decoder(read_shape(folder), device, dtype)
    decoder.requires_grad_(False).eval()
    targets = decoder.checkpoint_tensors()
    missing = set(targets)
    for name, tensor in _read_tensors(folder):
        target = targets.get(name)
        if target is None:
            _refuse_unless_harmless(name, decoder)
            continue
        _check(name, tensor, target)
        target.copy_(tensor)
        missing.discard(name)
    if missing:
        raise UnsupportedModel(
            f"The weights in {folder} lack {len(missing)} of {len(targets)} tensors, "
            f"{min(missing)} for one."
        )
    return decoder


def _read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    yield name, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise UnsupportedModel(f"{path} can't be read as safetensors: {error}") from error


def _weight_files(folder: Path) -> list[Path]:
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    index = folder / INDEX_FILE
    if not index.is_file():
        raise UnsupportedModel(
            f"{folder} has neither {SINGLE_FILE} nor {INDEX_FILE}. Weights are read from "
            "safetensors only; convert other files with transformers' save_pretrained."
        )
    files = [folder / name for name in indexed_files(index)]
    for path in files:
        if not path.is_file():
            raise UnsupportedModel(f"{index} names {path.name!r}, which is not a file in {folder}.")
    return files


def _refuse_unless_harmless(name: str, decoder: Decoder) -> None:
    """A tensor that we have no place for means arithmetic that we don't do."""
    is_spare_head = name == "lm_head.weight" and decoder.head is None
    if not is_spare_head and not name.endswith("rotary_emb.inv_freq"):
        raise UnsupportedModel(
            f"The weights hold {name}, which a {decoder.shape.architecture} of this config "
            "does not have."
        )


def _check(name: str, tensor: Tensor, target: Tensor) -> None:
    if tensor.dtype not in READABLE_DTYPES:
        raise UnsupportedModel(
            f"{name} is stored as {tensor.dtype}; supported are float32, bfloat16 and float16."
        )
    if tensor.shape != target.shape:
        raise UnsupportedModel(
            f"{name} has the shape {tuple(tensor.shape)}; config.json asks for "
            f"{tuple(target.shape)}."
        )
