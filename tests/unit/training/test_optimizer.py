import pytest
import torch
from torch import nn

from tunesmith.training.optimizer import AdamW


def make_parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    sizes = {"a": (3, 5), "b": (4,), "c": (2, 2)}
    return {
        name: nn.Parameter(torch.randn(size, generator=generator)) for name, size in sizes.items()
    }


def make_optimizer(parameters: dict[str, nn.Parameter], **changes: float) -> AdamW:
    numbers = {"eps": 1e-8, "weight_decay": 0.1, "max_grad_norm": 1.0, **changes}
    return AdamW(parameters, betas=(0.9, 0.999), **numbers)


def fill_gradients(parameters: dict[str, nn.Parameter], seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters.values():
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("scale", [0.01, 10.0], ids=["below the clip", "clipped"])
def test_updates_equal_torch_adamw_with_gradient_clipping(scale: float) -> None:
    ours, theirs = make_parameters(), make_parameters()
    optimizer = make_optimizer(ours)
    reference = torch.optim.AdamW(theirs.values(), lr=0.0, weight_decay=0.1)
    for update in range(1, 6):
        for parameters in (ours, theirs):
            fill_gradients(parameters, seed=update, scale=scale)
        norm = optimizer.step(update, learning_rate=0.02 / update)
        reference.param_groups[0]["lr"] = 0.02 / update
        reference_norm = nn.utils.clip_grad_norm_(theirs.values(), 1.0)
        reference.step()
        torch.testing.assert_close(norm, reference_norm)
    for name, parameter in ours.items():
        torch.testing.assert_close(parameter, theirs[name])


def test_gradients_are_gone_after_an_update() -> None:
    parameters = make_parameters()
    optimizer = make_optimizer(parameters)
    fill_gradients(parameters, seed=1, scale=1.0)
    optimizer.step(1, learning_rate=0.1)
    assert all(parameter.grad is None for parameter in parameters.values())


def test_first_update_without_gradients_changes_nothing() -> None:
    parameters = make_parameters()
    make_optimizer(parameters, weight_decay=0.0).step(1, learning_rate=0.1)
    for name, parameter in make_parameters().items():
        assert torch.equal(parameters[name], parameter)


def test_loaded_moments_go_on_where_the_saved_ones_stood() -> None:
    whole, resumed = make_parameters(), make_parameters()
    optimizer = make_optimizer(whole)
    fill_gradients(whole, seed=1, scale=1.0)
    optimizer.step(1, learning_rate=0.1)

    for name, parameter in resumed.items():
        parameter.data.copy_(whole[name])
    successor = make_optimizer(resumed)
    successor.load(optimizer.tensors())
    for parameters, each in ((whole, optimizer), (resumed, successor)):
        fill_gradients(parameters, seed=2, scale=1.0)
        each.step(2, learning_rate=0.1)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_moments_of_other_parameters_are_refused() -> None:
    optimizer = make_optimizer(make_parameters())
    with pytest.raises(KeyError, match=r"a\.mean"):
        optimizer.load({})
