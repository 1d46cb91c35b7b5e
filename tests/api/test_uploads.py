"""Uploads in parts, through the official SDK (behaviour reference, section 3)."""

import hashlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI
from openai.types import Upload

from tests.api.conftest import LIMITS, LiveApi, blob_names
from tunesmith.domain.uploads import MIME_TYPES

CONTENT = random.Random(3).randbytes(100_000)
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
CUTS = [CONTENT[:10], CONTENT[10:70_000], CONTENT[70_000:]]


def create(client: OpenAI, size_bytes: int = len(CONTENT), **changes: Any) -> Upload:
    asked: dict[str, Any] = {
        "filename": "train.jsonl",
        "purpose": "fine-tune",
        "bytes": size_bytes,
        "mime_type": "text/jsonl",
    }
    return client.uploads.create(**asked | changes)


def add_parts(client: OpenAI, upload: Upload) -> list[str]:
    return [client.uploads.parts.create(upload.id, data=cut).id for cut in CUTS]


def refusal(call: Callable[[], object]) -> Any:
    """The body of the 400 that `call` runs into."""
    with pytest.raises(openai.BadRequestError) as caught:
        call()
    return caught.value.body


def test_parts_become_a_file_that_can_be_trained_on(client: OpenAI) -> None:
    upload = create(client)
    assert upload.id.startswith("upload_")
    assert (upload.status, upload.bytes, upload.file) == ("pending", len(CONTENT), None)
    assert (upload.filename, upload.purpose) == ("train.jsonl", "fine-tune")
    assert upload.created_at == pytest.approx(time.time(), abs=5)
    assert upload.expires_at == upload.created_at + 3600

    part = client.uploads.parts.create(upload.id, data=CONTENT)
    assert part.id.startswith("part_")
    assert (part.object, part.upload_id) == ("upload.part", upload.id)

    completed = client.uploads.complete(upload.id, part_ids=[part.id], md5=MD5)
    assert (completed.id, completed.status) == (upload.id, "completed")
    assert completed.file
    assert (completed.file.bytes, completed.file.filename) == (len(CONTENT), "train.jsonl")
    assert client.files.retrieve(completed.file.id) == completed.file
    assert client.files.content(completed.file.id).content == CONTENT
    job = client.fine_tuning.jobs.create(model="tiny", training_file=completed.file.id)
    assert job.training_file == completed.file.id
    client.fine_tuning.jobs.cancel(job.id)


def test_sdk_uploads_a_path_and_bytes_in_chunks(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(CONTENT)
    from_path = client.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="fine-tune", part_size=30_000, md5=MD5
    )
    from_memory = client.uploads.upload_file_chunked(
        file=CONTENT,
        filename="notes.jsonl",
        bytes=len(CONTENT),
        mime_type="application/octet-stream",
        purpose="fine-tune",
        part_size=99_999,
        md5=MD5.upper(),
    )
    for upload in (from_path, from_memory):
        assert upload.file
        assert upload.file.filename == "notes.jsonl"
        assert client.files.content(upload.file.id).content == CONTENT


def test_parts_come_at_once_and_in_any_order(client: OpenAI) -> None:
    """The order of the ids is the order of the bytes, whatever came first."""
    cuts = [CONTENT[start : start + 5000] for start in range(0, len(CONTENT), 5000)]
    upload = create(client)
    sent = list(range(len(cuts)))
    random.Random(1).shuffle(sent)
    with ThreadPoolExecutor(8) as threads:
        parts = threads.map(lambda n: client.uploads.parts.create(upload.id, data=cuts[n]), sent)
        id_of = dict(zip(sent, [part.id for part in parts], strict=True))
    completed = client.uploads.complete(
        upload.id, part_ids=[id_of[n] for n in range(len(cuts))], md5=MD5
    )
    assert completed.file
    assert client.files.content(completed.file.id).content == CONTENT


def test_an_empty_file_needs_no_parts(client: OpenAI) -> None:
    completed = client.uploads.complete(create(client, 0).id, part_ids=[])
    assert completed.file
    assert client.files.content(completed.file.id).content == b""


