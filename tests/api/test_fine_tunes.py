"""The API of the first era, /v1/fine-tunes (behaviour reference, section 20)."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests.api import histories
from tests.api.conftest import IDS, LiveApi
from tests.contract.checker import CheckedTransport
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.files import FilePurpose
from tunesmith.domain.jobs import JobStatus, NewEvent
from tunesmith.wire.fine_tune_replies import STATUS

FINE_TUNES, JOBS = "/v1/fine-tunes", "/v1/fine_tuning/jobs"
ADAPTERS = ["Ab3dEf9h", "Zz3dEf9h"]


@pytest.fixture
def file_id(api: LiveApi) -> str:
    return histories.upload(api)


@pytest.fixture
def ft(http: httpx2.Client, file_id: str) -> Any:
    return create(http, training_file=file_id)


@pytest.fixture
def own(api: LiveApi, transport: CheckedTransport) -> Iterator[httpx2.Client]:
    """A client of a project where nobody else makes jobs."""
    key = api.new_key("lists", project=IDS.file())
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.Client(transport=transport, base_url=api.url, headers=headers) as client:
        yield client


def upload_by(client: httpx2.Client) -> str:
    form: Any = {"data": {"purpose": "fine-tune"}, "files": {"file": ("a", b"{}")}}
    return str(client.post("/v1/files", **form).json()["id"])


def create(client: httpx2.Client, **fields: Any) -> Any:
    answer = client.post(FINE_TUNES, json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def get(client: httpx2.Client, id: str, part: str = "") -> Any:
    answer = client.get(f"{FINE_TUNES}/{id}{part}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: httpx2.Client, **fields: Any) -> Any:
    answer = client.post(FINE_TUNES, json=fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error.pop("type") == "invalid_request_error"
    return error


def told(message: str, param: str | None = None) -> Any:
    return {"message": message, "param": param, "code": None}


def job_id_of(ft: Any) -> str:
    return "ftjob-" + ft["id"].removeprefix("ft-")


# What is made


def test_a_training_file_is_all_it_takes(api: LiveApi, ft: Any, file_id: str) -> None:
    """All keys are there, and none more."""
    created_at = ft["created_at"]
    assert ft == {
        "object": "fine-tune",
        "id": ft["id"],
        "hyperparams": {
            "n_epochs": 4,
            "batch_size": None,
            "prompt_loss_weight": 0.01,
            "learning_rate_multiplier": None,
        },
        "organization_id": api.caller.organization.id,
        "model": "curie",
        "training_files": [
            {
                "object": "file",
                "id": file_id,
                "purpose": "fine-tune",
                "filename": "train.jsonl",
                "bytes": 3,
                "created_at": ft["training_files"][0]["created_at"],
                "status": "processed",
                "status_details": None,
            }
        ],
        "validation_files": [],
        "result_files": [],
        "created_at": created_at,
        "updated_at": created_at,
        "status": "pending",
        "fine_tuned_model": None,
        "events": [
            {
                "object": "fine-tune-event",
                "created_at": created_at,
                "level": "info",
                "message": f"Created fine-tune: {ft['id']}",
            }
        ],
    }
    assert ft["id"].startswith("ft-")
    assert len(ft["id"]) == len("ft-") + 24


def test_what_is_answered_is_what_is_kept(http: httpx2.Client, ft: Any) -> None:
    assert get(http, ft["id"]) == ft


def test_everything_asked_for_is_shown(api: LiveApi, http: httpx2.Client, file_id: str) -> None:
    validation_id = histories.upload(api)
    ft = create(
        http,
        training_file=file_id,
        validation_file=validation_id,
        model="tiny",
        n_epochs=2,
        batch_size=8,
        learning_rate_multiplier=0.1,
        prompt_loss_weight=0,
        compute_classification_metrics=True,
        classification_n_classes=2,
        classification_positive_class=" yes",
        classification_betas=[0.5, 1, 2],
        suffix="x" * 40,
    )
    assert ft["hyperparams"] == {
        "n_epochs": 2,
        "batch_size": 8,
        "prompt_loss_weight": 0.0,
        "learning_rate_multiplier": 0.1,
        "compute_classification_metrics": True,
        "classification_n_classes": 2,
        "classification_positive_class": " yes",
        "classification_betas": [0.5, 1.0, 2.0],
    }
    assert [file["id"] for file in ft["validation_files"]] == [validation_id]
    assert ft["model"] == "tiny"


@pytest.mark.parametrize("multiplier", [0.02, 0.05, 0.07, 0.1, 0.2, 1e-9, 100, 1 / 3])
def test_a_learning_rate_multiplier_comes_back_as_it_was_sent(
    http: httpx2.Client, client: OpenAI, file_id: str, multiplier: float
) -> None:
    """In today's API it is 18 times that (decision 0010)."""
    ft = create(http, training_file=file_id, learning_rate_multiplier=multiplier)
    assert ft["hyperparams"]["learning_rate_multiplier"] == pytest.approx(multiplier, rel=1e-11)
    if multiplier != 1 / 3:  # the only one with more than 12 digits
        assert ft["hyperparams"]["learning_rate_multiplier"] == multiplier
    hyperparameters = client.fine_tuning.jobs.retrieve(ft["id"]).hyperparameters
    assert hyperparameters.learning_rate_multiplier == pytest.approx(18 * multiplier)


