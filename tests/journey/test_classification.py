"""Classifiers of the first era: two and three classes, tuned through /v1/fine-tunes, and judged
once more from outside (behaviour reference, sections 8.2, 16 and 20.2).

The result file's numbers come from the trainer's own logits. Here the same are worked out from the
log-probabilities that /v1/completions tells, with definitions of our own (`scoring.py`). The two
sides differ by rounding in float32, some 1e-5 of a log-probability, and the file has five decimals.
"""

import csv
import io
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import OpenAI
from tokenizers import Tokenizer

from tests.conftest import EXAMPLES, checked_client
from tests.journey import scoring
from tunesmith.cli.service import Service

TINY = Path(__file__).parents[2] / "src/tunesmith/base_models/tunesmith-tiny"
WAIT_S = 500.0
BETAS = [0.5, 1, 2]
# Counts of examples: the same on both sides, unless a probability lies within rounding of the
# threshold or of another class. The numbers of the file are rounded to this.
EXACT = 1.1e-5
# Ranks: a pair of examples with nearly the same score may change places, and one of about 2,000
# pairs moves the area by 5e-4. So up to two of them may.
RANKS = 1e-3
HYPERPARAMETERS = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 0.2}

Row = dict[str, str]


@dataclass(frozen=True)
class Problem:
    name: str
    classes: tuple[str, ...]
    chance: float
    parameters: dict[str, Any]

    def examples(self, part: str) -> list[dict[str, str]]:
        lines = self.path(part).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def path(self, part: str) -> Path:
        return EXAMPLES / f"{self.name}_{part}.jsonl"


REVIEWS = Problem(
    "reviews",
    (" positive", " negative"),
    chance=1 / 2,
    parameters={"classification_positive_class": " positive", "classification_betas": BETAS},
)
MESSAGES = Problem(
    "messages",
    (" sports", " food", " technology"),
    chance=1 / 3,
    parameters={"classification_n_classes": 3},
)


@dataclass(frozen=True)
class Tuned:
    """A fine-tune that has succeeded, and its result file."""

    problem: Problem
    ft: dict[str, Any]
    rows: list[Row]

    @property
    def job_id(self) -> str:
        return "ftjob-" + str(self.ft["id"]).removeprefix("ft-")


@pytest.fixture(scope="module", params=[REVIEWS, MESSAGES], ids=lambda problem: problem.name)
def tuned(request: pytest.FixtureRequest, service: Service) -> Tuned:
    problem = request.param
    with checked_client(service) as client:
        training, validation = (upload(client, problem.path(part)) for part in ("train", "valid"))
        ft = finished(
            client,
            training_file=training,
            validation_file=validation,
            compute_classification_metrics=True,
            **HYPERPARAMETERS,
            **problem.parameters,
        )
        return Tuned(problem, ft, result_rows(client, ft))


def upload(client: OpenAI, path: Path) -> str:
    return client.files.create(file=path, purpose="fine-tune").id


def finished(client: OpenAI, **fields: Any) -> dict[str, Any]:
    """A fine-tune of the first era, brought to its end."""
    ft: Any = client.post("/fine-tunes", body=fields, cast_to=object)
    deadline = time.monotonic() + WAIT_S
    while ft["status"] in ("pending", "running"):
        assert time.monotonic() < deadline, f"{ft['id']} is still {ft['status']}"
        time.sleep(0.2)
        ft = client.get(f"/fine-tunes/{ft['id']}", cast_to=object)
    assert ft["status"] == "succeeded", ft["events"]
    return dict(ft)


def result_rows(client: OpenAI, ft: dict[str, Any]) -> list[Row]:
    (file,) = ft["result_files"]
    assert file["filename"] == "compiled_results.csv"
    return list(csv.DictReader(io.StringIO(client.files.content(file["id"]).text)))


def at_epoch_ends(tuned: Tuned) -> list[Row]:
    return [row for row in tuned.rows if row["classification/accuracy"]]


def probabilities(client: OpenAI, model: str, problem: Problem) -> scoring.Probabilities:
    prompts = [example["prompt"] for example in problem.examples("valid")]
    return scoring.probabilities(client, model, prompts, problem.classes)


def truth_of(problem: Problem) -> Any:
    labels = [example["completion"] for example in problem.examples("valid")]
    return np.array([problem.classes.index(label) for label in labels])


def measured(client: OpenAI, model: str, problem: Problem) -> tuple[Row, Row]:
    """The metrics by their columns' names: those that count, and those that rank."""
    truth = truth_of(problem)
    chances = probabilities(client, model, problem)
    if len(problem.classes) > 2:
        said = chances.argmax(axis=1)
        counted = {
            "accuracy": scoring.accuracy(truth, said),
            "weighted_f1_score": scoring.weighted_f1(truth, said),
        }
        return named(counted), {}
    positive, score = truth == 0, chances[:, 0]
    called = score >= 0.5
    counted = {
        "accuracy": scoring.accuracy(positive, called),
        "precision": scoring.precision(positive, called),
        "recall": scoring.recall(positive, called),
        **{f"f{float(beta)}": scoring.f_beta(positive, called, beta) for beta in BETAS},
    }
    ranked = {
        "auroc": scoring.auroc(positive, score),
        "auprc": scoring.average_precision(positive, score),
    }
    return named(counted), named(ranked)


