"""What the API reference shows with curl, typed into a shell: only the address is another one.

Each command is run as it stands; `$OPENAI_BASE_URL`, `$OPENAI_API_KEY` and the ids that earlier
commands gave are variables of the shell.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tunesmith.cli.service import Service

WAIT_S = 240.0

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@dataclass
class Shell:
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def text(self, command: str, *, flags: str = "--fail", **variables: str) -> str:
        """What the command prints. It must succeed, and curl must have got a 2xx."""
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command.replace("curl ", f"curl -sS {flags} ")],
            env={"PATH": "/usr/bin:/bin", **self.variables, **variables},
            cwd=self.folder,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
        return ran.stdout.decode()

    def json(self, command: str, **variables: str) -> Any:
        return json.loads(self.text(command, **variables))


@pytest.fixture(scope="module")
def shell(service: Service, marv: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    folder = tmp_path_factory.mktemp("shell")
    shutil.copy(marv, folder / "mydata.jsonl")
    return Shell(
        folder,
        {"OPENAI_BASE_URL": f"{service.url}/v1", "OPENAI_API_KEY": service.key},
    )


UPLOAD_FILE = """
curl $OPENAI_BASE_URL/files \
  -H "Authorization: Bearer $OPENAI_API_KEY" \
  -F purpose="fine-tune" \
  -F file="@mydata.jsonl"
"""
CREATE_JOB = """
curl $OPENAI_BASE_URL/fine_tuning/jobs \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $OPENAI_API_KEY" \
  -d '{"training_file": "'$FILE'", "model": "gpt-4o-mini"}'
"""
WITH_EPOCHS = """
curl $OPENAI_BASE_URL/fine_tuning/jobs \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $OPENAI_API_KEY" \
  -d '{
    "training_file": "'$FILE'",
    "model": "gpt-4o-mini",
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
  }'
"""
WITH_VALIDATION = """
curl $OPENAI_BASE_URL/fine_tuning/jobs \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $OPENAI_API_KEY" \
  -d '{"training_file": "'$FILE'", "validation_file": "'$FILE'", "model": "gpt-4o-mini"}'
"""
WITH_WANDB = """
curl $OPENAI_BASE_URL/fine_tuning/jobs \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $OPENAI_API_KEY" \
  -d '{
    "training_file": "'$FILE'",
    "validation_file": "'$FILE'",
    "model": "gpt-3.5-turbo",
    "integrations": [{
      "type": "wandb",
      "wandb": {"project": "my-project", "name": "run-name", "tags": ["first-experiment", "v2"]}
    }]
  }'
"""
JOB = 'curl $OPENAI_BASE_URL/fine_tuning/jobs/$JOB{} -H "Authorization: Bearer $OPENAI_API_KEY"'
CANCEL_JOB = 'curl -X POST $OPENAI_BASE_URL/fine_tuning/jobs/$JOB/cancel -u ":$OPENAI_API_KEY"'
CHAT = """
curl $OPENAI_BASE_URL/chat/completions \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $OPENAI_API_KEY" \
  -d '{
    "model": "'$MODEL'",
    "messages": [
      {"role": "developer", "content": "You are a helpful assistant."},
      {"role": "user", "content": "Hello!"}
    ],
    "max_tokens": 10,
    "stream": '$STREAM'
  }'
"""
CREATE_UPLOAD = """
curl $OPENAI_BASE_URL/uploads \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer $OPENAI_API_KEY" \\
  -d '{
    "purpose": "fine-tune",
    "filename": "mydata.jsonl",
    "bytes": '$BYTES',
    "mime_type": "text/jsonl",
    "expires_after": {"anchor": "created_at", "seconds": 3600}
  }'
"""
ADD_PART = """
curl $OPENAI_BASE_URL/uploads/$UPLOAD/parts \\
  -H "Authorization: Bearer $OPENAI_API_KEY" \\
  -F data="@mydata.jsonl"
"""
COMPLETE_UPLOAD = """
curl $OPENAI_BASE_URL/uploads/$UPLOAD/complete \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer $OPENAI_API_KEY" \\
  -d '{"part_ids": ["'$PART'"]}'
"""
CANCEL_UPLOAD = 'curl -X POST $OPENAI_BASE_URL/uploads/$UPLOAD/cancel -u ":$OPENAI_API_KEY"'
COMPLETION = """
curl $OPENAI_BASE_URL/completions \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer $OPENAI_API_KEY" \\
  -d '{"model": "'$MODEL'", "prompt": "Say this is a test", "max_tokens": 7, "temperature": 0}'
