"""Classifiers of the first era: a model whose completion is one of a few classes.

Classes are told apart by the first token of their completions. Source: behaviour reference,
sections 8.2, 20.2 and 24.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


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


@dataclass(frozen=True)
class ClassTokens:
    """The same, once the files are known: the first token of each class's completions."""

    token_ids: tuple[int, ...]
    positive: int | None  # place of the positive class in `token_ids`
    betas: tuple[float, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(tuple(value["token_ids"]), value["positive"], tuple(value["betas"]))
