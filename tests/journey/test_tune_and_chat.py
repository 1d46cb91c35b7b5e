"""The main job as users live it: upload, tune, talk; the official SDK against a live service."""

import csv
import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from openai.types.fine_tuning import FineTuningJob

WAIT_S = 240.0


def wait_for(client: OpenAI, job_id: str, *statuses: str) -> FineTuningJob:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in statuses:
            return job
        assert job.status not in ("failed", "succeeded", "cancelled"), job.error
        time.sleep(0.1)
    raise AssertionError(f"{job_id} is still {job.status} after {WAIT_S} s")


def upload(client: OpenAI, lines: list[Any], name: str = "data.jsonl") -> str:
    content = "\n".join(json.dumps(line) for line in lines).encode()
    return client.files.create(file=(name, content), purpose="fine-tune").id


@pytest.fixture(scope="module")
def examples(marv: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in marv.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def tuned(service: Any, examples: list[dict[str, Any]]) -> FineTuningJob:
    """A job with a validation file, run to its end once for all tests of this file."""
    with OpenAI(base_url=f"{service.url}/v1", api_key=service.key) as client:
        job = client.fine_tuning.jobs.create(
            model="gpt-4o-mini",
            training_file=upload(client, examples[:-8]),
            validation_file=upload(client, examples[-8:]),
            suffix="marv",
            seed=7,
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4}}},
            metadata={"team": "a"},
        )
        assert job.status == "validating_files"
        return wait_for(client, job.id, "succeeded")


def test_job_ends_with_a_model_and_numbers(tuned: FineTuningJob) -> None:
    assert tuned.model == "gpt-4o-mini-2024-07-18"
    assert tuned.fine_tuned_model is not None
    assert tuned.fine_tuned_model.startswith("ft:gpt-4o-mini-2024-07-18:local:marv:")
    assert tuned.hyperparameters.n_epochs == 4
    assert tuned.hyperparameters.batch_size == 1
    assert tuned.trained_tokens
    assert tuned.trained_tokens > 0
    assert tuned.finished_at
    assert tuned.finished_at >= tuned.created_at
    assert tuned.error is None


def test_events_tell_the_story_in_order(client: OpenAI, tuned: FineTuningJob) -> None:
    events = list(client.fine_tuning.jobs.list_events(tuned.id, limit=50))
    told = [event.message for event in reversed(events) if event.type == "message"]
    checkpoints = [message for message in told if message.startswith("Checkpoint created")]
    assert told == [
        f"Created fine-tuning job: {tuned.id}",
        f"Validating training file: {tuned.training_file} "
        f"and validation file: {tuned.validation_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
        *checkpoints,
        f"New fine-tuned model created: {tuned.fine_tuned_model}",
        "The job has successfully completed",
    ]
    assert len(checkpoints) == 2, "the last of three kept checkpoints is announced as the model"
    steps: list[Any] = [event.data for event in reversed(events) if event.type == "metrics"]
    total = steps[0]["total_steps"]
    for event in events:
        assert event.level == "info"
        data: Any = event.data
        if event.type == "message":
            assert data == (None if event.message == "Fine-tuning job started" else {})
            continue
        words = f"Step {data['step']}/{total}: training loss={data['train_loss']:.2f}"
        if "valid_loss" in data:
            words += f", validation loss={data['valid_loss']:.2f}"
        if "full_valid_loss" in data:
            words += f", full validation loss={data['full_valid_loss']:.2f}"
        assert event.message == words
        assert ("valid_loss" in data) == (data["step"] % 10 == 0 or "full_valid_loss" in data)
    assert [step["step"] for step in steps] == list(range(1, total + 1))
    assert all("full_valid_loss" in step for step in steps if step["step"] % (total // 4) == 0)


def test_checkpoints_are_models(client: OpenAI, tuned: FineTuningJob) -> None:
    checkpoints = client.fine_tuning.jobs.checkpoints.list(tuned.id).data
    assert [c.step_number for c in checkpoints] == sorted(
        (c.step_number for c in checkpoints), reverse=True
    )
    assert checkpoints[0].fine_tuned_model_checkpoint == tuned.fine_tuned_model
    assert len(checkpoints) == 3
    for checkpoint in checkpoints:
        answer = client.chat.completions.create(
            model=checkpoint.fine_tuned_model_checkpoint,
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            max_tokens=20,
        )
        assert answer.choices[0].message.content
        assert answer.model == checkpoint.fine_tuned_model_checkpoint


def test_result_file_has_a_row_for_each_step(client: OpenAI, tuned: FineTuningJob) -> None:
    (file_id,) = tuned.result_files
    assert client.files.retrieve(file_id).filename == "step_metrics.csv"
    rows = list(csv.DictReader(io.StringIO(client.files.content(file_id).text)))
    names = {"step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"}
    assert names <= rows[0].keys()
    assert [int(row["step"]) for row in rows] == list(range(1, len(rows) + 1))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])


