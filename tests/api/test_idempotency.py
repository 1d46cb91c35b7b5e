"""`Idempotency-Key`: what a client sends twice is made once (`api/idempotency.py`)."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.api import histories
from tests.api.conftest import KEY, LiveApi, LiveEngine, client_of, live_api
from tests.contract.checker import CheckedTransport
from tests.server import listening, url_of

FILES, JOBS = "/v1/files", "/v1/fine_tuning/jobs"

# The API, as it would be if it were killed between a creation's commit and its answer.
DIE_UNANSWERED = """
import os, signal, sys
from tunesmith.cli.main import app
from tunesmith.store.files import Files

add = Files.add

def add_and_die(*arguments):
    add(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

Files.add = add_and_die
app()
"""


@contextmanager
def dying_api(data_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    environment = {**os.environ, "TUNESMITH_API_KEY": KEY}
    with closing(listening()) as listener:
        number = listener.fileno()
        words = ["api", "--data-dir", str(data_dir), "--fd", str(number)]
        process = subprocess.Popen(
            [sys.executable, "-c", DIE_UNANSWERED, *words], pass_fds=[number], env=environment
        )
        try:
            yield process, url_of(listener)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> dict[str, str]:
    """An idempotency key of the test's own, as headers."""
    return {"Idempotency-Key": request.node.name}


def files_of(client: OpenAI) -> list[str]:
    return [file.id for file in client.files.list()]


def test_a_retried_upload_gives_the_same_file(client: OpenAI, key: dict[str, str]) -> None:
    made = [
        client.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune", extra_headers=key)
        for _ in range(3)
    ]
    assert made[0] == made[1] == made[2]
    assert files_of(client).count(made[0].id) == 1


def test_a_retried_upload_leaves_no_bytes_behind(
    api: LiveApi, client: OpenAI, key: dict[str, str]
) -> None:
    upload: Any = {"file": ("a", b"{}"), "purpose": "fine-tune", "extra_headers": key}
    client.files.create(**upload)
    before = set(api.store.blobs.written_before(histories.now()))
    client.files.create(**upload)
    assert set(api.store.blobs.written_before(histories.now())) == before


@pytest.mark.parametrize(
    "change",
    [
        {"file": ("a", b"{ }")},
        {"file": ("b", b"{}")},
        {"purpose": "batch"},
        {"expires_after": {"anchor": "created_at", "seconds": 3600}},
    ],
    ids=str,
)
def test_another_upload_under_the_same_key_is_refused(
    client: OpenAI, key: dict[str, str], change: dict[str, Any]
) -> None:
    upload: Any = {"file": ("a", b"{}"), "purpose": "fine-tune", "extra_headers": key}
    client.files.create(**upload)
    before = files_of(client)
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(**(upload | change))
    assert caught.value.code == "idempotency_key_reused"
    assert "used for another request" in caught.value.message
    assert files_of(client) == before


def test_a_retried_job_gives_the_same_job_and_says_so(
    api: LiveApi, http: httpx2.Client, key: dict[str, str]
) -> None:
    """Also after its file is gone: the first answer stands."""
    file_id = histories.upload(api)
    body = {"model": "tiny", "training_file": file_id, "metadata": {"a": "b"}}
    first = http.post(JOBS, json=body, headers=key)
    assert "idempotent-replayed" not in first.headers
    http.delete(f"{FILES}/{file_id}")
    second = http.post(JOBS, json=body, headers=key)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.json() == first.json()
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    listed = [job["id"] for job in http.get(f"{JOBS}?limit=1000").json()["data"]]
    assert listed.count(first.json()["id"]) == 1


def test_the_same_body_on_another_route_is_another_request(
    api: LiveApi, http: httpx2.Client, key: dict[str, str]
) -> None:
    file_id = histories.upload(api)
    http.post(JOBS, json={"model": "tiny", "training_file": file_id}, headers=key)
    form: Any = {"data": {"purpose": "fine-tune"}, "files": {"file": ("a", b"{}")}}
    answer = http.post(FILES, **form, headers=key)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "idempotency_key_reused"


def test_another_order_of_the_same_json_is_the_same_request(
    api: LiveApi, http: httpx2.Client, key: dict[str, str]
) -> None:
    file_id = histories.upload(api)
    one = f'{{"model":"tiny","training_file":"{file_id}"}}'
    other = f'{{ "training_file": "{file_id}", "model": "tiny", "suffix": null }}'
    ids = [http.post(JOBS, content=body, headers=key).json()["id"] for body in (one, other)]
    assert ids[0] == ids[1]


def test_without_a_key_each_request_makes_its_own(client: OpenAI) -> None:
    made = {client.files.create(file=("a", b"a"), purpose="fine-tune").id for _ in range(3)}
    assert len(made) == 3


def test_requests_at_once_make_one_object(
    api: LiveApi, client: OpenAI, key: dict[str, str]
) -> None:
    """Large enough to be under way together."""
    file_id = histories.upload(api)

    def create_job(_: int) -> str:
        body: Any = {"model": "tiny", "training_file": file_id}
        return client.fine_tuning.jobs.create(**body, extra_headers=key).id

    def create_file(_: int) -> str:
        headers = {"Idempotency-Key": key["Idempotency-Key"] + " file"}
        upload: Any = {"file": ("a", b"a" * 300_000), "purpose": "fine-tune"}
        return client.files.create(**upload, extra_headers=headers).id

    before = set(files_of(client))
    with ThreadPoolExecutor(8) as pool:
        jobs = set(pool.map(create_job, range(8)))
        files = set(pool.map(create_file, range(8)))
    assert (len(jobs), len(files)) == (1, 1)
    assert set(files_of(client)) - before == files
    theirs = [job for job in client.fine_tuning.jobs.list(limit=100) if job.id in jobs]
    assert len(theirs) == 1


def test_retried_uploads_and_their_parts_give_the_same(client: OpenAI, key: dict[str, str]) -> None:
    """Also the part that fills the upload: there would be no room for it twice."""
    announced: Any = {"filename": "a", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    uploads = [client.uploads.create(**announced, bytes=5, extra_headers=key) for _ in range(2)]
    assert uploads[0] == uploads[1]
    parts = []
    for name, content in (("one", b"a"), ("one", b"a"), ("two", b"aaaa"), ("two", b"aaaa")):
        headers = {"Idempotency-Key": f"{key['Idempotency-Key']} {name}"}
        part = client.uploads.parts.create(uploads[0].id, data=content, extra_headers=headers)
        parts.append(part.id)
    assert parts == [parts[0], parts[0], parts[2], parts[2]]
    completed = client.uploads.complete(uploads[0].id, part_ids=[parts[0], parts[2]])
    assert completed.status == "completed"


def test_a_refused_request_may_be_corrected_under_its_key(
    api: LiveApi, http: httpx2.Client, key: dict[str, str]
) -> None:
    body = {"model": "tiny", "training_file": "file-none"}
    assert http.post(JOBS, json=body, headers=key).status_code == 400
    body["training_file"] = histories.upload(api)
    assert http.post(JOBS, json=body, headers=key).status_code == 200


def test_keys_are_the_project_s_own(
    api: LiveApi, client: OpenAI, transport: CheckedTransport, key: dict[str, str]
) -> None:
    """A stranger who guesses a key learns nothing by it."""
    stranger = client_of(api, api.new_key("elsewhere"), transport)
    neighbour = client_of(api, api.new_key("local", "other"), transport)
    upload: Any = {"file": ("a", b"{}"), "purpose": "fine-tune", "extra_headers": key}
    made = [one.files.create(**upload).id for one in (client, stranger, neighbour)]
    assert len(set(made)) == 3


@pytest.mark.parametrize("path", [FILES, JOBS])
@pytest.mark.parametrize(
    "headers",
    [
        [("Idempotency-Key", "")],
        [("Idempotency-Key", "k" * 256)],
        [("Idempotency-Key", "one"), ("Idempotency-Key", "two")],
    ],
    ids=["empty", "long", "two"],
)
def test_keys_that_can_not_be(
    http: httpx2.Client, path: str, headers: list[tuple[str, str]]
) -> None:
    answer = http.post(path, headers=headers)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"].startswith("Invalid 'Idempotency-Key' header: send one key of 1 to 255")
    assert error["param"] == "Idempotency-Key"


def test_the_longest_key_will_do(client: OpenAI) -> None:
    headers = {"Idempotency-Key": "k" * 255}
    upload: Any = {"file": ("a", b"{}"), "purpose": "fine-tune"}
    made = {client.files.create(**upload, extra_headers=headers).id for _ in range(2)}
    assert len(made) == 1


def test_a_creation_is_found_again_after_a_kill_before_its_answer(
    tmp_path: Path, base_folder: Path, engine: LiveEngine, key: dict[str, str]
) -> None:
    upload: Any = {
        "data": {"purpose": "fine-tune"},
        "files": {"file": ("a", b"{}")},
        "headers": {"Authorization": f"Bearer {KEY}", **key},
    }
    with dying_api(tmp_path) as (process, url):
        with pytest.raises(httpx2.TransportError):
            httpx2.post(f"{url}{FILES}", **upload, timeout=60)
        assert process.wait(60) == -signal.SIGKILL
    with live_api(base_folder, tmp_path, engine.url) as api:
        (file,) = api.store.files.page(api.caller.scope, limit=10).items
        answer = httpx2.post(f"{api.url}{FILES}", **upload)
        assert answer.json()["id"] == file.id
        assert api.store.files.page(api.caller.scope, limit=10).items == (file,)
