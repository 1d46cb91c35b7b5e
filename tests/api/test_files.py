"""Files through the official SDK (behaviour reference, section 2)."""

import email.message
import re
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import unquote

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.api.conftest import KEY, LIMITS, LiveApi, blob_names

CONTENT = b'{"messages": []}\n' * 3


def test_an_uploaded_file_is_processed_at_once_and_comes_back_byte_for_byte(
    client: OpenAI,
) -> None:
    file = client.files.create(file=("train.jsonl", CONTENT), purpose="fine-tune")
    assert file.id.startswith("file-")
    assert (file.filename, file.purpose, file.bytes) == ("train.jsonl", "fine-tune", len(CONTENT))
    assert file.status == "processed"
    assert "expires_at" not in file.to_dict()
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).content == CONTENT
    assert client.files.wait_for_processing(file.id).id == file.id


def test_content_is_not_judged_at_upload(client: OpenAI) -> None:
    file = client.files.create(file=("notes.txt", b"\x00\xff no JSON"), purpose="fine-tune")
    assert client.files.content(file.id).content == b"\x00\xff no JSON"


def test_an_empty_file_is_kept(client: OpenAI) -> None:
    file = client.files.create(file=("empty.jsonl", b""), purpose="fine-tune")
    assert file.bytes == 0
    assert client.files.content(file.id).content == b""


def test_a_file_can_be_given_an_end(client: OpenAI) -> None:
    file = client.files.create(
        file=("a.jsonl", CONTENT),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert file.expires_at == file.created_at + 3600
    assert file.created_at == pytest.approx(time.time(), abs=5)


def test_batch_files_end_after_thirty_days(client: OpenAI) -> None:
    file = client.files.create(file=("a.jsonl", CONTENT), purpose="batch")
    assert file.expires_at == file.created_at + 30 * 24 * 3600


def test_the_parts_of_a_form_may_come_in_any_order(http: httpx2.Client) -> None:
    for order in (("file", "purpose", "expires"), ("expires", "purpose", "file")):
        answer = http.post("/v1/files", **form(*order))
        assert answer.json()["bytes"] == len(CONTENT)
        assert answer.json()["expires_at"] == answer.json()["created_at"] + 7200


def test_a_file_without_a_name_is_called_file(http: httpx2.Client) -> None:
    """What the 0.28 client sends: no name that means anything, and a part `model` besides."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nada\r\n'
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\nabc\r\n--x--\r\n"
    )
    answer = http.post(
        "/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 200
    assert (answer.json()["filename"], answer.json()["bytes"]) == ("file", 3)


def test_deleting_a_file_takes_it_from_every_answer(client: OpenAI) -> None:
    file = client.files.create(file=("a.jsonl", CONTENT), purpose="fine-tune")
    deleted = client.files.delete(file.id)
    assert (deleted.id, deleted.deleted) == (file.id, True)
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(file.id)
        assert caught.value.body == {
            "message": f"No such File object: {file.id}",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        }


def test_files_of_another_organization_do_not_exist(client: OpenAI, stranger: OpenAI) -> None:
    file = client.files.create(file=("secret.jsonl", CONTENT), purpose="fine-tune")
    for ask in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
        with pytest.raises(openai.NotFoundError):
            ask(file.id)
    assert file.id not in [item.id for item in stranger.files.list()]
    assert client.files.retrieve(file.id) == file


def test_lists_are_paged_newest_first(client: OpenAI) -> None:
    made = [client.files.create(file=(f"{n}.jsonl", b""), purpose="vision").id for n in range(5)]
    page = client.files.list(purpose="vision", limit=2)
    assert [item.id for item in page.data] == made[:2:-1]
    assert page.has_more
    assert page.to_dict()["first_id"] == made[4]
    assert page.to_dict()["last_id"] == made[3]
    assert [item.id for item in client.files.list(purpose="vision", limit=2)] == made[::-1]
    oldest_first = client.files.list(purpose="vision", order="asc", after=made[1], limit=2)
    assert [item.id for item in oldest_first.data] == made[2:4]


def test_an_empty_list_has_no_first_and_no_last(client: OpenAI) -> None:
    page = client.files.list(purpose="assistants_output")
    assert page.to_dict() == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("train.jsonl", 'attachment; filename="train.jsonl"'),
        ("../../etc/passwd", 'attachment; filename="../../etc/passwd"'),
        (
            "größe;日本.jsonl",
            'attachment; filename="gr__e;__.jsonl"; '
            "filename*=UTF-8''gr%C3%B6%C3%9Fe%3B%E6%97%A5%E6%9C%AC.jsonl",
        ),
    ],
)
def test_downloads_carry_the_filename_safely(client: OpenAI, filename: str, header: str) -> None:
    file = client.files.create(file=(filename, CONTENT), purpose="fine-tune")
    assert file.filename == filename
    answer = client.files.content(file.id).response
    assert answer.headers["content-disposition"] == header
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(CONTENT))


def test_a_name_with_line_breaks_can_not_add_headers(http: httpx2.Client) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a\tb\\"c"\r\n\r\nabc\r\n'
        b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--x--\r\n'
    )
    made = http.post(
        "/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=x"}
    )
    answer = http.get(f"/v1/files/{made.json()['id']}/content")
    assert made.json()["filename"] == 'a\tb"c'
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"a_b_c\"; filename*=UTF-8''a%09b%22c"
    )


def test_a_file_may_be_as_large_as_the_limit_and_no_larger(client: OpenAI) -> None:
    largest = b"x" * LIMITS.max_upload_bytes
    file = client.files.create(file=("a.jsonl", largest), purpose="fine-tune")
    assert file.bytes == LIMITS.max_upload_bytes
    assert client.files.content(file.id).content == largest
    with pytest.raises(openai.APIStatusError) as caught:
        client.files.create(file=("a.jsonl", largest + b"x"), purpose="fine-tune")
    assert caught.value.status_code == 413
    with pytest.raises(openai.APIStatusError) as caught:
        client.files.create(file=("a.jsonl", largest * 4), purpose="fine-tune")
    assert caught.value.status_code == 413


ODD_NAMES = [
    "../../etc/passwd",
    "C:\\Users\\me\\train.jsonl",
    'say "hi".jsonl',
    "back\\slash",
    "\u202egnp.exe",  # shown from right to left
    "\N{PARTY POPPER}" * 512,
    "x" * 512,
    "%0A%00",
    ".",
    "two words.jsonl",
    "a;b=c; filename=d",
    "line\nbreak\r\n\ttab\x1b[31m",
    "\ufeff\u2028",
]


@pytest.mark.parametrize("filename", ODD_NAMES)
def test_odd_names_are_kept_and_given_back(client: OpenAI, api: LiveApi, filename: str) -> None:
    """In JSON as they are, which says more than a form's header can; never a path on the disk."""
    before = set(blob_names(api))
    upload = client.uploads.create(
        filename=filename, purpose="fine-tune", bytes=0, mime_type="text/jsonl"
    )
    assert upload.filename == filename
    file = client.uploads.complete(upload.id, part_ids=[]).file
    assert file
    assert client.files.retrieve(file.id).filename == filename
    assert set(blob_names(api)) - before == {file.id}
    header = client.files.content(file.id).response.headers["content-disposition"]
    assert header.isascii()
    assert header.isprintable()
    assert given_name(header) == filename


def given_name(disposition: str) -> str:
    """What a client reads in the header, by the standard library."""
    message = email.message.EmailMessage()
    message["Content-Disposition"] = disposition
    encoded = re.fullmatch(r"attachment; filename=\".*\"; filename\*=UTF-8''(.*)", disposition)
    if encoded:
        return unquote(encoded[1], errors="strict")
    return str(message.get_filename())


@pytest.mark.parametrize("filename", ["x" * 513, "x" * 10_000, "a\0b"])
def test_names_that_can_not_be_kept_are_refused(
    http: httpx2.Client, api: LiveApi, filename: str
) -> None:
    before = list(blob_names(api))
    answer = post_form(http, (f'name="file"; filename="{filename}"', "abc"), PURPOSE)
    assert answer.status_code == 400
    assert "filename" in answer.text or "header" in answer.text.lower()
    assert list(blob_names(api)) == before


@pytest.mark.parametrize("twice", ["purpose", "file", "expires_after[seconds]"])
def test_a_field_that_comes_twice_is_refused(http: httpx2.Client, api: LiveApi, twice: str) -> None:
    """Readers differ in which of the two they take."""
    before = list(blob_names(api))
    parts = [PURPOSE, ('name="file"; filename="a"', "abc"), (f'name="{twice}"', "fine-tune")]
    if twice not in ("purpose", "file"):
        parts.append(parts[-1])
    answer = post_form(http, *parts)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        f"The form has the field '{twice}' more than once."
    )
    assert list(blob_names(api)) == before


