"""Jobs, events and checkpoints through the official SDK (behaviour reference, sections 4 to 7)."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.api import histories
from tests.api.conftest import IDS, LiveApi, now
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.files import FilePurpose

ALL_AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
WANDB = {"type": "wandb", "wandb": {"project": "mine", "name": None, "tags": ["a"]}}


@pytest.fixture(scope="module")
def file_id(api: LiveApi) -> str:
    return histories.upload(api)


def test_a_new_job_has_every_key_of_the_reference(client: OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file_id)
    answer = job.to_dict()
    seed, created_at = answer.pop("seed"), answer.pop("created_at")
    assert answer == {
        "object": "fine_tuning.job",
        "id": job.id,
        "model": "gpt-4o-mini-2024-07-18",
        "finished_at": None,
        "fine_tuned_model": None,
        "organization_id": job.organization_id,
        "result_files": [],
        "status": "validating_files",
        "validation_file": None,
        "training_file": file_id,
        "hyperparameters": ALL_AUTO,
        "trained_tokens": None,
        "error": None,
        "user_provided_suffix": None,
        "estimated_finish": None,
        "integrations": [],
        "method": {"type": "supervised", "supervised": {"hyperparameters": ALL_AUTO}},
        "metadata": None,
        "usage_metrics": None,
        "shared_with_openai": False,
        "eval_id": None,
    }
    assert isinstance(seed, int)
    assert created_at == pytest.approx(time.time(), abs=5)
    assert client.fine_tuning.jobs.retrieve(job.id) == job
    assert messages(client, job) == [f"Created fine-tuning job: {job.id}"]


def test_what_a_job_is_given_is_echoed(client: OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=file_id,
        validation_file=file_id,
        suffix="My fine model",
        seed=42,
        metadata={"team": "a"},
        integrations=[WANDB],  # type: ignore[list-item]
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": "auto"}},
        },
    )
    answer = job.to_dict()
    asked = {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": "auto"}
    assert answer["validation_file"] == file_id
    assert answer["user_provided_suffix"] == "My fine model"
    assert answer["seed"] == 42
    assert answer["metadata"] == {"team": "a"}
    assert answer["integrations"] == [WANDB]
    assert answer["hyperparameters"] == asked
    assert answer["method"] == {"type": "supervised", "supervised": {"hyperparameters": asked}}


@pytest.mark.parametrize(
    "extra",
    [
        {"hyperparameters": {}},
        {"hyperparameters": {"n_epochs": "auto"}},
        {"hyperparameters": {"learning_rate_multiplier": 2}},
        {"method": {"type": "supervised"}},
        {"method": {"type": "supervised", "supervised": {}}},
        {"method": {"type": "supervised", "dpo": None}},
        {
            "validation_file": None,
            "suffix": None,
            "seed": None,
            "integrations": None,
            "metadata": None,
            "method": None,
            "hyperparameters": None,
        },
        {"seed": 0, "metadata": {}, "integrations": []},
    ],
)
def test_what_the_reference_calls_optional_is(
    http: httpx2.Client, file_id: str, extra: dict[str, Any]
) -> None:
    body = {"model": "tiny", "training_file": file_id, **extra}
    answer = http.post("/v1/fine_tuning/jobs", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["hyperparameters"].keys() == ALL_AUTO.keys()


def test_method_goes_before_the_older_hyperparameters(client: OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=file_id,
        hyperparameters={"n_epochs": 7, "batch_size": 7},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
    )
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (3, "auto")


@pytest.mark.parametrize(
    ("changes", "message", "param", "code"),
    [
        (
            {"hyperparameters": {"nepochs": 2}},
            "invalid nepochs: 2, extra inputs are not permitted",
            "nepochs",
            None,
        ),
        ({"nepochs": 2}, "invalid nepochs: 2, extra inputs are not permitted", "nepochs", None),
        (
            {"suffix": "x" * 65},
            f"invalid suffix: {'x' * 65}, string should have at most 64 characters",
            "suffix",
            None,
        ),
        (
            {"suffix": ""},
            "invalid suffix: , string should have at least 1 character",
            "suffix",
            None,
        ),
        (
            {"suffix": "a:b"},
            "invalid suffix: a:b, ':' separates the parts of a model name and can't be used",
            "suffix",
            None,
        ),
        (
            {"hyperparameters": {"n_epochs": 0}},
            "invalid n_epochs: 0, input should be 'auto' or "
            "input should be greater than or equal to 1",
            "n_epochs",
            None,
        ),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 51}}}},
            "invalid n_epochs: 51, input should be 'auto' or "
            "input should be less than or equal to 50",
            "n_epochs",
            None,
        ),
        (
            {"hyperparameters": {"n_epochs": "3"}},
            "invalid n_epochs: 3, input should be 'auto' or input should be a valid integer",
            "n_epochs",
            None,
        ),
        (
            {"hyperparameters": {"batch_size": True}},
            "invalid batch_size: true, input should be 'auto' or input should be a valid integer",
            "batch_size",
            None,
        ),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "invalid learning_rate_multiplier: 0, input should be 'auto' or "
            "input should be greater than 0",
            "learning_rate_multiplier",
            None,
        ),
        (
            {"seed": 2**31},
            "invalid seed: 2147483648, input should be less than or equal to 2147483647",
            "seed",
            None,
        ),
        ({"seed": 1.5}, "invalid seed: 1.5, input should be a valid integer", "seed", None),
        (
            {"metadata": {"k": 1}},
            "invalid k: 1, input should be a valid string",
            "k",
            None,
        ),
        (
            {"integrations": [{"type": "wandb", "wandb": {}}]},
            "Missing required parameter: 'integrations[0].wandb.project'.",
            "integrations[0].wandb.project",
            "missing_required_parameter",
        ),
        (
            {"method": {"type": "dpo", "supervised": {}}},
            "`method.supervised` was sent with the type 'dpo', which has no use for it. Leave it "
            "out, or ask for the type 'supervised'.",
            "method.supervised",
            None,
        ),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.5}}}},
            "invalid beta: 2.5, input should be 'auto' or input should be less than or equal to 2",
            "beta",
            None,
        ),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"beta": 1}}}},
            "invalid beta: 1, extra inputs are not permitted",
            "beta",
            None,
        ),
        (
            {"method": {"type": "reinforcement"}},
            "The method 'reinforcement' isn't supported yet. "
            "Use 'supervised' or 'dpo', or leave `method` out.",
            "method",
            "unsupported_method",
        ),
        (
            {"model": "gpt-9"},
            "Model gpt-9 is not available for fine-tuning or does not exist.",
            "model",
            "model_not_available",
        ),
        (
            {"training_file": "file-none"},
            "invalid training_file: file-none",
            "training_file",
            None,
        ),
        (
            {"validation_file": "file-none"},
            "invalid validation_file: file-none",
            "validation_file",
            None,
        ),
        (
            {"training_file": None},
            "invalid training_file: null, input should be a valid string",
            "training_file",
            None,
        ),
    ],
)
def test_a_job_that_can_not_be_is_refused_in_openai_s_words(
    http: httpx2.Client,
    file_id: str,
    changes: dict[str, Any],
    message: str,
    param: str,
    code: str | None,
) -> None:
    body = {"model": "tiny", "training_file": file_id, **changes}
    answer = http.post("/v1/fine_tuning/jobs", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }


@pytest.mark.parametrize("missing", ["model", "training_file"])
def test_a_missing_key_is_named(http: httpx2.Client, file_id: str, missing: str) -> None:
    body = {"model": "tiny", "training_file": file_id}
    del body[missing]
    error = http.post("/v1/fine_tuning/jobs", json=body).json()["error"]
    assert error["message"] == f"Missing required parameter: '{missing}'."
    assert (error["param"], error["code"]) == (missing, "missing_required_parameter")


def test_too_much_metadata_is_refused(http: httpx2.Client, file_id: str) -> None:
    for metadata in (
        {str(n): "" for n in range(17)},
        {"k" * 65: "v"},
        {"k": "v" * 513},
    ):
        body = {"model": "tiny", "training_file": file_id, "metadata": metadata}
        assert http.post("/v1/fine_tuning/jobs", json=body).status_code == 400


def test_a_file_for_another_purpose_can_not_be_trained_on(api: LiveApi, client: OpenAI) -> None:
    wrong = histories.upload(api, FilePurpose.ASSISTANTS)
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="tiny", training_file=wrong)
    assert caught.value.param == "training_file"
    assert f"File '{wrong}' has purpose 'assistants', expected 'fine-tune'" in str(caught.value)


def test_another_organization_s_files_and_jobs_do_not_exist(
    client: OpenAI, stranger: OpenAI, file_id: str
) -> None:
    with pytest.raises(openai.BadRequestError, match="invalid training_file"):
        stranger.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    jobs = stranger.fine_tuning.jobs
    for ask in (
        jobs.retrieve,
        jobs.cancel,
        jobs.pause,
        jobs.resume,
        jobs.list_events,
        jobs.checkpoints.list,
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(job.id)
        assert caught.value.code == "fine_tune_not_found"
    assert job.id not in [item.id for item in jobs.list()]


def test_an_unknown_job_is_answered_in_the_legacy_words(client: OpenAI) -> None:
    """A Terraform provider relies on the code."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.fine_tuning.jobs.retrieve("ftjob-none")
    assert caught.value.body == {
        "message": "Could not find fine tune: ftjob-none",
        "type": "invalid_request_error",
        "param": "fine_tune_id",
        "code": "fine_tune_not_found",
    }


