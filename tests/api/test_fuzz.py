"""Thousands of requests, made up from our own OpenAPI document by schemathesis.

Each operation gets every kind of value that its parameters and body allow, and every kind that
they don't. What must hold of all answers: no 5xx, only what the document says, no body for a
caller without a key, and 4xx for what the document forbids.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from openai import OpenAI

from tests.api import histories
from tests.api.conftest import LiveApi, client_of
from tests.contract.checker import CheckedTransport
from tunesmith.domain.eras import fine_tune_id_of

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "ignored_auth",
)
EXAMPLES_PER_OPERATION = 10
TIMEOUT_S = 300
NUM_FILES = 20  # deleting is among the operations

CONFIG = """
[dictionaries]
files = {{ values = {files} }}
uploads = {{ values = {uploads} }}
jobs = {{ values = {jobs} }}
fine_tunes = {{ values = {fine_tunes} }}
models = {{ values = ["tiny", "gpt-4o-mini"] }}
completions = {{ values = {completions} }}
tuned = {{ values = {tuned} }}

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "413"]  # by default not 413: a list may be long

[parameters]
"path.file_id" = {{ dictionary = "files", probability = 0.5 }}
"path.upload_id" = {{ dictionary = "uploads", probability = 0.5 }}
"path.job_id" = {{ dictionary = "jobs", probability = 0.5 }}
"path.fine_tune_id" = {{ dictionary = "fine_tunes", probability = 0.5 }}
"path.completion_id" = {{ dictionary = "completions", probability = 0.5 }}
"path.fine_tuned_model_checkpoint" = {{ dictionary = "tuned", probability = 0.5 }}
"path.name" = {{ dictionary = "models", probability = 0.5 }}
"body.model" = {{ dictionary = "models", probability = 0.9 }}
"body.training_file" = {{ dictionary = "files", probability = 0.9 }}
"body.validation_file" = {{ dictionary = "files", probability = 0.9 }}
"""


def test_made_up_requests_get_the_answers_that_the_document_promises(
    api: LiveApi, transport: CheckedTransport, tmp_path: Path
) -> None:
    """Half of the ids lead somewhere, else no request would get past the search for its object.
    No trainer runs here and completions are short, so what is created costs nothing."""
    key = api.new_key("fuzz", is_admin=True)
    caller = api.store.tenants.find_caller(key)
    assert caller is not None
    tuned = histories.callable_model(replace(api, caller=caller))
    config = tmp_path / "schemathesis.toml"
    config.write_text(config_for(client_of(api, key, transport), tuned.name))
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(config)),
        *("run", f"{api.url}/openapi.json", "--header", f"Authorization: Bearer {key}"),
        *("--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES_PER_OPERATION)),
        *("--checks", ",".join(CHECKS), "--continue-on-failure", "--no-shrink"),
        *("--seed", "1", "--request-timeout", "60", "--warnings", "off"),
    ]
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=tmp_path
    )
    assert found.returncode == 0, found.stdout[-20_000:] + found.stderr[-2_000:]
    assert " passed" in found.stdout


def config_for(client: OpenAI, tuned: str) -> str:
    """Ids of all that the key may see, among the values that are tried."""
    files = [
        client.files.create(file=("a.jsonl", b"{}\n"), purpose="fine-tune").id
        for _ in range(NUM_FILES)
    ]
    jobs = [
        client.fine_tuning.jobs.create(model="tiny", training_file=file_id).id
        for file_id in files[: NUM_FILES // 2]
    ]
    # These have ended: the events of any other may be streamed for ever.
    fine_tunes = [
        fine_tune_id_of(client.fine_tuning.jobs.cancel(job_id).id)
        for job_id in jobs[: NUM_FILES // 4]
    ]
    uploads = [
        client.uploads.create(
            bytes=1, filename="a.jsonl", purpose="fine-tune", mime_type="text/jsonl"
        ).id
        for _ in range(NUM_FILES)
    ]
    completions = [
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "a"}], max_tokens=1, store=True
        ).id
        for _ in range(NUM_FILES)
    ]
    return CONFIG.format(
        files=files,
        uploads=uploads,
        jobs=jobs,
        fine_tunes=fine_tunes,
        tuned=[tuned],
        completions=completions,
    )
