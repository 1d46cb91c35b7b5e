"""The first era's library, openai 0.28.1, as a program of 2022 uses it (behaviour reference,
sections 20 and 21.1). Its commands are in `test_openai_028_cli.py`."""

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Client028, jsonl

MODEL = r"ada:ft-local:moods-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d"


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Data of a classifier with two classes, each one token of the tiny model: files to train and
    to validate on."""
    folder = tmp_path_factory.mktemp("moods")
    lines = [
        {
            "prompt": f"{name} {'won a prize' if day % 2 else 'lost a friend'} on day {day} ->",
            "completion": " happy" if day % 2 else " sad",
        }
        for day, name in enumerate(["Anna", "Bob", "Cleo", "Dan", "Eve"] * 4)
    ]
    return jsonl(folder / "train.jsonl", lines[:16]), jsonl(folder / "valid.jsonl", lines[16:])


@pytest.fixture(scope="module")
def seen(openai_028: Client028, moods: tuple[Path, Path]) -> Any:
    """What the script saw; it runs once for all tests here."""
    return openai_028.script("library.py", *map(str, moods))


@pytest.fixture(scope="module")
def refusals(openai_028: Client028, seen: Any) -> Any:
    file_id, ended = seen["uploads"]["named"]["id"], seen["fine_tune"]["created"]["id"]
    without_model = seen["cancelled"]["id"]
    return openai_028.script("refusals.py", file_id, ended, without_model)


def test_files_come_with_a_name_or_without(seen: Any, moods: tuple[Path, Path]) -> None:
    uploads, (training, _) = seen["uploads"], moods
    assert uploads["named"]["filename"].endswith("train.jsonl")
    assert uploads["plain"]["filename"] == "file"  # what this client calls nameless bytes
    assert uploads["named"]["bytes"] == uploads["plain"]["bytes"] == training.stat().st_size
    assert uploads["content"] == training.read_text()
    assert uploads["status"] == "processed"
    plain = uploads["plain"]["id"]
    assert uploads["deleted"] == {"id": plain, "object": "file", "deleted": True}


def test_a_file_that_was_uploaded_before_is_recognised(seen: Any) -> None:
    """By name, size and purpose, of which the client looks for the first without folders."""
    uploads = seen["uploads"]
    assert uploads["same_name"] == [uploads["named"]["id"]]
    assert uploads["same_name_other_size"] == []


def test_all_parameters_come_back(seen: Any) -> None:
    created, ended = seen["fine_tune"]["created"], seen["fine_tune"]["ended"]
    assert created["hyperparams"] == {
        "n_epochs": 4,
        "batch_size": 2,
        "learning_rate_multiplier": 0.1,
        "prompt_loss_weight": 0.05,
        "compute_classification_metrics": True,
        "classification_n_classes": 2,
        "classification_positive_class": " happy",
        "classification_betas": [0.5, 1.0],
    }
    assert ended["hyperparams"] == created["hyperparams"]
    assert (created["model"], created["status"]) == ("ada", "pending")
    assert [file["id"] for file in created["training_files"]] == [seen["uploads"]["named"]["id"]]
    assert len(created["validation_files"]) == 1
    assert created["result_files"] == []
    assert created["fine_tuned_model"] is None


def test_the_stream_tells_all_events_and_ends_with_the_job(seen: Any) -> None:
    fine_tune = seen["fine_tune"]
    (result_file,) = fine_tune["ended"]["result_files"]
    messages = [event["message"] for event in fine_tune["streamed"]]
    queue = [message for message in messages if "Queue number" in message]
    assert queue
    assert messages == [
        f"Created fine-tune: {fine_tune['created']['id']}",
        "Fine-tune costs $0.00",
        *queue,
        "Fine-tune started",
        *(f"Completed epoch {epoch}/4" for epoch in range(1, 5)),
        f"Uploaded model: {fine_tune['ended']['fine_tuned_model']}",
        f"Uploaded result file: {result_file['id']}",
        "Fine-tune succeeded",
    ]
    assert {event["object"] for event in fine_tune["streamed"]} == {"fine-tune-event"}
    assert fine_tune["events"] == {"object": "list", "data": fine_tune["streamed"]}
    assert fine_tune["ended"]["events"] == fine_tune["streamed"]


def test_the_model_is_named_in_the_manner_of_its_era(seen: Any) -> None:
    ended = seen["fine_tune"]["ended"]
    assert ended["status"] == "succeeded"
    assert re.fullmatch(MODEL, ended["fine_tuned_model"])
    assert seen["answers"]["model"]["id"] == ended["fine_tuned_model"]
    assert ended["fine_tuned_model"] in seen["answers"]["models"]


def test_fine_tunes_are_listed_oldest_first_without_their_events(seen: Any) -> None:
    created = seen["fine_tune"]["created"]
    listed = seen["fine_tune"]["listed"]["data"]
    times = [fine_tune["created_at"] for fine_tune in listed]
    assert times == sorted(times)
    assert listed[-1]["id"] == created["id"]  # the newest then
    assert "events" not in listed[-1]
    assert listed[-1].keys() | {"events"} == created.keys()


def test_the_asynchronous_half_sees_the_same(seen: Any) -> None:
    """It stands on another HTTP client, aiohttp."""
    assert seen["asynchronous"]["streamed"] == seen["fine_tune"]["streamed"]
    assert seen["asynchronous"]["retrieved"] == seen["fine_tune"]["ended"]
    listed = [fine_tune["id"] for fine_tune in seen["asynchronous"]["listed"]["data"]]
    assert listed == [fine_tune["id"] for fine_tune in seen["fine_tune"]["listed"]["data"]]


def test_the_result_file_holds_numbers_that_the_clients_logger_can_read(seen: Any) -> None:
    """It downloads the file as UTF-8, reads it with pandas and logs what isn't blank."""
    (result_file,) = seen["fine_tune"]["ended"]["result_files"]
    content, logged = seen["results"]["content"], seen["results"]["logged"]
    assert result_file["filename"] == "compiled_results.csv"
    assert result_file["purpose"] == "fine-tune-results"
    assert result_file["bytes"] == len(content.encode())
    (header,) = list(csv.reader([content.splitlines()[0]]))
    assert header == [
        "step",
        "elapsed_tokens",
        "elapsed_examples",
        "training_loss",
        "training_sequence_accuracy",
        "training_token_accuracy",
        "validation_loss",
        "validation_sequence_accuracy",
        "validation_token_accuracy",
        "classification/accuracy",
        "classification/precision",
        "classification/recall",
        "classification/auroc",
        "classification/auprc",
        "classification/f0.5",
        "classification/f1.0",
    ]
    assert [row["step"] for row in logged] == list(range(1, 33))
    assert [row["elapsed_examples"] for row in logged] == list(range(2, 66, 2))
    epochs = [row["step"] for row in logged if "classification/accuracy" in row]
    assert epochs == [8, 16, 24, 32]