def test_planned_numbers_replace_null_when_training_starts(
    api: LiveApi, http: httpx2.Client, ft: Any
) -> None:
    """0.2 % of 100 examples are none: the least is one."""
    histories.validated(api, job_id_of(ft))
    assert get(http, ft["id"])["hyperparams"]["batch_size"] is None
    other = create(http, training_file=ft["training_files"][0]["id"])
    histories.started(api, job_id_of(other))
    assert get(http, other["id"])["hyperparams"] == {
        "n_epochs": 4,
        "batch_size": 1,
        "prompt_loss_weight": 0.01,
        "learning_rate_multiplier": 0.1,
    }


def test_a_lost_answer_is_given_again(http: httpx2.Client, file_id: str) -> None:
    key = {"idempotency-key": IDS.file()}
    answers = [
        http.post(FINE_TUNES, json={"training_file": file_id}, headers=key) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotent-replayed"] == "true"
    other = http.post(FINE_TUNES, json={"training_file": file_id, "n_epochs": 1}, headers=key)
    assert other.status_code == 400


def test_a_model_of_either_era_is_trained_further(
    api: LiveApi, http: httpx2.Client, ft: Any
) -> None:
    model = histories.succeeded(api, job_id_of(ft), ADAPTERS[:1])[-1].name
    again = create(http, training_file=ft["training_files"][0]["id"], model=model)
    assert again["model"] == model
    assert get(http, again["id"])["model"] == model


# What is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nepochs": 2}, "Additional properties are not allowed ('nepochs' was unexpected)"),
        ({"a": 1, "b": 2}, "Additional properties are not allowed ('a', 'b' were unexpected)"),
        ({"suffix": None}, "None is not of type 'string' - 'suffix'"),
        ({"validation_file": None}, "None is not of type 'string' - 'validation_file'"),
        ({"model": None}, "None is not of type 'string' - 'model'"),
        ({"n_epochs": None}, "None is not of type 'integer' - 'n_epochs'"),
        ({"batch_size": None}, "None is not of type 'integer' - 'batch_size'"),
        (
            {"learning_rate_multiplier": None},
            "None is not of type 'number' - 'learning_rate_multiplier'",
        ),
        (
            {"compute_classification_metrics": None},
            "None is not of type 'boolean' - 'compute_classification_metrics'",
        ),
        (
            {"classification_betas": None},
            "None is not of type 'array' - 'classification_betas'",
        ),
        ({"training_file": 3}, "3 is not of type 'string' - 'training_file'"),
        ({"n_epochs": "4"}, "'4' is not of type 'integer' - 'n_epochs'"),
        ({"n_epochs": True}, "True is not of type 'integer' - 'n_epochs'"),
        ({"n_epochs": "auto"}, "'auto' is not of type 'integer' - 'n_epochs'"),
        ({"n_epochs": 0}, "0 is less than the minimum of 1 - 'n_epochs'"),
        ({"n_epochs": 51}, "51 is greater than the maximum of 50 - 'n_epochs'"),
        ({"batch_size": 0}, "0 is less than the minimum of 1 - 'batch_size'"),
        ({"batch_size": 257}, "257 is greater than the maximum of 256 - 'batch_size'"),
        (
            {"learning_rate_multiplier": 0},
            "0 is less than or equal to the minimum of 0 - 'learning_rate_multiplier'",
        ),
        (
            {"learning_rate_multiplier": 101},
            "101 is greater than the maximum of 100 - 'learning_rate_multiplier'",
        ),
        (
            {"prompt_loss_weight": -0.1},
            "-0.1 is less than the minimum of 0 - 'prompt_loss_weight'",
        ),
        ({"prompt_loss_weight": 2}, "2 is greater than the maximum of 1 - 'prompt_loss_weight'"),
        (
            {"classification_n_classes": 1},
            "1 is less than the minimum of 2 - 'classification_n_classes'",
        ),
        (
            {"classification_n_classes": 1001},
            "1001 is greater than the maximum of 1000 - 'classification_n_classes'",
        ),
        (
            {"classification_betas": [1, 0]},
            "0 is less than or equal to the minimum of 0 - 'classification_betas.1'",
        ),
        (
            {"classification_betas": ["1"]},
            "'1' is not of type 'number' - 'classification_betas.0'",
        ),
        ({"classification_betas": []}, "[] is too short - 'classification_betas'"),
        (
            {"classification_betas": list(range(1, 12))},
            "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] is too long - 'classification_betas'",
        ),
        ({"suffix": ""}, "'' is too short - 'suffix'"),
        ({"suffix": "x" * 41}, f"'{'x' * 41}' is too long - 'suffix'"),
        (
            {"model": "nowhere"},
            "Invalid base model: nowhere (you can fine-tune tiny, gpt-4o-mini-2024-07-18, short, "
            "chat-only, curie, text-only, or a model that was fine-tuned from one of these)",
        ),
    ],
)
def test_wrong_parameters_are_refused_in_the_first_era_s_words(
    http: httpx2.Client, file_id: str, fields: dict[str, Any], message: str
) -> None:
    assert refused(http, **{"training_file": file_id, **fields}) == told(message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{}", "'training_file' is a required property"),
        ("[]", "[] is not of type 'object'"),
        (
            '{"training_file": "a", "learning_rate_multiplier": 1e999}',
            "inf is not valid: input should be a finite number - 'learning_rate_multiplier'",
        ),
    ],
)
def test_wrong_bodies_are_refused_in_the_first_era_s_words(
    http: httpx2.Client, body: str, message: str
) -> None:
    answer = http.post(FINE_TUNES, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == message


@pytest.mark.parametrize(
    "fields", [{"a" * 5000: 1}, {"suffix": "a" * 5000}, {str(n): 1 for n in range(900)}]
)
def test_long_mistakes_get_short_answers(
    http: httpx2.Client, file_id: str, fields: dict[str, Any]
) -> None:
    assert len(refused(http, training_file=file_id, **fields)["message"]) < 500


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_files_must_be_there_and_for_training(
    api: LiveApi, http: httpx2.Client, file_id: str, param: str
) -> None:
    nowhere = refused(http, **{"training_file": file_id, param: "file-nowhere"})
    assert nowhere == told("No file with ID: file-nowhere", "file")
    other = histories.upload(api, FilePurpose.ASSISTANTS)
    message = (
        f"File '{other}' has purpose 'assistants', expected 'fine-tune'. Upload it again with "
        "that purpose."
    )
    assert refused(http, **{"training_file": file_id, param: other}) == told(message, param)


def test_a_suffix_can_t_break_the_name(http: httpx2.Client, file_id: str) -> None:
    assert refused(http, training_file=file_id, suffix="a:b")["param"] == "suffix"


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"validation_file": None}, "validation_file", "needs a validation_file"),
        ({}, "classification_n_classes", "needs classification_n_classes"),
        (
            {"classification_n_classes": 3, "classification_positive_class": "1"},
            "classification_positive_class",
            "is for two classes, but classification_n_classes is 3",
        ),
        (
            {"classification_n_classes": 2, "classification_betas": [1]},
            "classification_betas",
            "Send classification_positive_class too",
        ),
        (
            {"classification_positive_class": "1", "classification_betas": [1, 1.0]},
            "classification_betas",
            "more than once",
        ),
        *(
            (
                {"compute_classification_metrics": False, name: value},
                name,
                f"{name} is only used with compute_classification_metrics",
            )
            for name, value in {
                "classification_n_classes": 2,
                "classification_positive_class": "1",
                "classification_betas": [1],
            }.items()
        ),
    ],
)
def test_what_is_asked_about_classes_must_go_together(
    http: httpx2.Client, file_id: str, fields: dict[str, Any], param: str, words: str
) -> None:
    asked = {
        "training_file": file_id,
        "validation_file": file_id,
        "compute_classification_metrics": True,
        **fields,
    }
    sent = {name: value for name, value in asked.items() if value is not None}
    error = refused(http, **sent)
    assert (error["param"], error["code"]) == (param, None)
    assert words in error["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"classification_n_classes": 2},
        {"classification_n_classes": 1000},
        {"classification_positive_class": "1"},
        {"classification_positive_class": "1", "classification_betas": [1000]},
        {"classification_n_classes": 2, "classification_positive_class": "1"},
    ],
)
def test_what_goes_together_is_taken_and_nothing_else_is_shown(
    http: httpx2.Client, file_id: str, fields: dict[str, Any]
) -> None:
    asked = {"compute_classification_metrics": True, **fields}
    ft = create(http, training_file=file_id, validation_file=file_id, **asked)
    shown = {name: v for name, v in ft["hyperparams"].items() if "classification" in name}
    assert shown == asked