def test_completing_again_gives_the_same_answer(client: OpenAI) -> None:
    """What an SDK does that didn't hear the first one."""
    upload = create(client)
    part_ids = add_parts(client, upload)
    first = client.uploads.complete(upload.id, part_ids=part_ids)
    assert client.uploads.complete(upload.id, part_ids=part_ids) == first
    assert client.uploads.complete(upload.id, part_ids=part_ids, md5=MD5) == first
    other_order = refusal(lambda: client.uploads.complete(upload.id, part_ids=part_ids[::-1]))
    assert 'already has status "completed"' in other_order["message"]
    other_md5 = refusal(lambda: client.uploads.complete(upload.id, part_ids=part_ids, md5="0" * 32))
    assert 'already has status "completed"' in other_md5["message"]
    assert first.file
    client.files.delete(first.file.id)
    assert client.uploads.complete(upload.id, part_ids=part_ids).file is None


def test_a_refused_completion_changes_nothing(client: OpenAI) -> None:
    upload = create(client)
    part_ids = add_parts(client, upload)
    spare = client.uploads.parts.create(upload.id, data=CUTS[0]).id
    elsewhere = client.uploads.parts.create(create(client).id, data=CONTENT).id

    def complete(ids: list[str], md5: str = MD5) -> Any:
        return refusal(lambda: client.uploads.complete(upload.id, part_ids=ids, md5=md5))

    assert "twice" in complete([*part_ids, part_ids[0]])["message"]
    assert f"has no part {elsewhere}" in complete([elsewhere])["message"]
    assert "has no part part_none" in complete([*part_ids, "part_none"])["message"]
    too_few = complete(part_ids[:2])
    assert "hold 70000 bytes, the upload was created for 100000" in too_few["message"]
    assert too_few["param"] == "part_ids"
    assert "hold 100010 bytes" in complete([*part_ids, spare])["message"]
    assert "hold 0 bytes" in complete([])["message"]
    wrong_order = complete([part_ids[1], part_ids[0], part_ids[2]])
    assert f"not {MD5}" in wrong_order["message"]
    assert wrong_order["param"] == "md5"
    assert "32 hexadecimal digits" in complete(part_ids, "d41d8cd9")["message"]

    completed = client.uploads.complete(upload.id, part_ids=part_ids, md5=MD5)
    assert completed.file
    assert client.files.content(completed.file.id).content == CONTENT


def test_a_cancelled_upload_takes_no_parts_and_no_completion(client: OpenAI) -> None:
    upload = create(client)
    part_ids = add_parts(client, upload)
    cancelled = client.uploads.cancel(upload.id)
    assert (cancelled.id, cancelled.status, cancelled.file) == (upload.id, "cancelled", None)
    assert client.uploads.cancel(upload.id) == cancelled, "for a client that didn't hear the first"
    for call in (
        lambda: client.uploads.parts.create(upload.id, data=b"x"),
        lambda: client.uploads.complete(upload.id, part_ids=part_ids),
    ):
        assert 'already has status "cancelled"' in refusal(call)["message"]


def test_a_completed_upload_takes_no_parts_and_no_cancel(client: OpenAI) -> None:
    upload = create(client)
    client.uploads.complete(upload.id, part_ids=add_parts(client, upload))
    for call in (
        lambda: client.uploads.parts.create(upload.id, data=b"x"),
        lambda: client.uploads.cancel(upload.id),
    ):
        assert 'already has status "completed"' in refusal(call)["message"]


