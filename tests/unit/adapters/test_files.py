"""Adapter files: PEFT loads ours, we load PEFT's, and what we can't run is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.small_models import Kind, make_model
from tests.unit.modeling.rows import logits_of, random_rows
from tests.unit.modeling.twin import load_twin, twin_logits
from tunesmith.adapters.files import load_adapter, save_adapter
from tunesmith.domain.errors import UnsupportedModel
from tunesmith.domain.plan import TARGET_MODULES
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.modeling.shape import read_shape
from tunesmith.modeling.weights import load_decoder

# PEFT asks transformers for something by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

CPU = torch.device("cpu")
SPEC = LoraSpec(rank=8, alpha=12.0, target_modules=TARGET_MODULES)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
Q_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base"))


def trained_adapter(base: Path, spec: LoraSpec = SPEC, seed: int = 0) -> LoraAdapter:
    adapter = LoraAdapter.initialise(read_shape(base), spec, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, b in adapter.weights.values():
            b.copy_(0.1 * torch.randn(b.shape, generator=generator))
    return adapter


def our_logits(base: Path, adapter: LoraAdapter) -> Tensor:
    with torch.no_grad():
        return logits_of(load_decoder(base, CPU, torch.float32), random_rows(), adapter)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("targets", [TARGET_MODULES, ("q_proj", "v_proj", "down_proj")])
def test_peft_loads_our_files_and_computes_the_same(
    tmp_path: Path, kind: Kind, targets: tuple[str, ...]
) -> None:
    base = make_model(tmp_path / "base", kind)
    adapter = trained_adapter(base, LoraSpec(8, 12.0, targets))
    save_adapter(tmp_path / "adapter", adapter, "small-model")

    theirs = PeftModel.from_pretrained(load_twin(base), tmp_path / "adapter")

    logits = twin_logits(theirs, random_rows())
    torch.testing.assert_close(our_logits(base, adapter), logits, rtol=0, atol=1e-4)
    assert (logits - twin_logits(load_twin(base), random_rows())).abs().max() > 0.1


@pytest.mark.parametrize("targets", [list(TARGET_MODULES), ["k_proj", "o_proj"], "all-linear"])
def test_we_load_peft_files_and_compute_the_same(
    tmp_path: Path, base: Path, targets: list[str] | str
) -> None:
    config = LoraConfig(r=8, lora_alpha=4, target_modules=targets, task_type="CAUSAL_LM")
    torch.manual_seed(0)
    theirs = get_peft_model(load_twin(base), config)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    theirs.save_pretrained(tmp_path)

    adapter = load_adapter(tmp_path, read_shape(base), CPU)

    logits = twin_logits(theirs, random_rows())
    torch.testing.assert_close(our_logits(base, adapter), logits, rtol=0, atol=1e-4)


def test_a_loaded_adapter_is_the_saved_one_and_trainable(tmp_path: Path, base: Path) -> None:
    adapter = trained_adapter(base)
    save_adapter(tmp_path, adapter, "small-model")

    loaded = load_adapter(tmp_path, read_shape(base), CPU)

    assert loaded.spec == adapter.spec
    names = [name for name, _ in adapter.named_parameters()]
    assert [name for name, _ in loaded.named_parameters()] == names
    for ours, saved in zip(loaded.parameters(), adapter.parameters(), strict=True):
        assert torch.equal(ours, saved)
        assert ours.requires_grad


def test_config_stays_within_what_vllm_loads(tmp_path: Path, base: Path) -> None:
    save_adapter(tmp_path, trained_adapter(base), "small-model")
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["base_model_name_or_path"] == "small-model"
    assert (config["r"], config["lora_alpha"], type(config["lora_alpha"])) == (8, 12, int)
    assert config["target_modules"] == list(TARGET_MODULES)
    assert config["bias"] == "none"
    assert config["modules_to_save"] is None
    assert not config["use_dora"]
    assert not config["use_rslora"]


def test_a_rank_that_vllm_does_not_load_is_our_own_mistake(tmp_path: Path, base: Path) -> None:
    with pytest.raises(AssertionError, match="ranks"):
        save_adapter(tmp_path, trained_adapter(base, LoraSpec(12, 12.0, ("q_proj",))), "small")


def test_same_adapter_gives_the_same_bytes(tmp_path: Path, base: Path) -> None:
    for name in ("a", "b"):
        save_adapter(tmp_path / name, trained_adapter(base), "small-model")
    for file in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peft_type": "IA3"}, "peft_type"),
        ({"use_dora": True}, "use_dora"),
        ({"use_rslora": True}, "use_rslora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"r": None}, "r and lora_alpha"),
        ({"lora_alpha": "12"}, "r and lora_alpha"),
    ],
)
def test_kinds_of_adapter_that_we_do_not_run_are_refused(
    tmp_path: Path, base: Path, changes: dict[str, Any], told: str
) -> None:
    save_adapter(tmp_path, trained_adapter(base), "small-model")
    config = json.loads((tmp_path / CONFIG).read_text()) | changes
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(UnsupportedModel, match=told):
        load_adapter(tmp_path, read_shape(base), CPU)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop(Q_A), "lacks .*q_proj.lora_A"),
        (lambda tensors: tensors.update({Q_A: torch.zeros(4, 32)}), r"q_proj .*\(4, 32\)"),
        (lambda tensors: tensors.update({"base_model.model.lm_head.weight": Q}), "lm_head"),
        (
            lambda tensors: tensors.update({"base_model.model.lm_head.lora_A.weight": Q}),
            "lm_head",
        ),
    ],
)
def test_tensors_that_do_not_belong_are_named(
    tmp_path: Path, base: Path, change: Callable[[dict[str, Tensor]], object], told: str
) -> None:
    save_adapter(tmp_path, trained_adapter(base), "small-model")
    tensors = load_file(tmp_path / WEIGHTS)
    change(tensors)
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(UnsupportedModel, match=told):
        load_adapter(tmp_path, read_shape(base), CPU)


Q = torch.zeros(8, 32)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [({"num_hidden_layers": 1}, "no layers.1"), ({"hidden_size": 16}, "does not fit")],
)
def test_an_adapter_of_another_base_model_is_refused(
    tmp_path: Path, base: Path, overrides: dict[str, int], told: str
) -> None:
    save_adapter(tmp_path / "adapter", trained_adapter(base), "small-model")
    other = read_shape(make_model(tmp_path / "other", **overrides))
    with pytest.raises(UnsupportedModel, match=told):
        load_adapter(tmp_path / "adapter", other, CPU)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("damage", [None, b"", b"{", b"[]"])
def test_missing_and_damaged_files_are_named(
    tmp_path: Path, base: Path, file: str, damage: bytes | None
) -> None:
    save_adapter(tmp_path, trained_adapter(base), "small-model")
    (tmp_path / file).unlink()
    if damage is not None:
        (tmp_path / file).write_bytes(damage)
    with pytest.raises(UnsupportedModel, match=file):
        load_adapter(tmp_path, read_shape(base), CPU)