def test_an_upload_that_is_cut_off_leaves_nothing(api: LiveApi, client: OpenAI) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 900000\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    )
    num_files = len(client.files.list().data)
    before = set(blob_names(api))
    with socket.create_connection((host, int(port))) as wire:
        wire.sendall(head.encode() + bytes(500_000))
        wait_until(lambda: set(blob_names(api)) != before)
    wait_until(lambda: set(blob_names(api)) == before)
    assert len(client.files.list().data) == num_files


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_slow_uploads_hold_up_nobody_else(api: LiveApi, client: OpenAI) -> None:
    """More of them than FastAPI has threads for everything (40)."""
    host, port = api.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    )
    with ExitStack() as stack:
        for _ in range(50):
            wire = stack.enter_context(socket.create_connection((host, int(port))))
            wire.sendall(head.encode())
        time.sleep(0.2)
        assert client.with_options(timeout=10).models.list().data


PURPOSE = ('name="purpose"', "fine-tune")


def post_form(http: httpx2.Client, *parts: tuple[str, str]) -> httpx2.Response:
    """A form of parts as they are, each its disposition and its content."""
    body = "".join(
        f"--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n"
        for disposition, content in parts
    )
    headers = {"content-type": "multipart/form-data; boundary=x"}
    return http.post("/v1/files", content=f"{body}--x--\r\n", headers=headers)


def form(*order: str) -> dict[str, object]:
    parts = {
        "file": [("file", ("a.jsonl", CONTENT))],
        "purpose": [("purpose", (None, "fine-tune"))],
        "expires": [
            ("expires_after[seconds]", (None, "7200")),
            ("expires_after[anchor]", (None, "created_at")),
        ],
    }
    return {"files": [part for name in order for part in parts[name]]}
