"""Clients that go away, by real sockets: the engine works for nobody who isn't there."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.api.conftest import KEY, LiveApi, LiveEngine

HELLO = [{"role": "user", "content": "hello"}]
ENDLESS = {"0": -100, "5": -100}  # both end tokens are banned
# Work for several seconds at least: what ends by itself would prove nothing.
CHAT = {"messages": HELLO, "n": 128, "logit_bias": ENDLESS, "max_tokens": 480}
COMPLETIONS = {"prompt": ["a", "b"], "n": 8, "logit_bias": ENDLESS, "max_tokens": 480}
ECHO = {**COMPLETIONS, "echo": True, "logprobs": 0, "n": 4, "max_tokens": 500}


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/completions", COMPLETIONS),
        ("/v1/completions", ECHO),
    ],
    ids=["chat", "completions", "echo"],
)
def test_a_client_that_goes_away_stops_the_engine(
    api: LiveApi, engine: LiveEngine, path: str, body: dict[str, Any], streams: bool
) -> None:
    with connection(api) as client:
        send(client, path, {"model": "tiny", "temperature": 1, "stream": streams, **body})
        if streams:
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        wait_until(lambda: len(engine.sequences) > 0, "the engine never began")
        sequences = engine.sequences
    wait_until(lambda: len(engine.sequences) == 0, "the engine goes on for nobody")
    assert all(one.finish_reason is None for one in sequences), "it had ended by itself"


def wait_until(is_so: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.005)


def connection(api: LiveApi) -> socket.socket:
    address = urlsplit(api.url)
    assert address.hostname is not None
    return socket.create_connection((address.hostname, address.port), timeout=30)


def send(client: socket.socket, path: str, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    client.sendall(head.encode() + content)
