"""A classifier judged from outside, as programs of the first era did it: one token is asked for
with its likeliest alternatives, and the classes are read off them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openai import OpenAI
from openai.types import Completion, CompletionChoice

Probabilities = NDArray[np.float64]  # [N, K], of N examples and K classes; a row adds up to 1

PROMPTS_PER_REQUEST = 64


def probabilities(
    client: OpenAI, model: str, prompts: Sequence[str], classes: Sequence[str]
) -> Probabilities:
    """What `model` makes of each prompt, if it must be one of the classes."""
    first_tokens = [choice.tokens[choice.place] for choice in _echoes(client, model, "", classes)]
    logprobs = []
    for prompt, choice in zip(prompts, _answers(client, model, prompts), strict=True):
        assert choice.logprobs is not None
        assert choice.logprobs.top_logprobs is not None
        top = choice.logprobs.top_logprobs[0]  # there is one, even if the model says nothing
        if not top.keys() >= {*first_tokens}:
            echoes = _echoes(client, model, prompt, classes)
            asked = {echo.tokens[echo.place]: echo.logprobs[echo.place] for echo in echoes}
            for token in top.keys() & asked.keys():
                assert math.isclose(top[token], asked[token], abs_tol=1e-3)
            top = asked
        logprobs.append([top[token] for token in first_tokens])
    chances = np.exp(np.array(logprobs))
    return chances / chances.sum(axis=1, keepdims=True)


class _Echo:
    """A prompt with a class behind it, and where that begins."""

    def __init__(self, choice: CompletionChoice, prompt: str) -> None:
        told: Any = choice.logprobs
        self.tokens: list[str] = told.tokens
        self.logprobs: list[float] = told.token_logprobs
        self.place = told.text_offset.index(len(prompt))


def _answers(client: OpenAI, model: str, prompts: Sequence[str]) -> list[CompletionChoice]:
    options: Any = {"max_tokens": 1, "temperature": 0, "logprobs": 5}
    return [
        choice
        for start in range(0, len(prompts), PROMPTS_PER_REQUEST)
        for choice in client.completions.create(
            model=model, prompt=[*prompts[start : start + PROMPTS_PER_REQUEST]], **options
        ).choices
    ]


def _echoes(client: OpenAI, model: str, prompt: str, classes: Sequence[str]) -> list[_Echo]:
    completion: Completion = client.completions.create(
        model=model,
        prompt=[prompt + name for name in classes],
        max_tokens=0,
        echo=True,
        logprobs=0,
    )
    return [_Echo(choice, prompt) for choice in completion.choices]


# The metrics, worked out from their definitions and not by the library that the service uses.


def accuracy(truth: NDArray[Any], said: NDArray[Any]) -> float:
    return float((truth == said).mean())


def precision(truth: NDArray[Any], said: NDArray[Any]) -> float:
    return float((truth & said).sum() / said.sum())


def recall(truth: NDArray[Any], said: NDArray[Any]) -> float:
    return float((truth & said).sum() / truth.sum())


def f_beta(truth: NDArray[Any], said: NDArray[Any], beta: float) -> float:
    hits, missed, wrong = (
        (one & other).sum() for one, other in ((truth, said), (truth, ~said), (~truth, said))
    )
    return float((1 + beta**2) * hits / ((1 + beta**2) * hits + beta**2 * missed + wrong))


def weighted_f1(truth: NDArray[Any], said: NDArray[Any]) -> float:
    """The classes' F1, each as often as its class is there."""
    names, counts = np.unique(truth, return_counts=True)
    scores = [f_beta(truth == name, said == name, beta=1) for name in names]
    return float(np.average(scores, weights=counts))


def auroc(truth: NDArray[Any], score: NDArray[Any]) -> float:
    """How often a positive example is ranked before a negative one; a tie is half of that."""
    differences = score[truth][:, None] - score[~truth][None, :]
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))


def average_precision(truth: NDArray[Any], score: NDArray[Any]) -> float:
    """The precision at each positive example, the likeliest first, on average."""
    ranked = truth[np.argsort(-score, kind="stable")]
    precisions = ranked.cumsum() / np.arange(1, len(ranked) + 1)
    return float(precisions[ranked].mean())
