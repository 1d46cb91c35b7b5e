"""Real data and other formats, all the way through the service."""

import json
from pathlib import Path
from typing import Any

from openai import OpenAI

from tests.journey.test_tune_and_chat import upload, wait_for
from tunesmith.cli.service import Service

GSM8K = Path(__file__).parents[1] / "data" / "gsm8k-100.jsonl"


def test_real_data_trains_without_trouble(service: Service, client: OpenAI) -> None:
    """A hundred word problems, as people send them: no warning, every example once, and a loss
    that falls. Nothing of the rows stays behind."""
    with GSM8K.open("rb") as content:
        file_id = client.files.create(file=content, purpose="fine-tune").id
    told: Any = client.get(
        f"/files/{file_id}/report", options={"params": {"model": "gpt-4o-mini"}}, cast_to=object
    )
    assert told["is_usable"]
    assert (told["num_examples"], told["hyperparameters"]["n_epochs"]) == (100, 3)
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini",
        training_file=file_id,
        hyperparameters={"n_epochs": 1, "batch_size": 4},
        seed=3,
    )
    done = wait_for(client, job.id, "succeeded")
    assert done.trained_tokens == told["tokens"]["total"]
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    assert not [event.message for event in events if event.level != "info"]
    losses = [event.data["train_loss"] for event in events if event.type == "metrics"]  # type: ignore[index]
    assert len(losses) == 25
    assert sum(losses[:5]) < sum(losses[-5:]), "newest first"
    assert not (service.data_dir / "runs" / job.id).exists()


def test_prompts_and_completions_train(client: OpenAI) -> None:
    lines = [{"prompt": f"Colour of sky {n} ->", "completion": " blue\n"} for n in range(20)]
    job = client.fine_tuning.jobs.create(
        model="babbage-002",
        training_file=upload(client, lines),
        validation_file=upload(client, lines[:2]),
        hyperparameters={"n_epochs": 3},
        seed=3,
    )
    done = wait_for(client, job.id, "succeeded")
    assert done.fine_tuned_model
    events: list[Any] = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    losses = [event.data["train_loss"] for event in events if event.type == "metrics"]
    assert sum(losses[:20]) < sum(losses[-20:]) / 2, "newest first"
    warnings = [event.message for event in events if event.level == "warn"]
    assert len(warnings) == 1
    assert "2 example(s) of the validation file are in the training file as well" in warnings[0]


def test_a_report_says_what_the_job_will_say(service: Service, client: OpenAI) -> None:
    lines: list[Any] = [json.loads(line) for line in GSM8K.read_text(encoding="utf-8").splitlines()]
    lines[4] = {"messages": [{"role": "bot", "content": "x"}]}
    lines[9]["messages"][1]["weight"] = 7
    file_id = upload(client, lines)
    told: Any = client.get(
        f"/files/{file_id}/report", options={"params": {"model": "gpt-4o-mini"}}, cast_to=object
    )
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file_id)
    failed = wait_for(client, job.id, "failed")
    assert failed.error
    first, second = told["problems"]
    assert failed.error.message.endswith(first["text"])
    assert failed.error.code == first["code"]
    events = " ".join(event.message for event in client.fine_tuning.jobs.list_events(job.id))
    assert first["advice"] in events
    assert second["advice"] in events
    assert not (service.data_dir / "runs" / job.id).exists()