# One at a time, and all of them


@pytest.mark.parametrize("id", ["ft-nowhere", "ftjob-nowhere", "nowhere"])
def test_a_fine_tune_that_is_not_there(http: httpx2.Client, id: str) -> None:
    for method, part in [("GET", ""), ("POST", "/cancel"), ("GET", "/events"), ("DELETE", "")]:
        answer = http.request(method, f"{FINE_TUNES}/{id}{part}")
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "message": f"Could not find fine tune: {id}",
            "type": "invalid_request_error",
            "param": "fine_tune_id",
            "code": "fine_tune_not_found",
        }


def test_statuses(api: LiveApi, http: httpx2.Client, file_id: str) -> None:
    def new() -> Any:
        return create(http, training_file=file_id)

    def status(ft: Any) -> str:
        shown = get(http, ft["id"])
        assert "error" not in shown
        return str(shown["status"])

    queued, running, failed, succeeded, cancelled = (new() for _ in range(5))
    assert status(queued) == "pending"
    histories.validated(api, job_id_of(queued))
    assert status(queued) == "pending"
    histories.started(api, job_id_of(running))
    assert status(running) == "running"
    histories.failed(api, job_id_of(failed), ErrorDetail("bad", "Line 1 is bad.", None))
    assert status(failed) == "failed"
    (model,) = histories.succeeded(api, job_id_of(succeeded), [IDS.adapter()])
    assert status(succeeded) == "succeeded"
    assert get(http, succeeded["id"])["fine_tuned_model"] == model.name
    http.post(f"{FINE_TUNES}/{cancelled['id']}/cancel")
    assert status(cancelled) == "cancelled"