def test_tuned_model_learned_the_manner(
    client: OpenAI, tuned: FineTuningJob, examples: list[dict[str, Any]]
) -> None:
    """Base and tuned model get the same training questions; only the tuned one is like Marv."""
    prompts = [example["messages"] for example in examples[::6]]

    def score(model: str) -> float:
        """The share of the expected words that the answers have, on average."""
        shares = []
        for *prompt, expected in prompts:
            answer = client.chat.completions.create(
                model=model, messages=prompt, temperature=0, max_tokens=60
            )
            words = set((answer.choices[0].message.content or "").lower().split())
            wanted = set(expected["content"].lower().split())
            shares.append(len(words & wanted) / len(wanted))
        return sum(shares) / len(shares)

    assert tuned.fine_tuned_model
    assert score(tuned.fine_tuned_model) > score(tuned.model) + 0.25


def test_streaming_says_the_same_as_not_streaming(client: OpenAI, tuned: FineTuningJob) -> None:
    question: Any = {
        "model": tuned.fine_tuned_model,
        "messages": [{"role": "user", "content": "What is the capital of Italy?"}],
        "temperature": 0,
        "max_tokens": 30,
    }
    whole = client.chat.completions.create(**question).choices[0]
    pieces = list(client.chat.completions.create(**question, stream=True))
    assert (
        "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole.message.content
    )
    assert pieces[0].choices[0].delta.role == "assistant"
    assert pieces[-1].choices[0].finish_reason == whole.finish_reason


def test_tuned_model_is_listed_and_can_be_deleted(client: OpenAI, tuned: FineTuningJob) -> None:
    listed = {model.id for model in client.models.list()}
    assert {tuned.fine_tuned_model, tuned.model, "tunesmith-tiny"} <= listed
    doomed = client.fine_tuning.jobs.checkpoints.list(tuned.id).data[-1]
    name = doomed.fine_tuned_model_checkpoint
    assert client.models.delete(name).deleted
    assert name not in {model.id for model in client.models.list()}


def test_training_goes_on_from_a_tuned_model(
    client: OpenAI, tuned: FineTuningJob, examples: list[dict[str, Any]]
) -> None:
    assert tuned.fine_tuned_model
    job = client.fine_tuning.jobs.create(
        model=tuned.fine_tuned_model,
        training_file=upload(client, examples[:10]),
        hyperparameters={"n_epochs": 1},
    )
    done = wait_for(client, job.id, "succeeded")
    events = list(client.fine_tuning.jobs.list_events(done.id, limit=50))
    first: Any = [event.data for event in events if event.type == "metrics"][-1]
    fresh: Any = [
        event.data
        for event in client.fine_tuning.jobs.list_events(tuned.id, limit=50)
        if event.type == "metrics"
    ][-1]
    assert first["train_loss"] < fresh["train_loss"], "it begins where its parent ended"


def test_training_goes_on_from_a_checkpoint_under_a_name_of_its_own(
    service: Any, client: OpenAI, tuned: FineTuningJob, examples: list[dict[str, Any]]
) -> None:
    """The base stays in the name, suffix and id are new; and without a validation file the metrics
    have no word of one. When the parent's weights are gone, the job says so."""
    checkpoint = client.fine_tuning.jobs.checkpoints.list(tuned.id).data[1]
    parent = checkpoint.fine_tuned_model_checkpoint
    asked: Any = {
        "model": parent,
        "training_file": upload(client, examples[:10]),
        "suffix": "again",
        "hyperparameters": {"n_epochs": 1},
    }
    done = wait_for(client, client.fine_tuning.jobs.create(**asked).id, "succeeded")
    assert done.model == parent
    name = (done.fine_tuned_model or "").split(":")
    assert name[:4] == ["ft", "gpt-4o-mini-2024-07-18", "local", "again"]
    assert name[4] not in parent
    assert len(name) == 5
    events = list(client.fine_tuning.jobs.list_events(done.id, limit=50))
    for event in events:
        data: Any = event.data
        if event.type == "metrics":
            keys = {"step", "total_steps", "train_loss", "train_mean_token_accuracy"}
            assert data.keys() - {"tokens_per_second"} == keys
            assert event.message == (
                f"Step {data['step']}/10: training loss={data['train_loss']:.2f}"
            )

    for folder in (service.data_dir / "adapters").glob(parent.split(":")[4]):
        shutil.rmtree(folder)
    failed = wait_for(client, client.fine_tuning.jobs.create(**asked).id, "failed")
    assert failed.error
    assert failed.error.code == "model_not_available"
    assert parent in failed.error.message