def test_lists_are_newest_first_and_the_sdk_pages_through_all(client: OpenAI, file_id: str) -> None:
    made = [
        client.fine_tuning.jobs.create(
            model="tiny", training_file=file_id, metadata={"list": "paging", "n": str(n)}
        ).id
        for n in range(5)
    ]
    page = client.fine_tuning.jobs.list(limit=2)
    assert ([job.id for job in page.data], page.has_more) == (made[:2:-1], True)
    assert page.to_dict().keys() == {"object", "data", "has_more"}
    found = [job.id for job in client.fine_tuning.jobs.list(limit=2, metadata={"list": "paging"})]
    assert found == made[::-1]
    after = client.fine_tuning.jobs.list(after=made[3], limit=2)
    assert [job.id for job in after.data] == [made[2], made[1]]


def test_jobs_are_found_by_all_pairs_of_their_metadata(
    http: httpx2.Client, client: OpenAI, file_id: str
) -> None:
    def create(metadata: dict[str, str] | None) -> str:
        return client.fine_tuning.jobs.create(
            model="tiny", training_file=file_id, metadata=metadata
        ).id

    both = create({"team": "blue", "stage[1]": "x"})
    one = create({"team": "blue"})
    none = create(None)
    jobs = client.fine_tuning.jobs
    assert [job.id for job in jobs.list(metadata={"team": "blue"})] == [one, both]
    assert [job.id for job in jobs.list(metadata={"team": "blue", "stage[1]": "x"})] == [both]
    assert [job.id for job in jobs.list(metadata={"team": "red"})] == []
    without = [job["id"] for job in http.get("/v1/fine_tuning/jobs?metadata=null").json()["data"]]
    assert none in without
    assert not {one, both} & set(without)