def test_the_answer_is_a_class_and_its_rivals(seen: Any) -> None:
    """How guides of the time read a classifier: one token, its two most likely values."""
    answers = seen["answers"]
    whole = answers["whole"]
    (choice,) = whole["choices"]
    assert (whole["object"], whole["model"]) == (
        "text_completion",
        seen["fine_tune"]["ended"]["fine_tuned_model"],
    )
    assert choice["text"] == answers["streamed"] == answers["expected"]
    (top,) = choice["logprobs"]["top_logprobs"]
    assert top.keys() == {" happy", " sad"}
    assert choice["logprobs"]["tokens"] == [max(top, key=top.__getitem__)]


def test_a_fine_tune_can_be_cancelled(seen: Any) -> None:
    cancelled = seen["cancelled"]
    assert (cancelled["model"], cancelled["status"]) == ("curie", "cancelled")
    assert cancelled["events"][-1]["message"] == "Fine-tune cancelled"


def test_todays_jobs_were_known_to_it_as_well(seen: Any) -> None:
    jobs = seen["jobs"]
    assert (jobs["created"]["object"], jobs["created"]["model"]) == (
        "fine_tuning.job",
        "babbage-002",
    )
    assert jobs["ended"]["fine_tuned_model"].startswith("ft:babbage-002:local:moods:")
    assert jobs["results"].startswith("step,train_loss")
    assert jobs["cancelled"]["status"] == "cancelled"
    assert [job["id"] for job in jobs["newest"]["data"]] == [jobs["cancelled"]["id"]]
    assert [event["message"] for event in jobs["last_events"]["data"]] == [
        "The job has successfully completed",
        f"New fine-tuned model created: {jobs['ended']['fine_tuned_model']}",
    ]


