"""LoRA's one arithmetic, its gradients, and its routing, against formulas written out plainly."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.small_models import make_model
from tests.unit.modeling.rows import logits_of, random_rows
from tunesmith.domain.plan import TARGET_MODULES
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import FEW_TOKENS, AdapterSpans, LoraAdapter, LoraSpec
from tunesmith.modeling.weights import load_decoder

CPU = torch.device("cpu")
SPEC = LoraSpec(rank=8, alpha=12.0, target_modules=TARGET_MODULES)
SCALING = 1.5  # 12 / 8

QKV = tuple(f"layers.0.self_attn.{name}_proj" for name in "qkv")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    return load_decoder(make_model(tmp_path_factory.mktemp("base")), CPU, torch.float32)


def trained_adapter(base: Decoder, seed: int, spec: LoraSpec = SPEC) -> LoraAdapter:
    """One whose b is not zero, as if it had been trained."""
    adapter = LoraAdapter.initialise(base.shape, spec, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, b in adapter.weights.values():
            b.copy_(0.1 * torch.randn(b.shape, generator=generator))
    return adapter


class PlainAdapter:
    """The formula as the paper has it, module by module; gradients by autograd."""

    def __init__(self, weights: dict[str, tuple[Tensor, Tensor]]) -> None:
        self.weights = {
            module: (a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_())
            for module, (a, b) in weights.items()
        }

    def linear(
        self, modules: tuple[str, ...], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        assert bias is None
        parts = []
        for module, rows in zip(modules, weight.split(len(weight) // len(modules)), strict=True):
            y = x @ rows.T
            if module in self.weights:
                a, b = self.weights[module]
                y = y + SCALING * (x @ a.T @ b.T)
            parts.append(y)
        return torch.cat(parts, dim=1)


def test_fresh_adapter_changes_nothing(base: Decoder) -> None:
    rows = random_rows()
    adapter = LoraAdapter.initialise(base.shape, SPEC, seed=0)
    with torch.no_grad():
        torch.testing.assert_close(logits_of(base, rows, adapter), logits_of(base, rows))


def test_fresh_a_is_uniform_within_one_over_the_root_of_its_inputs(base: Decoder) -> None:
    """PEFT's Kaiming-uniform with a=√5. Of 8 × 48 uniform numbers the largest falls short of the
    bound by 3 % with a probability of 1e-5, were the seed not fixed."""
    a, b = LoraAdapter.initialise(base.shape, SPEC, seed=0).weights["layers.0.mlp.down_proj"]
    bound = 1 / math.sqrt(48)
    assert 0.97 * bound < a.abs().max() <= bound
    assert a.shape == (8, 48)
    assert b.shape == (32, 8)
    assert not b.any()


def test_seed_decides_the_bits(base: Decoder) -> None:
    def bits(seed: int) -> Tensor:
        torch.rand(3)  # the global generator has no say
        adapter = LoraAdapter.initialise(base.shape, SPEC, seed)
        return torch.cat([p.detach().flatten() for p in adapter.parameters()])

    assert torch.equal(bits(5), bits(5))
    assert not torch.equal(bits(5), bits(6))


def test_parameters_are_counted(base: Decoder) -> None:
    """By hand, rank 8: (in + out) of q 64, k and v 48, o 64, gate, up and down 80; 2 layers."""
    adapter = LoraAdapter.initialise(base.shape, SPEC, seed=0)
    assert adapter.num_parameters == 2 * 8 * (64 + 48 + 48 + 64 + 80 + 80 + 80)
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}


@pytest.mark.parametrize("targets", [TARGET_MODULES, ("q_proj", "v_proj"), ("up_proj", "o_proj")])
def test_logits_and_gradients_are_those_of_the_plain_formula(
    tmp_path: Path, targets: tuple[str, ...]
) -> None:
    # Equal numbers of heads, so that the plain formula may cut weights into equal parts.
    base = load_decoder(make_model(tmp_path, num_key_value_heads=4), CPU, torch.float32)
    adapter = trained_adapter(base, 1, LoraSpec(8, 12.0, targets))
    plain = PlainAdapter(adapter.weights)
    rows = random_rows()
    upstream = torch.randn(32, base.shape.vocab_size, generator=torch.Generator().manual_seed(2))

    ours, expected = logits_of(base, rows, adapter), logits_of(base, rows, plain)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)

    (expected * upstream).sum().backward()
    (ours * upstream).sum().backward()
    gradients = gradients_of(adapter)
    assert gradients.keys() == plain.weights.keys()
    for module, (a, b) in plain.weights.items():
        torch.testing.assert_close(gradients[module], (a.grad, b.grad), rtol=1e-4, atol=1e-4)


def gradients_of(adapter: LoraAdapter) -> dict[str, tuple[Tensor, Tensor]]:
    """The gradients under their modules' names: what `weights` says when they are the weights."""
    twin = copy.deepcopy(adapter)
    for parameter, original in zip(twin.parameters(), adapter.parameters(), strict=True):
        assert original.grad is not None
        parameter.data = original.grad
    return twin.weights