@pytest.mark.parametrize("prefix", ["ft-", "ftjob-"])
def test_today_s_api_pauses_and_resumes_a_fine_tune_too(
    api: LiveApi, http: httpx2.Client, ft: Any, prefix: str
) -> None:
    """The first era knew no such status: to it, the job waits."""
    histories.started(api, job_id_of(ft))
    id = prefix + ft["id"].removeprefix("ft-")
    for action, status in (("pause", "pending"), ("resume", "pending")):
        assert http.post(f"{JOBS}/{id}/{action}").status_code == 200
        shown = get(http, ft["id"])
        assert shown["status"] == status
        assert f"Fine-tuning job {action}d" in [event["message"] for event in shown["events"]]


def test_every_status_of_a_job_has_one_here() -> None:
    assert STATUS.keys() == set(JobStatus)


def test_results_are_a_whole_file(api: LiveApi, http: httpx2.Client, ft: Any) -> None:
    histories.succeeded(api, job_id_of(ft), [IDS.adapter()])
    (result,) = get(http, ft["id"])["result_files"]
    assert (result["object"], result["purpose"]) == ("file", "fine-tune-results")
    assert http.get(f"/v1/files/{result['id']}").json() == result


def test_a_deleted_file_is_left_out(http: httpx2.Client, ft: Any) -> None:
    assert http.delete(f"/v1/files/{ft['training_files'][0]['id']}").status_code == 200
    assert get(http, ft["id"])["training_files"] == []
    listed = {item["id"]: item for item in http.get(FINE_TUNES).json()["data"]}
    assert listed[ft["id"]]["training_files"] == []