def test_a_running_job_shows_numbers_and_an_estimate(
    api: LiveApi, client: OpenAI, file_id: str
) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=file_id, hyperparameters={"batch_size": 4}
    )
    lease = histories.started(api, job.id)
    in_a_minute = now() + timedelta(minutes=1)
    api.store.jobs.record(lease, [histories.metrics_event(1)], estimated_finish=in_a_minute)
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "running"
    resolved = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 1.8}
    assert job.hyperparameters.to_dict() == resolved
    assert job.method is not None
    assert job.method.to_dict()["supervised"] == {"hyperparameters": resolved}
    assert job.estimated_finish == int(in_a_minute.timestamp())
    # Its trainer died, say: an end that is past is no estimate.
    api.store.jobs.record(lease, [], estimated_finish=now())
    assert client.fine_tuning.jobs.retrieve(job.id).estimated_finish is None
    listed = client.fine_tuning.jobs.list(limit=1).data[0]
    assert (listed.id, listed.estimated_finish) == (job.id, None)


def test_a_succeeded_job_leads_to_model_results_and_checkpoints(
    api: LiveApi, client: OpenAI, file_id: str
) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id, suffix="it's me")
    ids = [IDS.adapter() for _ in range(3)]
    models = histories.succeeded(api, job.id, ids)
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded"
    assert job.fine_tuned_model == f"ft:tiny:local:it-s-me:{ids[2]}"
    assert job.trained_tokens == 5070
    assert job.finished_at == pytest.approx(time.time(), abs=5)
    assert job.estimated_finish is None
    result = client.files.retrieve(job.result_files[0])
    assert (result.filename, result.purpose) == ("step_metrics.csv", "fine-tune-results")
    assert client.files.content(result.id).content == histories.CSV

    page = client.fine_tuning.jobs.checkpoints.list(job.id)
    assert [item.step_number for item in page.data] == [3, 2, 1]
    assert [item.fine_tuned_model_checkpoint for item in page.data] == [
        f"ft:tiny:local:it-s-me:{ids[2]}",
        f"ft:tiny:local:it-s-me:{ids[1]}:ckpt-step-2",
        f"ft:tiny:local:it-s-me:{ids[0]}:ckpt-step-1",
    ]
    assert page.data[0].metrics.to_dict().keys() == {
        "step",
        "train_loss",
        "train_mean_token_accuracy",
        "valid_loss",
        "valid_mean_token_accuracy",
    }
    assert page.data[1].metrics.to_dict().keys() == {
        "step",
        "train_loss",
        "train_mean_token_accuracy",
    }
    one_by_one = client.fine_tuning.jobs.checkpoints.list(job.id, limit=1)
    assert [item.step_number for item in one_by_one] == [3, 2, 1]
    assert one_by_one.to_dict()["last_id"] == page.data[0].id
    assert models[-1].name == job.fine_tuned_model


