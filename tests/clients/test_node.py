"""The guide's way with the official Node SDK, which is installed once for an environment."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.node_sdk import printed, sdk_folder
from tunesmith.cli.service import Service


@pytest.fixture(scope="module")
def sdk() -> Path:
    return sdk_folder("openai@7", "node-clients")


@pytest.fixture(scope="module")
def project_id(service: Service) -> str:
    """A second project of the service's organisation."""
    command = ["projects", "create", "friends", "--org", "local"]
    made = subprocess.run(
        [sys.executable, "-m", "tunesmith", *command, "--data-dir", str(service.data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return made.stdout.strip()


@pytest.fixture(scope="module")
def seen(sdk: Path, service: Service, project_id: str, marv: Path) -> Any:
    """What the script saw; it runs once for all tests here."""
    return printed(sdk, "guide.mjs", service, str(marv), project_id)


def test_files_from_disk_and_from_memory_arrive_whole(seen: Any, marv: Path) -> None:
    from_disk, from_memory = seen["files"]
    assert (from_disk["filename"], from_memory["filename"]) == ("marv.jsonl", "input.jsonl")
    assert from_disk["bytes"] == from_memory["bytes"] == marv.stat().st_size
    assert seen["deleted"] == {"id": from_memory["id"], "object": "file", "deleted": True}


def test_the_job_ends_with_a_model_of_the_promised_name(seen: Any) -> None:
    assert seen["job"]["status"] == "succeeded", seen["job"]["error"]
    name = seen["job"]["fine_tuned_model"]
    assert name.startswith("ft:gpt-4o-mini-2024-07-18:local:custom_suffix:")
    assert seen["checkpoints"] == [name]


def test_lists_are_paged_to_their_end(seen: Any) -> None:
    """In pages of seven and of two; each item once, newest first."""
    num_steps = seen["job"]["hyperparameters"]["n_epochs"] * 60
    assert len(seen["events"]) == num_steps + 6
    assert seen["events"][0] == "The job has successfully completed"
    assert seen["events"][-1] == f"Created fine-tuning job: {seen['job']['id']}"
    assert seen["jobs"][0] == seen["job"]["id"]
    assert len(seen["jobs"]) == len(set(seen["jobs"]))


def test_the_model_answers_whole_and_streamed_alike(seen: Any) -> None:
    assert seen["message"]["role"] == "assistant"
    assert seen["message"]["content"]
    assert seen["streamed"] == seen["message"]["content"]


def test_the_model_is_lent_to_a_project_and_taken_back(seen: Any, project_id: str) -> None:
    (permission,) = seen["granted"]
    assert permission["project_id"] == project_id
    assert seen["listed"] == [permission]
    assert seen["withdrawn"] == {
        "id": permission["id"],
        "object": "checkpoint.permission",
        "deleted": True,
    }


def test_a_refusal_becomes_the_sdks_exception(seen: Any) -> None:
    assert (seen["refusal"]["kind"], seen["refusal"]["status"]) == ("BadRequestError", 400)
    assert 'already has status "succeeded"' in seen["refusal"]["message"]