def test_the_list_is_oldest_first_of_both_eras_and_without_events(
    own: httpx2.Client,
) -> None:
    file_id = upload_by(own)
    ids = []
    for number in range(4):
        if number % 2:
            job = own.post(JOBS, json={"model": "tiny", "training_file": file_id}).json()
            ids.append("ft-" + job["id"].removeprefix("ftjob-"))
        else:
            ids.append(create(own, training_file=file_id)["id"])
    listed = own.get(FINE_TUNES).json()
    assert listed.keys() == {"object", "data"}
    assert listed["object"] == "list"
    assert [item["id"] for item in listed["data"]] == ids
    for item in listed["data"]:
        whole = get(own, item["id"])
        assert whole.pop("events")
        assert item == whole


def test_updated_at_is_the_time_of_the_newest_event_of_any_era(
    api: LiveApi, http: httpx2.Client
) -> None:
    """An event is written at the store's clock; so the job is made to be an hour old."""
    job = histories.new_job(api)
    hour_ago = job.created_at - timedelta(hours=1)
    for made in (job, histories.new_job(api)):
        old = type(made)(**{**vars(made), "created_at": hour_ago})
        api.store.jobs.create(old, [NewEvent("Created")])
    shown = get(http, job.id)
    assert shown["updated_at"] == shown["created_at"] == int(hour_ago.timestamp())
    histories.validated(api, job.id)
    shown = get(http, job.id)
    assert shown["updated_at"] >= int(job.created_at.timestamp())
    listed = {item["id"]: item for item in http.get(FINE_TUNES).json()["data"]}
    assert listed[shown["id"]]["updated_at"] == shown["updated_at"]


# Cancelling and deleting


@pytest.mark.parametrize("headers", [{}, {"content-type": "multipart/form-data"}])
def test_cancel_needs_no_body(http: httpx2.Client, ft: Any, headers: dict[str, str]) -> None:
    """The old library called whatever it sent JSON or a form, an empty body too."""
    answer = http.post(f"{FINE_TUNES}/{ft['id']}/cancel", headers=headers)
    assert answer.status_code == 200
    cancelled = answer.json()
    assert cancelled["status"] == "cancelled"
    assert [event["message"] for event in cancelled["events"]] == [
        f"Created fine-tune: {ft['id']}",
        "Fine-tune cancelled",
    ]
    assert cancelled == get(http, ft["id"])


@pytest.mark.parametrize("prefix", ["ft-", "ftjob-"])
@pytest.mark.parametrize("path", [FINE_TUNES, JOBS])
def test_a_job_that_has_ended_is_not_cancelled(
    api: LiveApi, http: httpx2.Client, ft: Any, path: str, prefix: str
) -> None:
    histories.succeeded(api, job_id_of(ft), [IDS.adapter()])
    id = prefix + ft["id"].removeprefix("ft-")
    answer = http.post(f"{path}/{id}/cancel")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        f'Cannot cancel a job {id} that already has status "succeeded".'
    )


@pytest.mark.parametrize("way", ["job", "fine-tune", "name", "models"])
def test_deleting_deletes_the_model(api: LiveApi, http: httpx2.Client, ft: Any, way: str) -> None:
    *_, model = histories.succeeded(api, job_id_of(ft), [IDS.adapter()])
    assert model.name.startswith("curie:ft-local-")
    paths = {
        "job": f"{FINE_TUNES}/{job_id_of(ft)}",
        "fine-tune": f"{FINE_TUNES}/{ft['id']}",
        "name": f"{FINE_TUNES}/{model.name}",
        "models": f"/v1/models/{model.name}",
    }
    assert http.get(paths["models"]).status_code == 200
    answer = http.delete(paths[way])
    assert answer.status_code == 200
    assert answer.json() == {"id": model.name, "object": "model", "deleted": True}
    assert http.get(paths["models"]).status_code == 404
    assert get(http, ft["id"])["fine_tuned_model"] == model.name, "the job stays, and remembers"
    again = http.delete(paths[way])
    assert again.status_code == 404
    assert again.json()["error"]["code"] == "model_not_found"


