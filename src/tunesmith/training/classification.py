"""How well a model classifies: the metrics of the first era, on a whole validation file.

What an example is taken for is decided by one token, mostly the first of its completion: the
probabilities of the classes are the softmax over the logits of the tokens that tell them apart,
where the prompt ends (and what all classes begin with, if they do). So little more than prompts
is computed, and of the vocabulary only the classes. Per example two numbers stay. The metrics are
scikit-learn's, which takes a second to import and comes only when needed.
Source: behaviour reference, sections 8.2, 20.2 and 24.2.

Letters: T tokens of all rows, N examples, C channels.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tunesmith.datasets.batch import Batch, micro_batches
from tunesmith.datasets.render import Row
from tunesmith.domain.classification import (
    ACCURACY,
    AUPRC,
    AUROC,
    PRECISION,
    RECALL,
    WEIGHTED_F1,
    ClassTokens,
    f_score,
)
from tunesmith.modeling.attention import RowAttention
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter

THRESHOLD = 0.5


def measure(
    classes: ClassTokens,
    chunks: Iterable[Sequence[Sequence[Row]]],
    max_tokens: int,
    base: Decoder,
    adapter: LoraAdapter,
) -> dict[str, float]:
    """The metrics by name, without those that these examples leave undefined. Each example is one
    row, and its completion one of the classes."""
    truths, answers = [], []
    for chunk in chunks:
        prompts = [_asking(row, classes) for [row] in chunk]
        for batch in micro_batches(prompts, max_tokens):
            truth, answer = _judged(classes, batch, base, adapter)
            truths.append(truth)
            answers.append(answer)
    truth, answer = np.concatenate(truths), np.concatenate(answers)
    return dict(
        _binary(classes, truth, answer) if classes.is_binary else _multiclass(truth, answer)
    )


def _asking(row: Row, classes: ClassTokens) -> Row:
    """Up to the token that tells the class, and for this one alone."""
    start = next(place for place, weight in enumerate(row.loss_weights) if weight)
    length = start + classes.num_shared
    return Row(row.token_ids[: length + 1], [0.0] * length + [1.0])


@torch.no_grad()
def _judged(
    classes: ClassTokens, batch: Batch, base: Decoder, adapter: LoraAdapter
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Of each example its class, and what the model says: with a positive class its probability
    [N], else the most likely class [N]."""
    asked_N = np.flatnonzero(batch.is_learned)
    places = {token_id: place for place, token_id in enumerate(classes.token_ids)}
    truth_N = np.array([places[label] for label in batch.labels[asked_N].tolist()])
    hidden_TC = base(
        torch.from_numpy(batch.token_ids).to(base.device),
        torch.from_numpy(batch.positions).to(base.device),
        RowAttention(batch.row_lengths),
        adapter,
    )
    hidden_NC = hidden_TC.index_select(0, torch.from_numpy(asked_N).to(base.device))
    class_ids = torch.tensor(classes.token_ids, device=base.device)
    probabilities = base.logits(hidden_NC, class_ids).float().softmax(dim=-1)  # [N, classes]
    if classes.is_binary:
        return truth_N, probabilities[:, classes.positive].cpu().numpy()
    return truth_N, probabilities.argmax(dim=-1).cpu().numpy()


def _binary(
    classes: ClassTokens, truth: NDArray[np.int64], probability: NDArray[np.float32]
) -> Iterator[tuple[str, float]]:
    from sklearn import metrics

    is_positive, is_called = truth == classes.positive, probability >= THRESHOLD
    yield ACCURACY, float(metrics.accuracy_score(is_positive, is_called))
    yield PRECISION, float(metrics.precision_score(is_positive, is_called, zero_division=0))
    yield RECALL, float(metrics.recall_score(is_positive, is_called, zero_division=0))
    if is_positive.any():
        if not is_positive.all():
            yield AUROC, float(metrics.roc_auc_score(is_positive, probability))
        yield AUPRC, float(metrics.average_precision_score(is_positive, probability))
    for beta in classes.betas:
        score = metrics.fbeta_score(is_positive, is_called, beta=beta, zero_division=0)
        yield f_score(beta), float(score)


def _multiclass(truth: NDArray[np.int64], answer: NDArray[np.int64]) -> Iterator[tuple[str, float]]:
    from sklearn import metrics

    yield ACCURACY, float(metrics.accuracy_score(truth, answer))
    score = metrics.f1_score(truth, answer, average="weighted", zero_division=0)
    yield WEIGHTED_F1, float(score)
