"""Engines that aren't up yet, die, or never come: what a client sees of it.

The engine is a process here, as it is under the supervisor: it gets a listening socket that
outlives it.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from tests.api import histories
from tests.api.conftest import (
    BASE_NAME,
    ENGINE_TOKEN,
    KEY,
    LiveApi,
    client_of,
    live_api,
    live_engine,
)
from tests.contract.checker import CheckedTransport
from tests.server import listening, url_of

ENGINE_PROGRAM = """
import socket, sys
from pathlib import Path
from tunesmith.inference.process import EngineOptions, serve_engine
base_folder, base_name, adapters, token, fd = sys.argv[1:]
options = EngineOptions(Path(base_folder), base_name, Path(adapters), token, "cpu", num_threads=1)
serve_engine(options, socket.socket(fileno=int(fd)))
"""
MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]


@contextmanager
def engine_process(base_folder: Path, data_dir: Path, fd: int) -> Iterator[subprocess.Popen[bytes]]:
    words = [str(base_folder), BASE_NAME, str(data_dir / "adapters"), ENGINE_TOKEN, str(fd)]
    process = subprocess.Popen([sys.executable, "-c", ENGINE_PROGRAM, *words], pass_fds=[fd])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_engine_is_an_event_and_not_an_outage(
    base_folder: Path, tmp_path: Path, transport: CheckedTransport
) -> None:
    """Two clients are in the middle of a stream and are told so. The next one waits for the new
    engine, which knows nothing of the adapter, and gets the same answer as before."""
    with closing(listening()) as listener:
        url, fd = url_of(listener), listener.fileno()
        with live_api(base_folder, tmp_path, url, wait_s=60) as api:
            client = client_of(api, KEY, transport)
            model = histories.tuned(api, base_folder, seed=3)[0].name
            with engine_process(base_folder, tmp_path, fd) as engine:
                before = say(client, model)  # asked while the engine was starting
                stream = client.chat.completions.create(
                    model=model, messages=MESSAGES, stream=True, n=32, temperature=1
                )
                texts = client.completions.create(
                    model=model, prompt=["a", "b"], stream=True, n=10, max_tokens=400
                )
                next(iter(stream))
                next(iter(texts))
                engine.kill()
                for broken in (stream, texts):
                    with pytest.raises(openai.APIError, match="stopped in the middle of the answ"):
                        list(broken)
            with engine_process(base_folder, tmp_path, fd):
                assert say(client, model) == before


def test_a_request_waits_for_an_engine_that_starts(
    base_folder: Path, tmp_path: Path, transport: CheckedTransport
) -> None:
    with (
        closing(listening()) as listener,
        live_api(base_folder, tmp_path, url_of(listener)) as api,
    ):
        client = client_of(api, KEY, transport)
        replies: list[str] = []
        threads = [
            threading.Thread(target=lambda: replies.append(say(client, "tiny"))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        assert replies == []
        with live_engine(base_folder, tmp_path, listener):
            for thread in threads:
                thread.join()
        assert len(replies) == 4
        assert len(set(replies)) == 1


@pytest.fixture
def deaf_api(base_folder: Path, tmp_path: Path) -> Iterator[LiveApi]:
    """Its engine's socket listens, but nobody ever answers."""
    with (
        closing(listening()) as listener,
        live_api(base_folder, tmp_path, url_of(listener), wait_s=0.5) as api,
    ):
        yield api


@pytest.fixture
def lone_api(base_folder: Path, tmp_path: Path) -> Iterator[LiveApi]:
    """Its engine's socket isn't even open."""
    with closing(listening()) as listener:
        url = url_of(listener)
    with live_api(base_folder, tmp_path, url, wait_s=0.5) as api:
        yield api


@pytest.mark.parametrize("which", ["deaf_api", "lone_api"])
@pytest.mark.parametrize("streams", [False, True])
def test_an_engine_that_never_comes_is_a_503(
    request: pytest.FixtureRequest, transport: CheckedTransport, which: str, streams: bool
) -> None:
    api: LiveApi = request.getfixturevalue(which)
    client = client_of(api, KEY, transport)
    started = time.monotonic()
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="tiny", messages=MESSAGES, stream=streams)
    assert 0.5 <= time.monotonic() - started < 5
    assert caught.value.status_code == 503
    assert caught.value.code == "service_unavailable"
    assert caught.value.type == "server_error"


def test_readiness_waits_for_the_engine_and_health_does_not(deaf_api: LiveApi) -> None:
    assert httpx2.get(f"{deaf_api.url}/healthz").status_code == 200
    answer = httpx2.get(f"{deaf_api.url}/readyz")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "service_unavailable"


def test_a_model_whose_weights_are_gone_is_a_503_that_says_so(
    api: LiveApi, client: OpenAI, base_folder: Path
) -> None:
    model = histories.tuned(api, base_folder, seed=4)[0]
    api.shelf.remove(model.adapter_id)
    with pytest.raises(openai.InternalServerError, match="could not be loaded") as caught:
        say(client, model.name)
    assert caught.value.status_code == 503


def say(client: OpenAI, model: str) -> str:
    reply = client.chat.completions.create(
        model=model, messages=MESSAGES, temperature=0, max_tokens=8
    )
    return reply.choices[0].message.content or ""
