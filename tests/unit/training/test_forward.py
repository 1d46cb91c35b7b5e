"""The summed loss of a batch, against each row run alone through the plain decoder."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.unit.training.runs import Examples, make_examples
from tunesmith.datasets.batch import Batch, micro_batches
from tunesmith.datasets.render import Row
from tunesmith.modeling.attention import RowAttention
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.training.forward import BatchSums, Means, forward, means


@pytest.fixture
def adapter(base: Decoder) -> LoraAdapter:
    """One whose `b` is not zero, so that every weight has a gradient."""
    adapter = LoraAdapter.initialise(base.shape, LoraSpec(8, 16.0, ("q_proj", "down_proj")), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return adapter


def plain_nll(base: Decoder, adapter: LoraAdapter, examples: Examples) -> Tensor:
    """The definition: per row all logits, and a sum over labels."""
    total = torch.zeros(())
    for [row] in examples:
        token_ids = torch.tensor(row.token_ids)
        hidden = base(
            token_ids, torch.arange(len(token_ids)), RowAttention([len(token_ids)]), adapter
        )
        logprobs = base.logits(hidden).log_softmax(-1)
        for place, weight in enumerate(row.loss_weights):
            if weight:
                total = total - weight * logprobs[place - 1, token_ids[place]]
    return total


def batch_of(examples: Examples) -> Batch:
    [batch] = micro_batches([row for rows in examples for row in rows], max_tokens=10_000)
    return batch


@pytest.mark.parametrize("max_logits", [2**25, 264 * 3, 1], ids=["at once", "by 3", "by 1"])
def test_loss_and_gradients_equal_the_definition(
    base: Decoder, adapter: LoraAdapter, max_logits: int
) -> None:
    examples = make_examples(4)
    sums = forward(base, adapter, batch_of(examples), max_logits)
    expected = plain_nll(base, adapter, examples)
    torch.testing.assert_close(sums.nll, expected, check_dtype=False)
    ours = torch.autograd.grad(sums.nll, list(adapter.parameters()))
    theirs = torch.autograd.grad(expected, list(adapter.parameters()))
    for gradient, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5)


def test_weight_and_labels_are_counted(base: Decoder, adapter: LoraAdapter) -> None:
    examples = make_examples(4)
    weights = [weight for [row] in examples for weight in row.loss_weights]
    sums = forward(base, adapter, batch_of(examples))
    assert sums.weight == sum(weights)
    assert sums.num_labels_R.sum() == np.count_nonzero(weights)


def test_without_gradients_the_sums_are_the_same(base: Decoder, adapter: LoraAdapter) -> None:
    batch = batch_of(make_examples(3))
    with torch.no_grad():
        silent = forward(base, adapter, batch)
    sums = forward(base, adapter, batch)
    assert not silent.nll.requires_grad
    assert torch.equal(silent.nll, sums.nll)
    assert torch.equal(silent.num_wrong_R, sums.num_wrong_R)


def test_a_long_rows_sum_is_exact(base: Decoder, adapter: LoraAdapter) -> None:
    """In fp32, added up one after another, it would be off by as much as two answers differ."""
    generator = np.random.default_rng(0)
    token_ids = generator.integers(8, base.shape.vocab_size, 500).tolist()
    row = Row(token_ids, [0.0] + [1.0] * 499)
    with torch.no_grad():
        sums = forward(base, adapter, batch_of([[row]]))
        inputs = torch.tensor(token_ids[:-1])
        hidden = base(inputs, torch.arange(499), RowAttention([499]), adapter)
        nlls = functional.cross_entropy(
            base.logits(hidden), torch.tensor(token_ids[1:]), reduction="none"
        )
    assert sums.nll_R.item() == pytest.approx(math.fsum(nlls.tolist()), rel=1e-10)


def right_rows(base: Decoder, adapter: LoraAdapter, examples: Examples) -> int:
    """The definition: rows without a learned label that another token beats."""
    num_right = 0
    for [row] in examples:
        token_ids = torch.tensor(row.token_ids)
        attend = RowAttention([len(token_ids)])
        with torch.no_grad():
            hidden = base(token_ids, torch.arange(len(token_ids)), attend, adapter)
        answers = base.logits(hidden).argmax(-1).tolist()
        num_right += all(
            answers[place - 1] == row.token_ids[place] for place in np.flatnonzero(row.loss_weights)
        )
    return num_right


@pytest.mark.parametrize("prompt_weight", [0.0, 0.5])
@pytest.mark.parametrize("max_logits", [2**25, 264 * 3, 1], ids=["at once", "by 3", "by 1"])
@pytest.mark.parametrize("max_tokens", [10_000, 40])
def test_rows_that_are_all_right_are_counted_however_they_are_cut(
    base: Decoder, adapter: LoraAdapter, max_tokens: int, max_logits: int, prompt_weight: float
) -> None:
    """Half of the rows are what the model says itself."""
    examples = make_examples(12)
    for [row] in examples[::2]:
        copy_the_models_words(base, adapter, row)
    rows = [row for [row] in examples]
    parts = [
        forward(base, adapter, batch, max_logits)
        for batch in micro_batches(rows, max_tokens, prompt_weight)
    ]
    assert (len(parts) > 1) == (max_tokens == 40)
    expected = right_rows(base, adapter, examples)
    assert 6 <= expected < 12
    assert sum(int((part.num_wrong_R == 0).sum()) for part in parts) == expected
    assert means(parts).sequence_accuracy == expected / 12


def copy_the_models_words(base: Decoder, adapter: LoraAdapter, row: Row) -> None:
    for place in np.flatnonzero(row.loss_weights):
        token_ids = torch.tensor(row.token_ids[:place])
        with torch.no_grad():
            hidden = base(token_ids, torch.arange(place), RowAttention([int(place)]), adapter)
        row.token_ids[place] = int(base.logits(hidden[-1]).argmax())


def test_means_weigh_batches_by_their_tokens(base: Decoder, adapter: LoraAdapter) -> None:
    """A mean of the batches' own means would give the single short row as much as the others."""
    examples = make_examples(5)
    parts = [
        forward(base, adapter, batch_of(examples[:1])),
        forward(base, adapter, batch_of(examples[1:])),
    ]
    whole = forward(base, adapter, batch_of(examples))
    together, alone = means(parts), means([whole])
    assert together.loss == pytest.approx(alone.loss, rel=1e-5)
    assert together.accuracy == alone.accuracy


def test_one_right_of_ten_is_a_tenth() -> None:
    """And not 1 - 9/10, which is less."""
    part = BatchSums(torch.zeros(1), torch.tensor([9]), np.array([10]), 10.0)
    assert means([part]).accuracy == 0.1


def test_means_of_nothing_are_zero() -> None:
    assert means([]) == Means(0.0, 0.0, 0.0)
