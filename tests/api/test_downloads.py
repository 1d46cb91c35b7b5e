"""A chat with a base model that is still being downloaded.

Another process of the service is at it: the test stands in for that one by holding the lock, so
nothing here asks a hub.
"""

import fcntl
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.api.conftest import KEY, client_of, live_api, live_engine
from tests.contract.checker import CheckedTransport
from tests.server import listening
from tunesmith.domain.models import BaseModel, HubRepository

MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
WAIT_S = 0.5


class OtherProcess:
    """Whoever downloads the model to `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._part = folder.with_name(folder.name + ".part")
        self._part.mkdir(parents=True)
        self._lock = folder.with_name(folder.name + ".lock").open("a")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def has_fetched(self, size_bytes: int, of: int) -> None:
        (self._part / "origin.json").write_text(json.dumps({"size_bytes": of}))
        (self._part / "model.safetensors").write_bytes(bytes(size_bytes))

    def finish(self, model: Path) -> None:
        """As a download does: the folder is there whole, or not at all."""
        if not self.folder.exists():
            shutil.copytree(model, self._part, dirs_exist_ok=True)
            self._part.rename(self.folder)
        self._lock.close()


@pytest.fixture
def other(tmp_path: Path, base_folder: Path) -> Iterator[OtherProcess]:
    other = OtherProcess(tmp_path / "models" / "acme--small--main")
    yield other
    other.finish(base_folder)  # or whoever still waits would turn to a hub


@pytest.fixture
def sdk(
    base_folder: Path, tmp_path: Path, other: OtherProcess, transport: CheckedTransport
) -> Iterator[OpenAI]:
    coming = BaseModel("coming", str(other.folder), HubRepository("acme/small", "main"))
    with (
        closing(listening()) as listener,
        live_engine(base_folder, tmp_path, listener) as engine,
        live_api(base_folder, tmp_path, engine.url, WAIT_S, [coming]) as api,
    ):
        yield client_of(api, KEY, transport)


@pytest.mark.parametrize("streams", [False, True])
def test_a_request_waits_a_while_and_is_then_told_how_far_it_is(
    sdk: OpenAI, other: OtherProcess, streams: bool
) -> None:
    other.has_fetched(2_000_000, of=5_000_000)
    started = time.monotonic()
    with pytest.raises(openai.InternalServerError, match="2 of 5 MB are there") as caught:
        sdk.chat.completions.create(model="coming", messages=MESSAGES, stream=streams)
    assert time.monotonic() - started >= WAIT_S
    assert (caught.value.status_code, caught.value.code) == (503, "base_model_downloading")
    assert "acme/small is being downloaded" in caught.value.message


def test_a_request_that_waits_is_answered_when_the_model_is_there(
    sdk: OpenAI, other: OtherProcess, base_folder: Path
) -> None:
    replies: list[str] = []
    thread = threading.Thread(target=lambda: replies.append(say(sdk, "coming")))
    thread.start()
    other.finish(base_folder)
    thread.join()
    assert replies == [say(sdk, "tiny")]


def test_waiting_requests_keep_no_others_from_theirs(sdk: OpenAI) -> None:
    """More of them wait than the API has threads."""

    def ask() -> None:
        with pytest.raises(openai.InternalServerError):
            say(sdk, "coming")

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    assert "coming" in [model.id for model in sdk.models.list()]
    assert say(sdk, "tiny")
    for thread in threads:
        thread.join()


def say(client: OpenAI, model: str) -> str:
    reply = client.chat.completions.create(
        model=model, messages=MESSAGES, temperature=0, max_tokens=8
    )
    return reply.choices[0].message.content or ""
