"""The first era's API as its programs used it: create, follow, ask. No SDK of today knows it."""

import csv
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.contract.checker import CheckedTransport
from tunesmith.cli.service import Service

WAIT_S = 240.0  # without a word: the stream has a comment every 15 s
LINES = [
    {"prompt": f"{thing} ->", "completion": answer}
    for answer, things in {
        " yes": ("bread", "an apple", "cheese", "a pear", "rice", "honey"),
        " no": ("a stone", "a chair", "iron", "a shoe", "glass", "sand"),
    }.items()
    for thing in things
]


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        transport=CheckedTransport(),
        base_url=f"{service.url}/v1",
        headers={"authorization": f"Bearer {service.key}"},
        timeout=WAIT_S,
    ) as client:
        yield client


UNSEEN = [
    {"prompt": f"{thing} ->", "completion": answer}
    for thing, answer in (("a roll", " yes"), ("a plum", " yes"), ("a bed", " no"), ("gold", " no"))
]


def upload(http: httpx2.Client, lines: list[dict[str, str]] = LINES) -> str:
    content = "\n".join(json.dumps(line) for line in lines)
    form: Any = {"data": {"purpose": "fine-tune"}, "files": {"file": ("data.jsonl", content)}}
    return str(http.post("/files", **form).json()["id"])


def test_create_follow_and_ask(http: httpx2.Client) -> None:
    file_id = upload(http)
    created = http.post(
        "/fine-tunes", json={"training_file": file_id, "suffix": "edible", "n_epochs": 5}
    )
    assert created.status_code == 200, created.text
    id = created.json()["id"]
    with http.stream("GET", f"/fine-tunes/{id}/events?stream=true") as answer:
        assert answer.status_code == 200
        told = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    assert told.pop() == "[DONE]"
    events = [json.loads(event) for event in told]

    ft = http.get(f"/fine-tunes/{id}").json()
    assert ft["status"] == "succeeded"
    model = ft["fine_tuned_model"]
    assert re.fullmatch(r"curie:ft-local:edible-\d{4}(-\d\d){5}", model)
    (result,) = ft["result_files"]
    waits, told_messages = [], []
    for event in events:
        is_place = event["message"].startswith("Fine-tune is in the queue. Queue number: ")
        (waits if is_place else told_messages).append(event["message"])
    assert told_messages == [
        f"Created fine-tune: {id}",
        "Fine-tune costs $0.00",
        told_messages[2],
        "Fine-tune started",
        *(f"Completed epoch {epoch}/5" for epoch in range(1, 6)),
        f"Uploaded model: {model}",
        f"Uploaded result file: {result['id']}",
        "Fine-tune succeeded",
    ]
    # Other tests' jobs may be before it.
    enqueued = re.fullmatch(r"Fine-tune enqueued\. Queue number: (\d+)", told_messages[2])
    assert enqueued
    numbers = [int(wait.rpartition(" ")[2]) for wait in waits]
    assert numbers == sorted(set(numbers), reverse=True)
    assert all(number < int(enqueued[1]) for number in numbers)
    assert events == ft["events"] == http.get(f"/fine-tunes/{id}/events").json()["data"]
    assert {event["level"] for event in events} == {"info"}

    assert ft["hyperparams"] == {
        "n_epochs": 5,
        "batch_size": 1,
        "prompt_loss_weight": 0.01,
        "learning_rate_multiplier": 0.1,
    }
    assert http.get(f"/files/{result['id']}/content").text.startswith("step,")
    for name in (model, *(c["fine_tuned_model_checkpoint"] for c in checkpoints(http, id))):
        asked = {"model": name, "prompt": "bread ->", "max_tokens": 1, "temperature": 0}
        answered = http.post("/completions", json={**asked, "logprobs": 2})
        assert answered.status_code == 200, answered.text
        (choice,) = answered.json()["choices"]
        assert len(choice["logprobs"]["top_logprobs"]) == 1
        assert len(choice["logprobs"]["top_logprobs"][0]) == 2
    assert http.delete(f"/fine-tunes/{id}").json()["deleted"]


def checkpoints(http: httpx2.Client, id: str) -> Any:
    return http.get(f"/fine_tuning/jobs/{id}/checkpoints").json()["data"]


def followed(http: httpx2.Client, **asked: Any) -> dict[str, Any]:
    """A fine-tune that has ended."""
    created = http.post("/fine-tunes", json=asked)
    assert created.status_code == 200, created.text
    id = created.json()["id"]
    with http.stream("GET", f"/fine-tunes/{id}/events?stream=true") as answer:
        for _ in answer.iter_lines():
            pass
    ended: dict[str, Any] = http.get(f"/fine-tunes/{id}").json()
    return ended


def test_a_classifier_is_measured_after_each_epoch(http: httpx2.Client) -> None:
    ft = followed(
        http,
        training_file=upload(http),
        validation_file=upload(http, UNSEEN),
        n_epochs=2,
        batch_size=5,
        compute_classification_metrics=True,
        classification_positive_class=" yes",
        classification_betas=[0.5],
    )
    assert ft["status"] == "succeeded", ft["events"][-1]
    (result,) = ft["result_files"]
    assert result["filename"] == "compiled_results.csv"
    rows = list(csv.DictReader(http.get(f"/files/{result['id']}/content").text.splitlines()))
    assert [row["elapsed_examples"] for row in rows] == ["5", "10", "12", "17", "22", "24"]
    assert list(rows[0])[-6:] == [
        f"classification/{name}"
        for name in ("accuracy", "precision", "recall", "auroc", "auprc", "f0.5")
    ]
    measured = [row["step"] for row in rows if row["classification/accuracy"]]
    assert measured == ["3", "6"]
    assert float(rows[-1]["classification/accuracy"]) in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert float(rows[-1]["validation_loss"]) > 0


def test_a_class_that_is_none_fails_the_fine_tune_with_those_there_are(http: httpx2.Client) -> None:
    ft = followed(
        http,
        training_file=upload(http),
        validation_file=upload(http, UNSEEN),
        compute_classification_metrics=True,
        classification_positive_class="true",
    )
    assert ft["status"] == "failed"
    last = ft["events"][-1]["message"]
    assert last.startswith("Fine-tune failed. The job failed due to an invalid training file. ")
    assert "'true' is none of the classes" in last
    assert "they are ' yes', ' no'" in last
