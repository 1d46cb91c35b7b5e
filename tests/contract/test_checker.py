"""The checker itself: what it lets through and what not. A checker that accepts everything would
make every other test of the contract worthless."""

from typing import Any

import pytest

from tests.contract.checker import (
    ContractBroken,
    check_completion,
    check_error,
    check_schema,
)

FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 3,
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "fine-tune",
    "status": "processed",
}
JOB = {
    "id": "ftjob-1",
    "object": "fine_tuning.job",
    "created_at": 1,
    "error": None,
    "fine_tuned_model": None,
    "finished_at": None,
    "hyperparameters": {"n_epochs": "auto", "batch_size": 1, "learning_rate_multiplier": 0.5},
    "model": "gpt-4o-mini-2024-07-18",
    "organization_id": "org-1",
    "result_files": [],
    "status": "queued",
    "trained_tokens": None,
    "training_file": "file-1",
    "validation_file": None,
    "seed": 1,
}
LOGPROBS: dict[str, Any] = {
    "tokens": ["a", "b"],
    "token_logprobs": [None, -1.5],
    "top_logprobs": [None, {"b": -1.5}],
    "text_offset": [0, 1],
}


def completion(**choice: Any) -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "davinci-002",
        "choices": [
            {"text": "ab", "index": 0, "logprobs": None, "finish_reason": "stop", **choice}
        ],
    }


@pytest.mark.parametrize(("name", "value"), [("OpenAIFile", FILE), ("FineTuningJob", JOB)])
def test_good_objects_pass(name: str, value: dict[str, Any]) -> None:
    check_schema(name, value)


def test_the_contradictions_of_the_service_are_let_through() -> None:
    check_schema("OpenAIFile", {**FILE, "status_details": None, "expires_at": None})
    check_schema(
        "ListFilesResponse",
        {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None},
    )


def test_a_completion_s_two_nulls_are_let_through_where_they_belong() -> None:
    check_completion(completion(logprobs=LOGPROBS))
    check_completion(completion(finish_reason=None), is_piece=True)
    with pytest.raises(ContractBroken):
        check_completion(completion(finish_reason=None))
    for name in ("token_logprobs", "top_logprobs"):
        with pytest.raises(ContractBroken):
            check_completion(completion(logprobs={**LOGPROBS, name: [None, None]}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OpenAIFile", {**FILE, "bytes": "3"}),
        ("OpenAIFile", {**FILE, "filename": None}),
        ("OpenAIFile", {key: value for key, value in FILE.items() if key != "status"}),
        ("FineTuningJob", {**JOB, "status": "pending"}),
        ("FineTuningJob", {**JOB, "error": {}}),
        ("FineTuningJob", {**JOB, "result_files": None}),
        ("FineTuningJob", {**JOB, "hyperparameters": {"n_epochs": 0}}),
        ("FineTuningJob", {**JOB, "hyperparameters": {"learning_rate_multiplier": 0}}),
        ("FineTuningJob", {**JOB, "integrations": [{"type": "wandb"}]}),
    ],
)
def test_bad_objects_are_caught(name: str, value: dict[str, Any]) -> None:
    with pytest.raises(ContractBroken):
        check_schema(name, value)


def test_an_error_needs_its_four_keys_and_no_more() -> None:
    error = {"message": "no", "type": "invalid_request_error", "param": None, "code": None}
    check_error({"error": error})
    with pytest.raises(ContractBroken):
        check_error({"error": {**error, "detail": "…"}})
    with pytest.raises(ContractBroken):
        check_error({"error": {key: error[key] for key in ("message", "type", "param")}})