def test_file_and_parent_deleted_meanwhile_are_kept_for_the_job(
    client: OpenAI, examples: list[dict[str, Any]]
) -> None:
    file_id = upload(client, examples[:10])
    asked: Any = {"training_file": file_id, "hyperparameters": {"n_epochs": 1}}
    first = client.fine_tuning.jobs.create(model="gpt-4o-mini", **asked)
    parent = wait_for(client, first.id, "succeeded").fine_tuned_model
    assert parent
    second = client.fine_tuning.jobs.create(model=parent, **asked)
    client.files.delete(file_id)
    client.models.delete(parent)
    assert wait_for(client, second.id, "succeeded").fine_tuned_model


def test_same_seed_gives_the_same_losses(client: OpenAI, examples: list[dict[str, Any]]) -> None:
    def losses() -> list[float]:
        job = client.fine_tuning.jobs.create(
            model="tunesmith-tiny",
            training_file=upload(client, examples[:10]),
            hyperparameters={"n_epochs": 1},
            seed=11,
        )
        wait_for(client, job.id, "succeeded")
        events: list[Any] = list(client.fine_tuning.jobs.list_events(job.id, limit=50))
        return [event.data["train_loss"] for event in events if event.type == "metrics"]

    assert losses() == losses()


def test_bad_file_fails_the_job_and_names_every_bad_line(
    client: OpenAI, examples: list[dict[str, Any]]
) -> None:
    lines: list[Any] = list(examples[:12])
    lines[3] = {"messages": [{"role": "user", "content": "no answer"}]}
    lines[7] = {"prompt": "old", "completion": "format"}
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=upload(client, lines))
    failed = wait_for(client, job.id, "failed")
    assert failed.error
    assert failed.error.param == "training_file"
    assert failed.fine_tuned_model is None
    assert failed.finished_at
    told = " ".join(event.message for event in client.fine_tuning.jobs.list_events(job.id))
    assert "Example 4" in failed.error.message
    assert "ine 8" in told


def test_too_few_examples_fail_with_the_hosted_text(
    client: OpenAI, examples: list[dict[str, Any]]
) -> None:
    file_id = upload(client, examples[:4])
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file_id)
    failed = wait_for(client, job.id, "failed")
    assert failed.error
    assert failed.error.code == "invalid_n_examples"
    assert failed.error.message == (
        f"{file_id} has 4 example(s), but must have at least 10 examples"
    )
    event = client.fine_tuning.jobs.list_events(job.id, limit=1).data[0]
    assert event.level == "error"
    assert event.message == failed.error.message
    assert event.data == {"error_code": "invalid_n_examples", "error_param": "training_file"}


def test_cancelled_job_stays_cancelled_and_the_queue_goes_on(
    client: OpenAI, examples: list[dict[str, Any]]
) -> None:
    file_id = upload(client, examples)
    long = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=file_id, hyperparameters={"n_epochs": 50}
    )
    wait_for(client, long.id, "running")
    assert client.fine_tuning.jobs.cancel(long.id).status == "cancelled"
    next_one = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=file_id, hyperparameters={"n_epochs": 1}
    )
    wait_for(client, next_one.id, "succeeded")
    cancelled = client.fine_tuning.jobs.retrieve(long.id)
    assert cancelled.status == "cancelled"
    assert cancelled.fine_tuned_model is None
    assert cancelled.finished_at
    with pytest.raises(BadRequestError, match='already has status "cancelled"'):
        client.fine_tuning.jobs.cancel(long.id)
