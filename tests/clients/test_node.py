"""The guide's way with the official Node SDK, which is installed once for an environment."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tunesmith.cli.service import Service

PACKAGE = "openai@7"
SCRIPT = Path(__file__).parent / "node" / "guide.mjs"
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def sdk_folder() -> Path:
    """A folder from which scripts find the SDK: beside the Python environment, like it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node.js and npm, which aren't installed")
    folder = Path(sys.prefix) / "node-clients"
    if not (folder / "node_modules" / "openai" / "package.json").is_file():
        folder.mkdir(exist_ok=True)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        installed = subprocess.run(
            [*command, "--prefix", str(folder), PACKAGE],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if installed.returncode != 0:
            pytest.skip(f"npm could not install {PACKAGE}: {installed.stderr[-300:]}")
    return folder


@pytest.fixture(scope="module")
def seen(sdk_folder: Path, service: Service, marv: Path) -> Any:
    """What the script saw; it runs once for all tests here."""
    script = shutil.copy(SCRIPT, sdk_folder)  # modules are looked for from the script's folder
    ran = subprocess.run(
        ["node", script, str(marv)],
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin:" + str(Path(shutil.which("node") or "").parent),
            "OPENAI_API_KEY": service.key,
            "OPENAI_BASE_URL": f"{service.url}/v1",
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


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


def test_a_refusal_becomes_the_sdks_exception(seen: Any) -> None:
    assert (seen["refusal"]["kind"], seen["refusal"]["status"]) == ("BadRequestError", 400)
    assert 'already has status "succeeded"' in seen["refusal"]["message"]