def test_a_job_without_a_model_says_what_to_do(http: httpx2.Client, ft: Any) -> None:
    def answer() -> Any:
        refused = http.delete(f"{FINE_TUNES}/{ft['id']}")
        assert refused.status_code == 400
        return refused.json()["error"]["message"]

    assert answer() == (
        f"The fine-tune {ft['id']} has no model to delete. Cancel it instead, or wait until it "
        "has succeeded."
    )
    http.post(f"{FINE_TUNES}/{ft['id']}/cancel")
    assert answer() == f"The fine-tune {ft['id']} has no model to delete. It made none."


# Two faces of one job


def test_a_fine_tune_is_a_job_of_today(api: LiveApi, http: httpx2.Client, ft: Any) -> None:
    histories.succeeded(api, job_id_of(ft), [IDS.adapter()])
    jobs = [http.get(f"{JOBS}/{id}").json() for id in (ft["id"], job_id_of(ft))]
    assert jobs[0] == jobs[1]
    assert jobs[0]["id"] == job_id_of(ft)
    assert jobs[0]["hyperparameters"] == {
        "n_epochs": 4,
        "batch_size": 1,
        "learning_rate_multiplier": pytest.approx(1.8),
    }
    assert jobs[0]["id"] in [job["id"] for job in http.get(JOBS).json()["data"]]
    for part in ("/events", "/checkpoints"):
        lists = [http.get(f"{JOBS}/{id}{part}").json() for id in (ft["id"], job_id_of(ft))]
        assert lists[0] == lists[1]
        assert lists[0]["data"]
    messages = [event["message"] for event in http.get(f"{JOBS}/{ft['id']}/events").json()["data"]]
    assert f"Created fine-tuning job: {job_id_of(ft)}" in messages
    assert not [message for message in messages if "ine-tune " in message]


def test_a_job_of_today_is_a_fine_tune(api: LiveApi, client: OpenAI, http: httpx2.Client) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=histories.upload(api))
    ft = get(http, job.id)
    assert ft == get(http, ft["id"])
    assert ft["id"] == "ft-" + job.id.removeprefix("ftjob-")
    assert ft["hyperparams"] == {
        "n_epochs": None,
        "batch_size": None,
        "prompt_loss_weight": 0.0,
        "learning_rate_multiplier": None,
    }
    assert [event["message"] for event in ft["events"]] == [f"Created fine-tune: {ft['id']}"]
    (model,) = histories.succeeded(api, job.id, [IDS.adapter()])
    assert get(http, job.id)["fine_tuned_model"] == model.name
    assert model.name.startswith("ft:tiny:local::")


@pytest.mark.parametrize("prefix", ["ft-", "ftjob-"])
@pytest.mark.parametrize("path", [FINE_TUNES, JOBS])
def test_both_apis_cancel_by_both_ids(http: httpx2.Client, ft: Any, path: str, prefix: str) -> None:
    answer = http.post(f"{path}/{prefix}{ft['id'].removeprefix('ft-')}/cancel")
    assert answer.json()["status"] == "cancelled"
    assert get(http, ft["id"])["status"] == "cancelled"


@pytest.mark.parametrize("prefix", ["ft-", "ftjob-"])
def test_today_s_list_goes_on_after_either_id(own: httpx2.Client, prefix: str) -> None:
    file_id = upload_by(own)
    older, newer = (create(own, training_file=file_id) for _ in range(2))
    after = prefix + newer["id"].removeprefix("ft-")
    (job,) = own.get(JOBS, params={"after": after}).json()["data"]
    assert job["id"] == job_id_of(older)


def test_the_old_library_s_questions_get_json(http: httpx2.Client, ft: Any) -> None:
    """It sends a content type also where there is no content."""
    headers = {"content-type": "application/json", "user-agent": "OpenAI/v1 PythonBindings/0.28.1"}
    assert http.get(f"{FINE_TUNES}/{ft['id']}", headers=headers).json() == ft