def test_a_failed_job_says_why_in_its_error_and_its_newest_event(
    api: LiveApi, client: OpenAI, file_id: str
) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    text = f"{file_id} has 4 example(s), but must have at least 10 examples"
    histories.failed(api, job.id, ErrorDetail("invalid_n_examples", text, "training_file"))
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.to_dict() == {
        "code": "invalid_n_examples",
        "message": text,
        "param": "training_file",
    }
    assert job.finished_at
    event = client.fine_tuning.jobs.list_events(job.id).data[0]
    assert (event.level, event.type, event.message) == ("error", "message", text)
    assert event.data == {"error_code": "invalid_n_examples", "error_param": "training_file"}


def test_events_are_newest_first_and_metrics_are_numbers(
    api: LiveApi, client: OpenAI, file_id: str
) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    lease = histories.started(api, job.id)
    for step in (1, 2, 3):
        api.store.jobs.record(lease, [histories.metrics_event(step)])
    events = client.fine_tuning.jobs.list_events(job.id).data
    assert [event.message for event in events] == [
        "Step 3/3: training loss=0.50",
        "Step 2/3: training loss=0.75",
        "Step 1/3: training loss=1.50",
        "Fine-tuning job started",
        "Files validated, moving job to queued state",
        f"Created fine-tuning job: {job.id}",
    ]
    assert events[0].data == {
        "step": 3,
        "total_steps": 3,
        "train_loss": 0.5,
        "train_mean_token_accuracy": 0.5,
        "valid_loss": 0.7,
        "valid_mean_token_accuracy": 0.6,
    }
    assert events[1].data is not None
    assert "valid_loss" not in events[1].data  # type: ignore[operator]
    assert events[3].data is None
    assert events[5].data == {}
    one_by_one = client.fine_tuning.jobs.list_events(job.id, limit=1)
    assert [event.id for event in one_by_one] == [event.id for event in events]


@pytest.mark.parametrize("state", ["new", "queued", "running"])
def test_an_unfinished_job_can_be_cancelled(
    api: LiveApi, client: OpenAI, file_id: str, state: str
) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    if state == "queued":
        histories.validated(api, job.id)
    elif state == "running":
        histories.started(api, job.id)
    cancelled = client.fine_tuning.jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at
    assert cancelled.error is None
    assert client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"
    assert client.fine_tuning.jobs.list_events(job.id).data[0].level == "warn"


