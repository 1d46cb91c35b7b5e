"""From rows to what one forward pass eats.

An optimiser step takes `batch_size` examples in an order that seed and epoch alone decide
(`step_batches`). Their rows, sorted by length, are laid end to end on one token axis T, in as
many micro-batches as the token budget asks for (`micro_batches`; `pair_batches` for preferences).
Nothing here is padded: rows keep their own length, and attention is told where each one ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith.datasets.render import Row


@dataclass(frozen=True)
class Batch:
    """Rows of one micro-batch, one after another on T = sum(row_lengths)."""

    token_ids: NDArray[np.int64]  # [T]
    positions: NDArray[np.int64]  # [T], from 0 in each row
    row_lengths: tuple[int, ...]
    labels: NDArray[np.int64]  # [T], the token that follows in the row
    weights: NDArray[np.float32]  # [T], of predicting labels[t] at t; 0: nothing is asked there
    is_learned: NDArray[np.bool_]  # [T], whether labels[t] bears a weight of its own: no prompt's


def epoch_order(num_examples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which `epoch` sees the examples: a permutation that seed and epoch decide,
    whatever ran before (so that a resumed job sees what an uninterrupted one would)."""
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def step_batches(
    examples: Sequence[Sequence[Row]], batch_size: int, seed: int, epoch: int, first_step: int = 0
) -> Iterator[list[Row]]:
    """The rows of each optimiser step of one epoch from `first_step` on, `batch_size` examples a
    step; the last step takes what is left. An example has one row or several, which stay together.
    Examples are read when their step comes."""
    order = epoch_order(len(examples), seed, epoch)
    for start in range(first_step * batch_size, len(order), batch_size):
        chosen = order[start : start + batch_size].tolist()
        yield [row for index in chosen for row in examples[index]]


def micro_batches(rows: Sequence[Row], max_tokens: int, prompt_weight: float = 0.0) -> list[Batch]:
    """`rows` in batches of at most `max_tokens` tokens, short rows first; a longer row is alone.

    Labels before the first one that bears loss get the weight `prompt_weight`. Tokens after a
    row's last label are left out, since no loss depends on them, and so is the whole of a row that
    bears no loss: the result may be empty.
    """
    measured = [[(_num_inputs(row), row)] for row in rows]
    with_loss = [alone for alone in measured if alone[0][0]]
    return [_batch(group, prompt_weight) for group in _groups(with_loss, max_tokens)]


def pair_batches(rows: Sequence[Row], max_tokens: int) -> list[Batch]:
    """Likewise for preferences, whose rows come in twos and stay together: rows 0 and 1 of a batch
    are the preferred answer and the other one, rows 2 and 3 the next pair's."""
    measured = [(_num_inputs(row), row) for row in rows]
    pairs = [list(pair) for pair in zip(measured[::2], measured[1::2], strict=True)]
    assert all(length for length, _ in measured), "an answer that bears no loss can't be compared"
    return [_batch(group, prompt_weight=0.0) for group in _groups(pairs, max_tokens)]


def _groups(units: list[list[tuple[int, Row]]], max_tokens: int) -> list[list[tuple[int, Row]]]:
    """Units, rows that stay together, in groups of at most `max_tokens`, short ones first."""
    sizes = [(sum(length for length, _ in unit), unit) for unit in units]
    sizes.sort(key=lambda pair: pair[0])
    groups: list[list[tuple[int, Row]]] = []
    room = 0
    for size, unit in sizes:
        if size > room:
            groups.append([])
            room = max_tokens
        groups[-1] += unit
        room -= size
    return groups


def _num_inputs(row: Row) -> int:
    """How many of the row's tokens are needed: those before the last one that bears loss."""
    last = len(row.loss_weights) - 1
    while last > 0 and row.loss_weights[last] == 0:
        last -= 1
    return max(last, 0)


def _batch(group: list[tuple[int, Row]], prompt_weight: float) -> Batch:
    weights = [np.asarray(row.loss_weights[: length + 1], np.float32) for length, row in group]
    is_learned = np.concatenate([of_row[1:] != 0 for of_row in weights])
    if prompt_weight:
        for of_row in weights:
            of_row[: np.flatnonzero(of_row)[0]] = prompt_weight
    return Batch(
        token_ids=_joined([row.token_ids[:length] for length, row in group], np.int64),
        positions=np.concatenate([np.arange(length, dtype=np.int64) for length, _ in group]),
        row_lengths=tuple(length for length, _ in group),
        labels=_joined([row.token_ids[1 : length + 1] for length, row in group], np.int64),
        weights=np.concatenate([of_row[1:] for of_row in weights]),
        is_learned=is_learned,
    )


def _joined(parts: list[list[int]], dtype: type[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.asarray(part, dtype=dtype) for part in parts])
