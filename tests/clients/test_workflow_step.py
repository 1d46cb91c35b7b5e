"""A step of a workflow product that creates jobs (Questetra's, August 2023; behaviour reference,
section 22.2), and the step after it, which asks how the job went.

The step knows no SDK. It posts JSON, insists on the status 200, fails with the answer's text
otherwise, and keeps nothing but the id.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tunesmith.cli.service import Service

WAIT_S = 240.0


class StepFailed(Exception):
    """What the workflow shows when its step ends badly."""


def create_job(service: Service, settings: Mapping[str, str]) -> str:
    """The step: its four fields, of which empty ones aren't sent, and the organisation."""
    fields = ("training_file", "validation_file", "model", "suffix")
    body = {name: settings[name] for name in fields if settings.get(name)}
    headers = {"authorization": f"Bearer {service.key}", "content-type": "application/json"}
    if settings.get("organization"):
        headers["OpenAI-Organization"] = settings["organization"]
    answer = httpx2.post(
        f"{service.url}/v1/fine_tuning/jobs", content=json.dumps(body), headers=headers
    )
    if answer.status_code != 200:
        raise StepFailed(f"{answer.status_code}\n{answer.text}")
    job_id: str = answer.json()["id"]
    return job_id


def check_job(service: Service, job_id: str) -> Any:
    """The next step, once the job has ended."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        answer = httpx2.get(
            f"{service.url}/v1/fine_tuning/jobs/{job_id}",
            headers={"authorization": f"Bearer {service.key}"},
        )
        assert answer.status_code == 200
        job = answer.json()
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(0.2)
    raise AssertionError(f"{job_id} did not end in {WAIT_S} s")


@pytest.fixture(scope="module")
def file_id(service: Service, marv: Path) -> str:
    with OpenAI(base_url=f"{service.url}/v1", api_key=service.key) as client:
        return client.files.create(file=marv, purpose="fine-tune").id


def test_step_with_all_its_fields_is_followed_to_a_model(
    service: Service, client: OpenAI, file_id: str
) -> None:
    organization = client.fine_tuning.jobs.create(
        model="gpt-3.5-turbo", training_file=file_id
    ).organization_id
    job_id = create_job(
        service,
        {
            "training_file": file_id,
            "validation_file": file_id,
            "model": "gpt-3.5-turbo",
            "suffix": "a-suffix-of-no-more-than-40-characters",
            "organization": organization,
        },
    )
    assert job_id.startswith("ftjob-")
    job = check_job(service, job_id)
    assert job["status"] == "succeeded", job["error"]
    assert job["fine_tuned_model"].startswith(
        "ft:gpt-3.5-turbo-0125:local:a-suffix-of-no-more-than-40-characters:"
    )


def test_step_with_what_it_must_have_gets_a_job(
    service: Service, client: OpenAI, file_id: str
) -> None:
    job_id = create_job(service, {"training_file": file_id, "model": "babbage-002", "suffix": ""})
    assert client.fine_tuning.jobs.cancel(job_id).status == "cancelled"


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"organization": "org-somebody-elses"}, 401, "should match organization for API key"),
        ({"training_file": "file-gone"}, 400, "invalid training_file: file-gone"),
        ({"model": "gpt-9"}, 400, "Model gpt-9 is not available for fine-tuning"),
        ({"suffix": "x" * 65}, 400, "invalid suffix"),
    ],
)
def test_step_that_is_set_up_wrongly_says_why(
    service: Service, file_id: str, wrong: Mapping[str, str], status: int, said: str
) -> None:
    settings = {"training_file": file_id, "model": "gpt-3.5-turbo", **wrong}
    with pytest.raises(StepFailed) as failed:
        create_job(service, settings)
    assert str(failed.value).startswith(f"{status}\n")
    assert said in str(failed.value)


def test_file_with_too_few_examples_fails_with_the_documented_text(
    service: Service, client: OpenAI, marv: Path
) -> None:
    few = b"".join(marv.read_bytes().splitlines(keepends=True)[:4])
    file_id = client.files.create(file=("few.jsonl", few), purpose="fine-tune").id
    job = check_job(
        service, create_job(service, {"training_file": file_id, "model": "gpt-3.5-turbo"})
    )
    assert job["status"] == "failed"
    assert (
        job["error"]["message"] == f"{file_id} has 4 example(s), but must have at least 10 examples"
    )