"""
# The first era's, as pages of the time print it.
CREATE_FINE_TUNE = """
curl $OPENAI_BASE_URL/fine-tunes \\
-H "Content-Type: application/json" \\
-H "Authorization: Bearer $OPENAI_API_KEY" \\
-d '{
"training_file": "'$FILE'"
}'
"""
FINE_TUNE = 'curl $OPENAI_BASE_URL/fine-tunes/$FT{} -H "Authorization: Bearer $OPENAI_API_KEY"'
CANCEL_FINE_TUNE = (
    'curl $OPENAI_BASE_URL/fine-tunes/$FT/cancel -X POST -H "Authorization: Bearer $OPENAI_API_KEY"'
)


def get(path: str) -> str:
    return f'curl "$OPENAI_BASE_URL/{path}" -H "Authorization: Bearer $OPENAI_API_KEY"'


@pytest.fixture(scope="module")
def file(shell: Shell) -> Any:
    return shell.json(UPLOAD_FILE)


@pytest.fixture(scope="module")
def job(shell: Shell, file: Mapping[str, Any]) -> Any:
    """A job that succeeded."""
    created = shell.json(WITH_EPOCHS, FILE=file["id"])
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        job = shell.json(JOB.format(""), JOB=created["id"])
        if job["status"] == "succeeded":
            return job
        assert job["status"] in ("validating_files", "queued", "running"), job["error"]
        time.sleep(0.3)
    raise AssertionError(f"{created['id']} did not succeed in {WAIT_S} s")


def test_files(shell: Shell, file: Mapping[str, Any]) -> None:
    assert (file["object"], file["filename"]) == ("file", "mydata.jsonl")
    assert shell.json(get(f"files/{file['id']}")) == file
    assert file in shell.json(get("files"))["data"]
    content = shell.text(get(f"files/{file['id']}/content") + " > back.jsonl; cat back.jsonl")
    assert content == (shell.folder / "mydata.jsonl").read_text()


def test_deleted_file(shell: Shell) -> None:
    file_id = shell.json(UPLOAD_FILE)["id"]
    deleted = shell.json(get(f"files/{file_id}").replace("curl ", "curl -X DELETE "))
    assert deleted == {"id": file_id, "object": "file", "deleted": True}


@pytest.mark.parametrize("command", [CREATE_JOB, WITH_EPOCHS, WITH_VALIDATION, WITH_WANDB])
def test_created_and_cancelled_jobs(shell: Shell, file: Mapping[str, Any], command: str) -> None:
    created = shell.json(command, FILE=file["id"])
    assert (created["object"], created["training_file"]) == ("fine_tuning.job", file["id"])
    if command is WITH_WANDB:
        assert created["integrations"][0]["wandb"]["tags"] == ["first-experiment", "v2"]
    assert shell.json(CANCEL_JOB, JOB=created["id"])["status"] == "cancelled"


def test_job_events_and_checkpoints(shell: Shell, job: Mapping[str, Any]) -> None:
    listed = shell.json(get("fine_tuning/jobs?limit=100"))
    assert job["id"] in [one["id"] for one in listed["data"]]
    events = shell.json(JOB.format("/events?limit=2"), JOB=job["id"])
    assert len(events["data"]) == 2
    assert events["has_more"]
    (last, first) = shell.json(JOB.format("/checkpoints"), JOB=job["id"])["data"]
    assert last["fine_tuned_model_checkpoint"] == job["fine_tuned_model"]
    assert first["fine_tuned_model_checkpoint"].endswith(":ckpt-step-60")


def test_fine_tunes(shell: Shell, file: Mapping[str, Any]) -> None:
    """The request of a page that names nothing but a training file, then whatever else one did."""
    created = shell.json(CREATE_FINE_TUNE, FILE=file["id"])
    assert (created["object"], created["model"]) == ("fine-tune", "curie")
    assert created["training_files"] == [file]
    assert (created["hyperparams"]["n_epochs"], created["status"]) == (4, "pending")
    assert created["events"][0]["message"] == f"Created fine-tune: {created['id']}"
    ft = created["id"]
    assert shell.json(CANCEL_FINE_TUNE, FT=ft)["status"] == "cancelled"
    assert shell.json(FINE_TUNE.format(""), FT=ft)["status"] == "cancelled"
    assert ft in [one["id"] for one in shell.json(get("fine-tunes"))["data"]]
    events = shell.json(FINE_TUNE.format("/events"), FT=ft)["data"]
    assert events[-1]["message"] == "Fine-tune cancelled"
    stream = shell.text(FINE_TUNE.format("/events?stream=true"), FT=ft)
    assert stream.endswith('"message":"Fine-tune cancelled"}\n\ndata: [DONE]\n\n')


def test_models(shell: Shell, job: Mapping[str, Any]) -> None:
    model = shell.json(get("models/$MODEL"), MODEL=job["fine_tuned_model"])
    assert model["object"] == "model"
    assert model in shell.json(get("models"))["data"]


def test_chat(shell: Shell, job: Mapping[str, Any]) -> None:
    answer = shell.json(CHAT, MODEL=job["fine_tuned_model"], STREAM="false")
    assert answer["choices"][0]["message"]["role"] == "assistant"
    stream = shell.text(CHAT, MODEL=job["fine_tuned_model"], STREAM="true")
    assert stream.startswith("data: {")
    assert stream.endswith("data: [DONE]\n\n")


def test_completion(shell: Shell, job: Mapping[str, Any]) -> None:
    answer = shell.json(COMPLETION, MODEL=job["fine_tuned_model"])
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["finish_reason"] in ("stop", "length")


def test_upload(shell: Shell) -> None:
    size = str((shell.folder / "mydata.jsonl").stat().st_size)
    upload_id = shell.json(CREATE_UPLOAD, BYTES=size)["id"]
    part_id = shell.json(ADD_PART, UPLOAD=upload_id)["id"]
    done = shell.json(COMPLETE_UPLOAD, UPLOAD=upload_id, PART=part_id)
    assert (done["status"], done["file"]["bytes"]) == ("completed", int(size))
    assert done["file"]["expires_at"] == done["file"]["created_at"] + 3600
    other_id = shell.json(CREATE_UPLOAD, BYTES=size)["id"]
    assert shell.json(CANCEL_UPLOAD, UPLOAD=other_id)["status"] == "cancelled"


def test_refused_request_still_shows_its_envelope(shell: Shell) -> None:
    said = json.loads(shell.text(get("files/file-nowhere"), flags=""))
    assert said["error"]["message"] == "No such File object: file-nowhere"
