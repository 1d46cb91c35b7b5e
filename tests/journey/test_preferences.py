"""Direct preference optimisation through the service: Marv's answers preferred to plain ones."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.journey.test_tune_and_chat import upload, wait_for
from tunesmith.catalog import PACKAGED
from tunesmith.datasets.preference_line import parse_preference
from tunesmith.datasets.render import Renderer, Row

PREFERENCES = Path(__file__).parents[2] / "examples" / "marv_preferences.jsonl"
NUM_TRAINED = 36
BETA = 0.2


@pytest.fixture(scope="module")
def pairs() -> list[Any]:
    return [json.loads(line) for line in PREFERENCES.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def done(client: OpenAI, pairs: list[Any]) -> FineTuningJob:
    """Trained on most of them, validated on the rest."""
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini",
        training_file=upload(client, pairs[:NUM_TRAINED]),
        validation_file=upload(client, pairs[NUM_TRAINED:]),
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": BETA, "n_epochs": 2}}},
        seed=3,
    )
    assert job.method
    assert job.method.type == "dpo"
    assert job.method.dpo
    assert job.method.dpo.hyperparameters
    assert job.method.dpo.hyperparameters.beta == BETA
    return wait_for(client, job.id, "succeeded")


def test_preferred_answers_become_likelier_on_pairs_that_were_not_trained_on(
    client: OpenAI, pairs: list[Any], done: FineTuningJob
) -> None:
    """The figures of the last step, worked out again from the likelihoods that base and tuned
    model give the answers through the API."""
    assert done.fine_tuned_model
    margins = margins_of(client, "gpt-4o-mini", done.fine_tuned_model, pairs[NUM_TRAINED:])
    assert min(margins) > 0

    last = metrics(client, done.id)[-1]
    assert last["full_valid_reward_margin"] == pytest.approx(sum(margins) / len(margins), rel=1e-3)
    assert last["full_valid_preference_accuracy"] == 1.0
    loss = sum(math.log1p(math.exp(-margin)) for margin in margins) / len(margins)
    assert last["full_valid_loss"] == pytest.approx(loss, rel=1e-3)

    assert done.result_files
    table = csv.DictReader(io.StringIO(client.files.content(done.result_files[0]).text))
    rows = list(table)
    assert float(rows[0]["train_loss"]) == pytest.approx(math.log(2), abs=1e-5)
    assert float(rows[0]["train_reward_margin"]) == 0.0
    assert float(rows[-1]["full_valid_preference_accuracy"]) == 1.0
    assert len(rows) == 2 * NUM_TRAINED


def metrics(client: OpenAI, job_id: str) -> list[Any]:
    events = list(client.fine_tuning.jobs.list_events(job_id, limit=100))
    return [event.data for event in reversed(events) if event.type == "metrics"]


def margins_of(client: OpenAI, base: str, tuned: str, pairs: list[Any]) -> list[float]:
    renderer = Renderer.load(PACKAGED / "tunesmith-tiny")
    rows = [row for pair in pairs for row in renderer.rows(parse_preference(pair), 2048)]
    before, after = (log_likelihoods(client, model, rows) for model in (base, tuned))
    rewards = [BETA * (now - then) for now, then in zip(after, before, strict=True)]
    return [good - other for good, other in zip(rewards[::2], rewards[1::2], strict=True)]


def log_likelihoods(client: OpenAI, model: str, rows: list[Row]) -> list[float]:
    """Of the answers."""
    reply = client.completions.create(
        model=model,
        prompt=[row.token_ids for row in rows],
        max_tokens=0,
        echo=True,
        logprobs=0,
    )
    found = []
    for row, choice in zip(rows, reply.choices, strict=True):
        assert choice.logprobs
        assert choice.logprobs.token_logprobs
        told = choice.logprobs.token_logprobs
        found.append(
            sum(value for value, w in zip(told, row.loss_weights, strict=True) if w and value)
        )
    return found


def test_a_file_of_conversations_is_refused(client: OpenAI, marv: Path) -> None:
    with marv.open("rb") as content:
        file_id = client.files.create(file=content, purpose="fine-tune").id
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=file_id, method={"type": "dpo"}
    )
    failed = wait_for(client, job.id, "failed")
    assert failed.error
    assert failed.error.message == (
        "The job failed due to an invalid training file. Invalid file format. Example 1 is "
        'missing key "input".'
    )
    assert (failed.error.code, failed.error.param) == ("invalid_training_file", "training_file")


def test_a_report_knows_preferences(client: OpenAI, pairs: list[Any]) -> None:
    """What their training would take: both answers of each are read."""
    told: Any = client.get(
        f"/files/{upload(client, pairs)}/report",
        options={"params": {"model": "gpt-4o-mini"}},
        cast_to=object,
    )
    assert told["is_usable"]
    assert told["format"] == "preferences"
    renderer = Renderer.load(PACKAGED / "tunesmith-tiny")
    rows = [row for pair in pairs for row in renderer.rows(parse_preference(pair), 2048)]
    assert told["tokens"]["total"] == sum(len(row.token_ids) for row in rows)