def test_a_fine_tune_is_one_of_todays_jobs(seen: Any) -> None:
    jobs, ended = seen["jobs"], seen["fine_tune"]["ended"]
    job_id = ended["id"].replace("ft-", "ftjob-")
    assert jobs["all"][:3] == [
        jobs["cancelled"]["id"],
        jobs["ended"]["id"],
        seen["cancelled"]["id"].replace("ft-", "ftjob-"),
    ]
    assert job_id in jobs["all"]
    assert len(jobs["all"]) == len(set(jobs["all"]))
    assert jobs["fine_tune"]["id"] == job_id
    assert jobs["fine_tune"]["fine_tuned_model"] == ended["fine_tuned_model"]
    assert jobs["fine_tune"]["result_files"] == [file["id"] for file in ended["result_files"]]


def test_models_are_deleted_by_name_and_by_fine_tune(seen: Any) -> None:
    model, other = (
        seen["fine_tune"]["ended"]["fine_tuned_model"],
        seen["jobs"]["ended"]["fine_tuned_model"],
    )
    deleted = seen["deleted"]
    assert deleted["by_fine_tune"] == {"id": model, "object": "model", "deleted": True}
    assert deleted["by_name"] == {"id": other, "object": "model", "deleted": True}
    assert not {model, other} & set(deleted["left"])


NO_FINE_TUNE = (
    "InvalidRequestError",
    404,
    "fine_tune_id",
    "fine_tune_not_found",
    "Could not find fine tune: ",
)
NO_MODEL = ("InvalidRequestError", 404, "model", "model_not_found", "The model 'curie:ft-nobody-")
REFUSALS = {
    # exception, status, param, code, beginning of the message
    "wrong key": (
        "AuthenticationError",
        401,
        None,
        "invalid_api_key",
        "Incorrect API key provided: sk-wr****cdef.",
    ),
    "empty key": ("AuthenticationError", 401, None, None, "You didn't provide an API key."),
    "other organisation": (
        "AuthenticationError",
        401,
        None,
        "mismatched_organization",
        "OpenAI-Organization header should match",
    ),
    "file": ("InvalidRequestError", 404, "id", None, "No such File object: file-missing"),
    "content": ("InvalidRequestError", 404, "id", None, "No such File object: file-missing"),
    "fine-tune": NO_FINE_TUNE,
    "fine-tune, cancel": NO_FINE_TUNE,
    "fine-tune, events": NO_FINE_TUNE,
    "fine-tune, stream": NO_FINE_TUNE,
    "fine-tune, delete": NO_FINE_TUNE,
    "job": NO_FINE_TUNE,
    "fine-tune without a model, delete": (
        "InvalidRequestError",
        400,
        None,
        None,
        "The fine-tune ft-",
    ),
    "cancel after the end": ("InvalidRequestError", 400, None, None, "Cannot cancel a job ft-"),
    "training file": ("InvalidRequestError", 400, "file", None, "No file with ID: file-missing"),
    "validation file": ("InvalidRequestError", 400, "file", None, "No file with ID: file-missing"),
    "no training file": (
        "InvalidRequestError",
        400,
        None,
        None,
        "'training_file' is a required property",
    ),
    "base model": ("InvalidRequestError", 400, None, None, "Invalid base model: gpt-9"),
    "null": ("InvalidRequestError", 400, None, None, "None is not of type 'string' - 'suffix'"),
    "unknown field": (
        "InvalidRequestError",
        400,
        None,
        None,
        "Additional properties are not allowed ('nepochs' was unexpected)",
    ),
    "wrong type": (
        "InvalidRequestError",
        400,
        None,
        None,
        "'four' is not of type 'integer' - 'n_epochs'",
    ),
    "long suffix": ("InvalidRequestError", 400, None, None, "'sssss"),
    "classes without a validation file": ("InvalidRequestError", 400, "validation_file", None, ""),
    "model": NO_MODEL,
    "model, delete": NO_MODEL,
    "base model, delete": ("PermissionError", 403, None, None, "The model 'ada' is a base model"),
    "completion": (
        "InvalidRequestError",
        404,
        None,
        "model_not_found",
        "The model 'curie:ft-nobody-",
    ),
}


@pytest.mark.parametrize("situation", REFUSALS)
def test_a_refusal_becomes_the_clients_exception(refusals: Any, situation: str) -> None:
    seen = refusals[situation]
    kind, status, param, code, message = REFUSALS[situation]
    assert (seen["kind"], seen["status"], seen["param"]) == (kind, status, param)
    assert seen["message"].startswith(message)
    error = seen["body"]["error"]  # some exceptions of this client leave codes there
    assert error["code"] == code
    assert error.keys() == {"message", "type", "param", "code"}


def test_every_refusal_was_seen(refusals: Any) -> None:
    assert refusals.keys() == REFUSALS.keys()