def test_base_weights_get_no_gradient(base: Decoder) -> None:
    adapter = trained_adapter(base, 1)
    logits_of(base, random_rows(), adapter).sum().backward()
    assert all(parameter.grad is None for parameter in base.parameters())
    assert all(parameter.grad is not None for parameter in adapter.parameters())


def test_same_inputs_give_the_same_gradient_bits(base: Decoder) -> None:
    def gradient_bits() -> Tensor:
        adapter = trained_adapter(base, 1)
        logits_of(base, random_rows(), adapter).square().sum().backward()
        return torch.cat([p.grad.flatten() for p in adapter.parameters()])  # type: ignore[union-attr]

    assert torch.equal(gradient_bits(), gradient_bits())


def test_weights_stay_float32_on_a_bfloat16_base(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    full = load_decoder(folder, CPU, torch.float32)
    half = load_decoder(folder, CPU, torch.bfloat16)
    adapter = trained_adapter(full, 1)
    logits_of(half, random_rows(), adapter).float().square().mean().backward()
    half_gradients = [p.grad.clone() for p in adapter.parameters()]  # type: ignore[union-attr]
    adapter.zero_grad()
    logits_of(full, random_rows(), adapter).square().mean().backward()

    for half_gradient, parameter in zip(half_gradients, adapter.parameters(), strict=True):
        assert half_gradient.dtype == torch.float32
        assert parameter.grad is not None
        # bfloat16 has 8 bits, and a layer's worth of them adds up.
        assert (half_gradient - parameter.grad).norm() < 0.05 * parameter.grad.norm()


@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("length", [1, 3, FEW_TOKENS + 1])
def test_each_span_gets_its_own_adapter_and_the_rest_the_base(
    base: Decoder, length: int, is_frozen: bool
) -> None:
    rows = random_rows([length] * 5)
    one, other = trained_adapter(base, 1), trained_adapter(base, 2, LoraSpec(16, 24.0, ("q_proj",)))
    owners = [one, None, other, one, one]
    expected = torch.cat(
        [logits_of(base, [row], owner).detach() for row, owner in zip(rows, owners, strict=True)]
    )
    if is_frozen:
        one.freeze(torch.float32)
        other.freeze(torch.float32)

    spans = [
        (index * length, (index + 1) * length, owner)
        for index, owner in enumerate(owners)
        if owner is not None
    ]
    with torch.no_grad():
        mixed = logits_of(base, rows, AdapterSpans(spans))

    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-4)


def test_spans_must_be_in_order(base: Decoder) -> None:
    adapter = trained_adapter(base, 1)
    with pytest.raises(AssertionError, match="do not overlap"):
        AdapterSpans([(0, 3, adapter), (2, 4, adapter)])


def test_frozen_adapter_can_not_be_trained_by_mistake(base: Decoder) -> None:
    adapter = trained_adapter(base, 1).freeze(torch.float32)
    with pytest.raises(RuntimeError, match="does not require grad"):
        logits_of(base, random_rows(), adapter).sum().backward()


def test_a_copy_is_independent(base: Decoder) -> None:
    """Training goes on from a copy of a parent adapter."""
    parent = trained_adapter(base, 1)
    before = {module: b.detach().clone() for module, (_, b) in parent.weights.items()}
    child = copy.deepcopy(parent)
    with torch.no_grad():
        for parameter in child.parameters():
            parameter.zero_()
        changed = logits_of(base, random_rows(), child)
    assert torch.allclose(changed, logits_of(base, random_rows()), atol=1e-5)
    assert all(torch.equal(b, before[module]) for module, (_, b) in parent.weights.items())


def test_weights_of_a_module_that_is_not_there_are_our_own_mistake(base: Decoder) -> None:
    weights = {"layers.9.self_attn.q_proj": (torch.zeros(8, 32), torch.zeros(32, 8))}
    with pytest.raises(AssertionError, match=r"layers\.9"):
        LoraAdapter(base.shape, SPEC, weights)
