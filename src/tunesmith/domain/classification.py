"""Classifiers of the first era: a model whose completion is one of a few classes.

Classes are told apart by the first token of their completions, or rather by the first in which
not all agree: many tokenizers begin both " 0" and " 1" with a token for the blank. Source:
behaviour reference, sections 8.2, 20.2 and 24.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

NUM_CLASSES = range(2, 1001)

ACCURACY = "classification/accuracy"
PRECISION = "classification/precision"
RECALL = "classification/recall"
AUROC = "classification/auroc"
AUPRC = "classification/auprc"
WEIGHTED_F1 = "classification/weighted_f1_score"


@dataclass(frozen=True)
class Classification:
    """What a client asks to be told about a classifier, at each epoch's end. At least one of
    number and positive class is there."""

    num_classes: int | None = None
    positive_class: str | None = None  # of two; None: all classes are alike
    betas: tuple[float, ...] = ()  # of F-beta scores; with a positive class only

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**{**value, "betas": tuple(value["betas"])})

    @property
    def expected_classes(self) -> int:
        """A positive class alone is one of two."""
        return 2 if self.num_classes is None else self.num_classes


@dataclass(frozen=True)
class ClassTokens:
    """The same, once the files are known: the token that tells each class from all others."""

    token_ids: tuple[int, ...]
    positive: int | None  # place of the positive class in `token_ids`
    betas: tuple[float, ...]
    num_shared: int = 0  # tokens before these, with which the completions of all classes begin

    @property
    def is_binary(self) -> bool:
        """Whether it is a question of yes or no, with a threshold."""
        return self.positive is not None and len(self.token_ids) == 2

    def metrics(self) -> tuple[str, ...]:
        """The names of its metrics, in the order of the result file's columns."""
        if not self.is_binary:
            return ACCURACY, WEIGHTED_F1
        return ACCURACY, PRECISION, RECALL, AUROC, AUPRC, *map(f_score, self.betas)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        lists = {name: tuple(value[name]) for name in ("token_ids", "betas")}
        return cls(**{**value, **lists})


def f_score(beta: float) -> str:
    """The name of the F-beta score: `classification/f1.0` is precision's and recall's mean."""
    return f"classification/f{beta}"