def test_a_finished_job_can_not_be_cancelled(client: OpenAI, file_id: str) -> None:
    """400, never 409: the SDK would repeat the request."""
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    client.fine_tuning.jobs.cancel(job.id)
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.cancel(job.id)
    assert caught.value.body == {
        "message": f'Cannot cancel a job {job.id} that already has status "cancelled".',
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_of_cancels_at_once_one_is_the_cancel(api: LiveApi, client: OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    histories.started(api, job.id)

    def cancel(_: int) -> str:
        try:
            return client.fine_tuning.jobs.cancel(job.id).status
        except openai.BadRequestError as error:
            return error.message

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(cancel, range(4)))
    assert answers.count("cancelled") == 1
    assert sum('already has status "cancelled"' in answer for answer in answers) == 3
    assert [event.level for event in client.fine_tuning.jobs.list_events(job.id)].count("warn") == 1


def test_a_running_job_can_be_paused_and_resumed(
    api: LiveApi, client: OpenAI, file_id: str
) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    histories.started(api, job.id)
    planned = client.fine_tuning.jobs.retrieve(job.id).hyperparameters
    paused = client.fine_tuning.jobs.pause(job.id)
    assert (paused.status, paused.finished_at, paused.error) == ("paused", None, None)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "paused"
    assert client.fine_tuning.jobs.list().data[0].status == "paused"
    resumed = client.fine_tuning.jobs.resume(job.id)
    assert (resumed.status, resumed.hyperparameters) == ("queued", planned)
    told = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=2).data]
    assert told == ["Fine-tuning job resumed", "Fine-tuning job paused"]


def test_a_paused_job_can_be_cancelled(api: LiveApi, client: OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    histories.started(api, job.id)
    client.fine_tuning.jobs.pause(job.id)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"


@pytest.mark.parametrize(
    ("state", "verb", "status", "origin"),
    [
        ("queued", "pause", "queued", "running"),
        ("running", "resume", "running", "paused"),
        ("paused", "pause", "paused", "running"),
        ("cancelled", "pause", "cancelled", "running"),
        ("cancelled", "resume", "cancelled", "paused"),
    ],
)
def test_a_job_in_another_state_can_not_be_paused_or_resumed(
    api: LiveApi, client: OpenAI, file_id: str, state: str, verb: str, status: str, origin: str
) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    if state == "queued":
        histories.validated(api, job.id)
    else:
        histories.started(api, job.id)
    if state == "paused":
        client.fine_tuning.jobs.pause(job.id)
    if state == "cancelled":
        client.fine_tuning.jobs.cancel(job.id)
    turn = getattr(client.fine_tuning.jobs, verb)
    with pytest.raises(openai.BadRequestError) as caught:
        turn(job.id)
    assert caught.value.body == {
        "message": f'Cannot {verb} a job {job.id} that has status "{status}": only a {origin} job '
        f"can be {verb}d.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert client.fine_tuning.jobs.retrieve(job.id).status == status


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", None),
        (b"", "application/json"),
        (b"{}", "application/json"),
        (b"not json", "application/json"),
        (b"a=b", "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "text/plain"),
        (b"x" * 300_000, None),
    ],
)
def test_cancel_accepts_any_body(
    http: httpx2.Client, client: OpenAI, file_id: str, content: bytes, content_type: str | None
) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    headers = {"content-type": content_type} if content_type else {}
    answer = http.post(f"/v1/fine_tuning/jobs/{job.id}/cancel", content=content, headers=headers)
    assert answer.json()["status"] == "cancelled"


def test_a_tuned_model_can_be_trained_further(
    api: LiveApi, client: OpenAI, stranger: OpenAI, file_id: str
) -> None:
    first = client.fine_tuning.jobs.create(model="tiny", training_file=file_id)
    model = histories.succeeded(api, first.id, [IDS.adapter()])[-1]
    second = client.fine_tuning.jobs.create(model=model.name, training_file=file_id)
    assert second.model == model.name
    job = api.store.jobs.find(api.caller.scope, second.id)
    assert job is not None
    assert (job.base_model, job.parent_adapter_id) == ("tiny", model.adapter_id)
    with pytest.raises(openai.BadRequestError):
        stranger.fine_tuning.jobs.create(model=model.name, training_file=file_id)


def test_a_body_needs_no_content_type(http: httpx2.Client, file_id: str) -> None:
    """`curl -d` sends that of a form."""
    body = f'{{"model": "tiny", "training_file": "{file_id}"}}'
    for content_type in ("application/x-www-form-urlencoded", "text/plain"):
        answer = http.post(
            "/v1/fine_tuning/jobs", content=body, headers={"content-type": content_type}
        )
        assert answer.status_code == 200


def messages(client: OpenAI, job: FineTuningJob) -> list[str]:
    """The job's events, oldest first."""
    return [event.message for event in client.fine_tuning.jobs.list_events(job.id)][::-1]