def test_uploads_of_another_project_do_not_exist(
    client: OpenAI, stranger: OpenAI, api: LiveApi, http: httpx2.Client
) -> None:
    upload = create(client)
    part_ids = add_parts(client, upload)
    for call in (
        lambda: stranger.uploads.parts.create(upload.id, data=b"x"),
        lambda: stranger.uploads.complete(upload.id, part_ids=part_ids),
        lambda: stranger.uploads.cancel(upload.id),
        lambda: client.uploads.cancel("upload_none"),
        lambda: client.uploads.complete("upload_none", part_ids=[]),
        lambda: client.uploads.parts.create("upload_none", data=b"x"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.body["message"].startswith("No such Upload object: upload_")  # type: ignore[index]
        assert caught.value.body["param"] == "id"  # type: ignore[index]
    other_project = {"authorization": f"Bearer {api.new_key('local', 'another')}"}
    answer = http.post(f"/v1/uploads/{upload.id}/cancel", headers=other_project)
    assert answer.status_code == 404
    assert client.uploads.complete(upload.id, part_ids=part_ids).file


def test_a_part_of_another_tenants_upload_can_not_be_used(client: OpenAI, stranger: OpenAI) -> None:
    secret = create(client)
    part_ids = add_parts(client, secret)
    theirs = create(stranger)
    said = refusal(lambda: stranger.uploads.complete(theirs.id, part_ids=part_ids))
    assert f"has no part {part_ids[0]}" in said["message"]


@pytest.mark.parametrize(
    ("changes", "message", "param", "code"),
    [
        ({"bytes": -1}, "below minimum value", "bytes", "integer_below_min_value"),
        (
            {"bytes": LIMITS.max_upload_total_bytes + 1},
            f"Expected a value <= {LIMITS.max_upload_total_bytes}, but got",
            "bytes",
            "integer_above_max_value",
        ),
        ({"bytes": 2**70}, "above maximum value", "bytes", "integer_above_max_value"),
        ({"bytes": "10"}, "expected an integer", "bytes", "invalid_type"),
        ({"filename": ""}, "minimum length 1, but got an empty string", "filename", "empty_string"),
        (
            {"filename": "a" * 513},
            "maximum length 512, but got a string with length 513",
            "filename",
            "string_above_max_length",
        ),
        ({"filename": "a\0b"}, "contains the character NUL", "filename", "invalid_value"),
        ({"purpose": "fine-tune-results"}, "Supported values are", "purpose", "invalid_value"),
        (
            {"mime_type": "image/png"},
            "Supported values are: text/jsonl,",
            "mime_type",
            "invalid_value",
        ),
        (
            {"mime_type": "jsonl"},
            "doesn't suit the purpose 'fine-tune'",
            "mime_type",
            "invalid_value",
        ),
        (
            {"purpose": "vision", "mime_type": "application/pdf"},
            "Supported values are: image/png,",
            "mime_type",
            "invalid_value",
        ),
        (
            {"purpose": "assistants", "mime_type": "pdf"},
            "doesn't suit the purpose 'assistants'",
            "mime_type",
            "invalid_value",
        ),
        (
            {"expires_after": {"anchor": "created_at", "seconds": 3599}},
            "Expected a value >= 3600, but got 3599",
            "expires_after.seconds",
            "integer_below_min_value",
        ),
        (
            {"expires_after": {"anchor": "last_active_at", "seconds": 3600}},
            "Supported values are: 'created_at'",
            "expires_after.anchor",
            "invalid_value",
        ),
        ({"extra_body": {"md5": MD5}}, "Unknown parameter: 'md5'.", "md5", "unknown_parameter"),
    ],
)
def test_what_can_not_become_a_file_is_refused_at_once(
    client: OpenAI, changes: dict[str, Any], message: str, param: str, code: str | None
) -> None:
    said = refusal(lambda: create(client, **changes))
    assert message in said["message"]
    assert (said["param"], said["code"]) == (param, code)


def test_half_a_character_is_no_filename(http: httpx2.Client) -> None:
    answer = http.post(
        "/v1/uploads",
        content=rb'{"filename":"a\ud800","purpose":"fine-tune","bytes":1,"mime_type":"text/jsonl"}',
    )
    assert answer.status_code == 400


def test_every_purpose_takes_its_types(client: OpenAI) -> None:
    for purpose, types in MIME_TYPES.items():
        for mime_type in types:
            concrete = mime_type.replace("*", "x").upper() + "; charset=utf-8"
            upload = create(client, purpose=purpose.value, mime_type=concrete)
            assert upload.purpose == purpose.value


def test_the_file_of_an_upload_can_be_given_an_end(client: OpenAI) -> None:
    upload = create(client, 0, expires_after={"anchor": "created_at", "seconds": 7200})
    file = client.uploads.complete(upload.id, part_ids=[]).file
    assert file
    assert file.expires_at == file.created_at + 7200
    batch = client.uploads.complete(create(client, 0, purpose="batch").id, part_ids=[]).file
    assert batch
    assert batch.expires_at == batch.created_at + 30 * 24 * 3600


def test_a_part_may_be_as_large_as_the_limit_and_no_larger(client: OpenAI) -> None:
    largest = LIMITS.max_upload_part_bytes
    upload = create(client, largest)
    part = client.uploads.parts.create(upload.id, data=bytes(largest))
    with pytest.raises(openai.APIStatusError) as caught:
        client.uploads.parts.create(upload.id, data=bytes(largest + 1))
    assert caught.value.status_code == 413
    assert str(largest) in str(caught.value)
    completed = client.uploads.complete(upload.id, part_ids=[part.id])
    assert completed.file
    assert completed.file.bytes == largest


def test_an_upload_holds_its_size_twice_and_a_part_but_not_more(client: OpenAI) -> None:
    """Parts that were sent again leave others behind; nobody may fill the disk with them."""
    upload = create(client, 10)
    ids = [client.uploads.parts.create(upload.id, data=b"0123456789").id for _ in range(2)]
    client.uploads.parts.create(upload.id, data=bytes(LIMITS.max_upload_part_bytes))
    said = refusal(lambda: client.uploads.parts.create(upload.id, data=b"x"))
    assert "It may hold 10000 parts and 200020 bytes" in said["message"]
    assert client.uploads.complete(upload.id, part_ids=ids[1:]).file


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "'data' is a required property"),
        (["file"], "Additional properties are not allowed ('file' was unexpected)"),
        (["data", "note"], "Additional properties are not allowed ('note' was unexpected)"),
        (["data", "data"], "The form has the field 'data' more than once."),
    ],
)
def test_a_part_is_a_form_with_one_file(
    client: OpenAI, http: httpx2.Client, api: LiveApi, names: list[str], message: str
) -> None:
    upload = create(client)
    parts = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nabc\r\n' for name in names
    )
    before = list(blob_names(api))
    answer = http.post(
        f"/v1/uploads/{upload.id}/parts",
        content=f"{parts}--x--\r\n",
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == message
    assert list(blob_names(api)) == before


def test_a_body_that_is_no_form_is_refused(client: OpenAI, http: httpx2.Client) -> None:
    answer = http.post(f"/v1/uploads/{create(client).id}/parts", content=b"abc")
    assert answer.status_code == 400
    assert "multipart/form-data" in answer.json()["error"]["message"]


def test_a_refused_large_part_is_answered_not_hung_up_on(client: OpenAI) -> None:
    """The answer comes before the bytes were read; it must arrive nevertheless."""
    upload = create(client)
    client.uploads.cancel(upload.id)
    for _ in range(5):
        said = refusal(lambda: client.uploads.parts.create(upload.id, data=bytes(190_000)))
        assert 'already has status "cancelled"' in said["message"]


def test_of_many_completions_at_once_all_get_the_one_file(client: OpenAI, api: LiveApi) -> None:
    upload = create(client)
    part_ids = add_parts(client, upload)
    num_files = len(client.files.list(purpose="fine-tune").data)
    with ThreadPoolExecutor(6) as threads:
        start = Barrier(6)

        def complete(_: int) -> Upload:
            start.wait()
            return client.uploads.complete(upload.id, part_ids=part_ids, md5=MD5)

        completed = list(threads.map(complete, range(6)))
    assert all(one == completed[0] for one in completed)
    assert len(client.files.list(purpose="fine-tune").data) == num_files + 1
    assert completed[0].file
    assert client.files.content(completed[0].file.id).content == CONTENT
    assert not set(part_ids) & set(blob_names(api))


@pytest.mark.parametrize("_attempt", range(6))
def test_of_completion_and_cancel_at_once_one_wins(
    client: OpenAI, api: LiveApi, _attempt: int
) -> None:
    """Whichever it is, the other one is told, and no part stays behind."""
    upload = create(client)
    part_ids = add_parts(client, upload)
    start = Barrier(2)

    def outcome(end: Callable[[], Upload]) -> str:
        start.wait()
        try:
            return end().status
        except openai.BadRequestError as refused:
            return refused.message

    with ThreadPoolExecutor(2) as threads:
        completing = threads.submit(
            outcome, lambda: client.uploads.complete(upload.id, part_ids=part_ids)
        )
        cancelling = threads.submit(outcome, lambda: client.uploads.cancel(upload.id))
    completed, cancelled = completing.result(), cancelling.result()
    assert (completed == "completed") != (cancelled == "cancelled")
    assert 'already has status "' in completed + cancelled
    assert not set(part_ids) & set(blob_names(api))
