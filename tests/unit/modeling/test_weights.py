"""Weights on disk: whole, in shards, in other precisions, and every way of being unusable."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.small_models import make_model
from tests.unit.modeling.rows import logits_of, random_rows
from tunesmith.domain.errors import UnsupportedModel
from tunesmith.modeling.weights import load_decoder

CPU = torch.device("cpu")


def logits(folder: Path) -> Tensor:
    with torch.no_grad():
        return logits_of(load_decoder(folder, CPU, torch.float32), random_rows())


def split_into_shards(folder: Path) -> None:
    """As transformers leaves a large model: numbered files and an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, shard in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in shard}, folder / file)
        weight_map |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_load_like_one_file(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    whole = logits(folder)
    split_into_shards(folder)
    assert torch.equal(logits(folder), whole)


def test_weights_are_cast_once_to_the_precision_asked_for(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    halved = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    save_file(halved, folder / "model.safetensors")

    decoder = load_decoder(folder, CPU, torch.float32)

    assert {parameter.dtype for parameter in decoder.parameters()} == {torch.float32}
    for name, tensor in decoder.checkpoint_tensors().items():
        assert torch.equal(tensor, halved[name].float()), name


def test_a_loaded_base_model_is_frozen(tmp_path: Path) -> None:
    decoder = load_decoder(make_model(tmp_path), CPU, torch.float32)
    assert not decoder.training
    assert not any(parameter.requires_grad for parameter in decoder.parameters())


def test_a_spare_head_and_old_rotary_buffers_are_passed_over(tmp_path: Path) -> None:
    """Some checkpoints carry them; transformers does not use them either."""
    folder = make_model(tmp_path)
    expected = logits(folder)
    edit(
        folder,
        lambda tensors: tensors.update(
            {
                "lm_head.weight": torch.zeros(1, 1),
                "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4),
            }
        ),
    )
    assert torch.equal(logits(folder), expected)


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop(NORM), "lack 1 of 20 tensors, model.norm.weight"),
        (lambda tensors: tensors.update({NORM: torch.ones(31)}), r"\(31,\).*\(32,\)"),
        (lambda tensors: tensors.update({NORM: torch.ones(1)}), r"\(1,\).*\(32,\)"),
        (lambda tensors: tensors.update({NORM: torch.ones(32, dtype=torch.int8)}), "int8"),
        (lambda tensors: tensors.update({"model.extra": torch.ones(1)}), "model.extra"),
    ],
)
def test_tensors_that_do_not_fit_the_config_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], None], told: str
) -> None:
    folder = make_model(tmp_path)
    edit(folder, change)
    with pytest.raises(UnsupportedModel, match=told):
        load_decoder(folder, CPU, torch.float32)


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match="safetensors only"):
        load_decoder(folder, CPU, torch.float32)


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UnsupportedModel, match="can't be read as safetensors"):
        load_decoder(folder, CPU, torch.float32)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    split_into_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UnsupportedModel, match="model-00002-of-00002"):
        load_decoder(folder, CPU, torch.float32)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", 7])
def test_an_index_can_not_lead_out_of_the_folder(tmp_path: Path, name: object) -> None:
    outside = make_model(tmp_path / "outside")
    (outside / "model.safetensors").rename(tmp_path / "outside.safetensors")
    folder = make_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {NORM: name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnsupportedModel, match="not a file in"):
        load_decoder(folder, CPU, torch.float32)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}'])
def test_a_damaged_index_is_refused(tmp_path: Path, text: str) -> None:
    folder = make_model(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(UnsupportedModel, match="not an index"):
        load_decoder(folder, CPU, torch.float32)


def edit(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
