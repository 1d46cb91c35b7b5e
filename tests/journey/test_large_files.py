"""Files that are larger than the memory they may take, in one request and in parts, and a crash in
the middle."""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from openai import OpenAI

from tests import processes
from tunesmith.cli.service import Service, running_service

MEBIBYTE = 2**20
PART = os.urandom(16 * MEBIBYTE)
CONTENT = PART * 4
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
MOST_BYTES = 48 * MEBIBYTE  # more than at rest


def peak_memory(service: Service) -> int:
    """The most bytes that the API's process ever held."""
    assert service.process
    process_id = processes.wait_for_children(service.process.pid, "api")["api"]
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def downloaded_md5(client: OpenAI, file_id: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with client.files.with_streaming_response.content(file_id) as answer:
        for chunk in answer.iter_bytes(MEBIBYTE):
            digest.update(chunk)
    return digest.hexdigest()


@pytest.fixture
def unchecked(service: Service) -> Iterator[OpenAI]:
    """A client as users have it, which doesn't read all of an answer before it gives any."""
    with OpenAI(base_url=f"{service.url}/v1", api_key=service.key) as client:
        yield client


def test_64_mib_in_and_out_take_little_memory(service: Service, unchecked: OpenAI) -> None:
    """Both ways of uploading. A false pass would need a process that held it all before."""
    unchecked.models.list()
    before = peak_memory(service)
    file = unchecked.files.create(file=("big.jsonl", CONTENT), purpose="fine-tune")
    assert downloaded_md5(unchecked, file.id) == MD5
    upload = unchecked.uploads.upload_file_chunked(
        file=CONTENT,
        filename="big.jsonl",
        bytes=len(CONTENT),
        mime_type="application/octet-stream",
        purpose="fine-tune",
        part_size=len(PART),
        md5=MD5,
    )
    assert upload.file
    assert downloaded_md5(unchecked, upload.file.id) == MD5
    assert peak_memory(service) - before < MOST_BYTES


def test_completion_survives_a_killed_api(tmp_path: Path) -> None:
    """Killed while it joins the parts. The SDK asks again; then the upload is completed, once, with
    every byte."""
    log_path = tmp_path / "service.log"
    try:
        with (
            running_service(tmp_path / "data", log_path) as service,
            OpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=8) as client,
            ThreadPoolExecutor(1) as threads,
        ):
            assert service.process
            upload = client.uploads.create(
                bytes=len(CONTENT),
                filename="big.jsonl",
                purpose="fine-tune",
                mime_type="text/jsonl",
            )
            part_ids = [client.uploads.parts.create(upload.id, data=PART).id for _ in range(4)]
            completing = threads.submit(
                client.uploads.complete, upload.id, part_ids=part_ids, md5=MD5
            )
            time.sleep(0.1)
            processes.kill(processes.wait_for_children(service.process.pid, "api")["api"])
            file = completing.result().file
            assert file
            assert downloaded_md5(client, file.id) == MD5
            assert [one.id for one in client.files.list()] == [file.id]
    finally:
        print(log_path.read_text())