def named(metrics: dict[str, float]) -> Any:
    return {f"classification/{name}": value for name, value in metrics.items()}


def assert_told(row: Any, client: OpenAI, model: str, problem: Problem) -> None:
    counted, ranked = measured(client, model, problem)
    names = {name for name in row if name.startswith("classification/")}
    assert names == counted.keys() | ranked.keys()
    for expected, tolerance in ((counted, EXACT), (ranked, RANKS)):
        told = {name: float(row[name]) for name in expected}
        assert told == pytest.approx(expected, abs=tolerance)


def test_training_makes_a_classifier_of_a_model_that_guessed(client: OpenAI, tuned: Tuned) -> None:
    """On texts that training never showed, in words of their own."""
    problem, truth = tuned.problem, truth_of(tuned.problem)
    trained_on = {example["prompt"] for example in problem.examples("train")}
    assert not trained_on & {example["prompt"] for example in problem.examples("valid")}
    untuned, after = (
        scoring.accuracy(truth, probabilities(client, model, problem).argmax(axis=1))
        for model in ("curie", tuned.ft["fine_tuned_model"])
    )
    assert untuned == pytest.approx(problem.chance, abs=0.15)
    assert after >= 0.9


def test_the_last_row_is_what_the_model_s_own_log_probabilities_say(
    client: OpenAI, tuned: Tuned
) -> None:
    last = tuned.rows[-1]
    assert_told(last, client, tuned.ft["fine_tuned_model"], tuned.problem)


def test_each_epoch_s_row_is_what_its_checkpoint_says(client: OpenAI, tuned: Tuned) -> None:
    rows = {int(row["step"]): row for row in at_epoch_ends(tuned)}
    assert len(rows) == tuned.ft["hyperparams"]["n_epochs"]
    checkpoints = client.fine_tuning.jobs.checkpoints.list(tuned.job_id).data
    assert len(checkpoints) == 3
    assert checkpoints[0].fine_tuned_model_checkpoint == tuned.ft["fine_tuned_model"]
    for checkpoint in checkpoints[1:]:
        row = rows[checkpoint.step_number]
        assert_told(row, client, checkpoint.fine_tuned_model_checkpoint, tuned.problem)


def test_events_and_result_file_tell_the_same_numbers(client: OpenAI, tuned: Tuned) -> None:
    events = client.fine_tuning.jobs.list_events(tuned.job_id, limit=100)
    steps: dict[int, Any] = {}
    for event in events:
        data: Any = event.data
        if event.type == "metrics":
            steps[data["step"]] = data
    assert sorted(steps) == [int(row["step"]) for row in tuned.rows]
    for row in tuned.rows:
        cells = {name: value for name, value in row.items() if name.startswith("classification/")}
        told = {name: float(value) for name, value in cells.items() if value}
        data = steps[int(row["step"])]
        assert told == pytest.approx({name: data[name] for name in cells if name in data}, abs=1e-5)
        assert float(row["training_loss"]) == pytest.approx(data["train_loss"], abs=1e-5)


# The weight of prompts


SMALL = [
    ("Is rain wet?\n\n###\n\n", " yes"),
    ("Is the sun cold and small and made of cheese?\n\n###\n\n", " no"),
    ("Do dogs bark?\n\n###\n\n", " yes, loudly"),
    ("->", " no"),
]


@pytest.mark.parametrize("weight", [0, 0.01, 1])
def test_the_first_loss_is_the_untuned_model_s_with_prompts_weighed(
    client: OpenAI, weight: float
) -> None:
    """All examples are in the first step, and before it nothing was learned. The weights' sum
    divides: a prompt counts by its tokens, but for the first, which nothing predicts."""
    lines = [json.dumps({"prompt": prompt, "completion": answer}) for prompt, answer in SMALL]
    file = client.files.create(file=("small.jsonl", "\n".join(lines)), purpose="fine-tune")
    hyperparameters = {"n_epochs": 1, "batch_size": len(SMALL), "prompt_loss_weight": weight}
    ft = finished(client, training_file=file.id, **hyperparameters)
    (row,) = result_rows(client, ft)

    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    end = tokenizer.token_to_id("<|endoftext|>")
    prompts, answers = (
        [tokenizer.encode(text, add_special_tokens=False).ids for text in column]
        for column in zip(*SMALL, strict=True)
    )
    completion = client.completions.create(
        model="curie",
        prompt=[[*prompt, *answer, end] for prompt, answer in zip(prompts, answers, strict=True)],
        max_tokens=0,
        echo=True,
        logprobs=0,
    )
    loss = total = 0.0
    for prompt, choice in zip(prompts, completion.choices, strict=True):
        told: Any = choice.logprobs
        assert told.token_logprobs[0] is None
        for place, logprob in enumerate(told.token_logprobs[1:], start=1):
            share = weight if place < len(prompt) else 1.0
            loss -= share * logprob
            total += share
    assert float(row["training_loss"]) == pytest.approx(loss / total, abs=2e-4)
