"""Orders, steps and micro-batches, worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.datasets.batch import epoch_order, micro_batches, step_batches
from tunesmith.datasets.render import Row


def row(*token_ids: int, learned: int, weight: float = 1.0) -> Row:
    """The last `learned` tokens bear loss."""
    num_masked = len(token_ids) - learned
    return Row(list(token_ids), [0.0] * num_masked + [weight] * learned)


def test_labels_are_the_tokens_that_follow_and_weights_are_theirs() -> None:
    (batch,) = micro_batches([row(10, 11, 12, 13, learned=2, weight=0.5)], max_tokens=100)
    assert batch.token_ids.tolist() == [10, 11, 12]
    assert batch.positions.tolist() == [0, 1, 2]
    assert batch.labels.tolist() == [11, 12, 13]
    assert batch.weights.tolist() == [0.0, 0.5, 0.5]
    assert batch.is_learned.tolist() == [False, True, True]
    assert batch.row_lengths == (3,)
    assert (batch.token_ids.dtype, batch.positions.dtype) == (np.int64, np.int64)
    assert (batch.labels.dtype, batch.weights.dtype) == (np.int64, np.float32)
    assert batch.is_learned.dtype == np.bool_


def test_rows_lie_end_to_end_short_ones_first() -> None:
    (batch,) = micro_batches([row(1, 2, 3, learned=1), row(7, 8, learned=1)], max_tokens=100)
    assert batch.row_lengths == (1, 2)
    assert batch.token_ids.tolist() == [7, 1, 2]
    assert batch.positions.tolist() == [0, 0, 1]
    assert batch.labels.tolist() == [8, 2, 3]
    assert batch.weights.tolist() == [1, 0, 1]


def test_tokens_after_the_last_label_are_left_out() -> None:
    (batch,) = micro_batches([Row([1, 2, 3, 4, 5], [0, 0, 1, 0, 0])], max_tokens=100)
    assert batch.token_ids.tolist() == [1, 2]
    assert batch.labels.tolist() == [2, 3]


@pytest.mark.parametrize(
    "silent", [Row([], []), Row([1], [1.0]), Row([1, 2], [0.0, 0.0]), Row([1, 2], [1.0, 0.0])]
)
def test_a_row_without_loss_is_left_out(silent: Row) -> None:
    """A first token is predicted from nothing, so it bears no loss whatever its weight."""
    assert micro_batches([silent], max_tokens=10) == []
    (batch,) = micro_batches([silent, row(1, 2, learned=1)], max_tokens=10)
    assert batch.row_lengths == (1,)


def test_labels_before_the_first_learned_one_get_the_prompts_weight() -> None:
    """And none after it: what lies between two answers stays unweighted."""
    between = Row([1, 2, 3, 4, 5, 6], [0, 0, 1, 0, 0.5, 0])
    (batch,) = micro_batches([row(7, 8, 9, learned=1), between], 100, prompt_weight=0.25)
    assert batch.labels.tolist() == [8, 9, 2, 3, 4, 5]
    assert batch.weights.tolist() == [0.25, 1, 0.25, 1, 0, 0.5]
    assert batch.is_learned.tolist() == [False, True, False, True, False, True]


@pytest.mark.parametrize("whole", [row(1, 2, 3, learned=3), row(1, 2, 3, learned=2)])
def test_a_row_that_is_learned_from_its_start_has_no_prompt_to_weigh(whole: Row) -> None:
    (batch,) = micro_batches([whole], 100, prompt_weight=0.25)
    assert batch.weights.tolist() == [1, 1]


def test_a_prompts_weight_changes_no_row_and_nothing_else_of_a_batch() -> None:
    rows = [Row([1, 2], [0, 0]), Row([3, 4, 5], [0, 0, 1]), row(6, 7, 8, 9, learned=2)]
    [plain], [weighted] = micro_batches(rows, 100), micro_batches(rows, 100, prompt_weight=1.0)
    assert weighted.row_lengths == plain.row_lengths == (2, 3)
    for name in ("token_ids", "positions", "labels", "is_learned"):
        assert getattr(weighted, name).tolist() == getattr(plain, name).tolist()
    assert [one.loss_weights for one in rows] == [[0, 0], [0, 0, 1], [0, 0, 1, 1]]


def test_a_row_longer_than_the_budget_is_alone() -> None:
    rows = [row(*range(n), learned=1) for n in (21, 3, 4, 5)]
    batches = micro_batches(rows, max_tokens=6)
    assert [batch.row_lengths for batch in batches] == [(2, 3), (4,), (20,)]


@given(st.lists(st.integers(2, 40), min_size=1, max_size=30), st.integers(1, 60))
def test_nothing_is_lost_and_no_budget_is_passed(lengths: list[int], max_tokens: int) -> None:
    rows = [row(*range(n), learned=1) for n in lengths]
    batches = micro_batches(rows, max_tokens)
    assert sorted(n for batch in batches for n in batch.row_lengths) == sorted(
        n - 1 for n in lengths
    )
    for batch in batches:
        total = sum(batch.row_lengths)
        assert total <= max_tokens or len(batch.row_lengths) == 1
        assert len(batch.token_ids) == len(batch.labels) == len(batch.weights) == total
        assert batch.weights.sum() == len(batch.row_lengths)


def test_an_order_is_a_permutation_that_seed_and_epoch_decide() -> None:
    order = epoch_order(100, seed=7, epoch=2)
    assert sorted(order.tolist()) == list(range(100))
    np.random.seed(0)
    assert epoch_order(100, seed=7, epoch=2).tolist() == order.tolist()
    assert epoch_order(100, seed=7, epoch=3).tolist() != order.tolist()
    assert epoch_order(100, seed=8, epoch=2).tolist() != order.tolist()


def test_steps_take_whole_examples_and_the_last_takes_what_is_left() -> None:
    examples = [[row(n, 100 + part, learned=1) for part in range(2)] for n in range(7)]
    steps = list(step_batches(examples, batch_size=3, seed=1, epoch=0))
    assert list(step_batches(examples, 3, 1, 0, first_step=1)) == steps[1:]
    assert [len(step) for step in steps] == [6, 6, 2]
    seen = [(row.token_ids[0], row.token_ids[1]) for step in steps for row in step]
    order = epoch_order(7, seed=1, epoch=0).tolist()
    assert seen == [(n, 100 + part) for n in order for part in range(2)]
