"""What no HTTP library would send: halves, floods, garbage (`api/transport.py`).

Timeouts are tested on servers with short ones. No test says that something happens soon, only
that it happens; where a client must be fast enough to be spared, it looks at its own clock.
"""

import asyncio
import select
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from tests.api import histories
from tests.api.conftest import LIMITS, LiveApi, LiveEngine, live_api
from tests.api.wire import PATIENCE_S, Wire, head, wire_to
from tests.server import listening, serving_api, url_of
from tunesmith.api.bodies import FREE_BYTES
from tunesmith.api.context import MAX_LARGE_BODIES
from tunesmith.api.streams import EventStream
from tunesmith.api.transport import (
    MAX_HEAD_BYTES,
    MAX_NUM_HEADERS,
    MAX_TARGET_BYTES,
    ConnectionLimits,
)
from tunesmith.store.blobs import file_blob_key

MODELS = head("GET /v1/models HTTP/1.1")
JOBS_LINE = "POST /v1/fine_tuning/jobs HTTP/1.1"
FILES_LINE = "POST /v1/files HTTP/1.1"
FORM = "Content-Type: multipart/form-data; boundary=x"
PURPOSE = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
STALL_S = 0.6
SMALL_BUFFER = 16_384  # of a client's system, for what it hasn't read


@pytest.fixture(scope="module")
def impatient(
    base_folder: Path, engine: LiveEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveApi]:
    limits = ConnectionLimits(
        max_connections=100, head_timeout_s=STALL_S, stall_timeout_s=STALL_S, keep_alive_s=STALL_S
    )
    data_dir = tmp_path_factory.mktemp("impatient")
    with live_api(base_folder, data_dir, engine.url, connections=limits) as api:
        yield api


@pytest.fixture(scope="module")
def narrow(
    base_folder: Path, engine: LiveEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveApi]:
    """A server for few."""
    limits = ConnectionLimits(max_connections=4)
    data_dir = tmp_path_factory.mktemp("narrow")
    with live_api(base_folder, data_dir, engine.url, connections=limits) as api:
        yield api


def many_headers(number: int) -> list[str]:
    return [f"X-{n}: {n}" for n in range(number)]


@pytest.mark.parametrize(
    ("request_bytes", "status", "message"),
    [
        (b"\r\n\r\n", 400, "This is not a valid HTTP request"),
        (b"hello\r\n\r\n", 400, "This is not a valid HTTP request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500, 400, "This is not a v"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "HTTP 2.0 isn't spoken here"),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 400, "This is not a valid HTTP request: Missing man"),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "This is not a valid"),
        (head("GET  /v1/models HTTP/1.1"), 400, "This is not a valid HTTP request"),
        (head("GET /v1/mod\xe9ls HTTP/1.1"), 400, "This is not a valid HTTP request"),
        (head("GET /v1/mod\0ls HTTP/1.1"), 400, "This is not a valid HTTP request"),
        (head("GET /v1/models HTTP/1.1", "no colon"), 400, "This is not a valid HTTP request"),
        (head("GET /v1/models HTTP/1.1", "a b: c"), 400, "This is not a valid HTTP request"),
        (head("GET /v1/models HTTP/1.1", "\xe9: c"), 400, "This is not a valid HTTP request"),
        (head("GET /v1/models HTTP/1.1", "a: b\0c"), 400, "This is not a valid HTTP request"),
        (head("GET /v1/models HTTP/1.1", "a: b\rc"), 400, "This is not a valid HTTP request"),
        (head(JOBS_LINE, "Content-Length: many"), 400, "This is not a valid HTTP request: bad Co"),
        (head(JOBS_LINE, "Content-Length: -1"), 400, "This is not a valid HTTP request: bad Co"),
        (head(JOBS_LINE, "Content-Length: 1e3"), 400, "This is not a valid HTTP request: bad Co"),
        (head(JOBS_LINE, "Content-Length: " + "9" * 50), 400, "This is not a valid HTTP request"),
        (
            head(JOBS_LINE, "Content-Length: 1", "Content-Length: 2"),
            400,
            "This is not a valid HTTP request: conflicting Content-Length headers.",
        ),
        (
            head(JOBS_LINE, "Content-Length: 5", "Transfer-Encoding: chunked"),
            400,
            "Send Content-Length or Transfer-Encoding, not both.",
        ),
        (head(JOBS_LINE, "Transfer-Encoding: gzip, chunked"), 400, "This is not a valid HTTP"),
        (head(JOBS_LINE, "Transfer-Encoding: chunked") + b"zz\r\n", 400, "This is not a valid"),
        (head(JOBS_LINE, "Transfer-Encoding: chunked") + b"1\r\nabc", 400, "This is not a valid"),
        (head(JOBS_LINE, "Transfer-Encoding: chunked") + b"-1\r\n", 400, "This is not a valid"),
        (
            head(JOBS_LINE, "Transfer-Encoding: chunked") + b"1;" + b"a" * 500_000,
            400,
            "This is not a valid HTTP request",
        ),
        (head("GET /v1/models HTTP/1.1", *many_headers(10_000)), 431, "The request's headers are"),
        (head("GET /v1/models HTTP/1.1", *many_headers(MAX_NUM_HEADERS)), 431, "The request's he"),
        (head("GET /v1/models HTTP/1.1", "a: " + "b" * 1_000_000), 431, "The request's headers"),
        (head("GET /v1/models HTTP/1.1", "a: " + "b" * MAX_HEAD_BYTES), 431, "The request's hea"),
        (b"GET /v1/models HTTP/1.1\r\n" + b"a: b\r\n" * 200_000, 431, "The request's headers are"),
        (head(f"GET /v1/{'a' * MAX_TARGET_BYTES} HTTP/1.1"), 414, "The URL is too long"),
        (head(f"GET /v1/{'a' * 1_000_000} HTTP/1.1"), 414, "The URL is too long"),
        (b"GET /v1/" + b"a" * 1_000_000, 414, "The URL is too long"),
    ],
    ids=lambda value: repr(value[:40]) if isinstance(value, bytes) else None,
)
def test_what_is_not_http_or_too_much_of_it_gets_the_envelope(
    api: LiveApi, request_bytes: bytes, status: int, message: str
) -> None:
    with wire_to(api.url) as wire:
        answer = wire.send(request_bytes).answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert answer.is_envelope()
        assert answer.json["error"]["message"].startswith(message)
        assert answer.json["error"]["type"] == "invalid_request_error"
        assert wire.rest() == b"", "nothing follows the refusal"


def test_heads_within_the_limits_pass(api: LiveApi) -> None:
    """However they arrive: a limit that depended on the network's packets would be none."""
    long_header = "a: " + "b" * (MAX_HEAD_BYTES - MAX_TARGET_BYTES - 2000)
    query = "x" * (MAX_TARGET_BYTES - 20)
    request = head(
        f"GET /v1/models?{query} HTTP/1.1", long_header, *many_headers(MAX_NUM_HEADERS - 10)
    )
    with wire_to(api.url) as wire:
        assert wire.send(request).answer().status == 200
        pieces = [request[start : start + 1000] for start in range(0, len(request), 1000)]
        assert wire.send(*pieces).answer().status == 200


def test_a_whole_url_as_target_is_a_path(api: LiveApi) -> None:
    with wire_to(api.url) as wire:
        for target in ("http://here/v1/models", "HTTPS://elsewhere:1/v1/models?a=b"):
            assert wire.send(head(f"GET {target} HTTP/1.1")).answer().status == 200
        for target in ("http://here", "http://here?a", "here:443", "*", "//here/v1/models"):
            answer = wire.send(head(f"GET {target} HTTP/1.1")).answer()
            assert answer.status == 404
            assert answer.is_envelope()


def test_http_1_0_is_answered_and_closed(api: LiveApi) -> None:
    with wire_to(api.url) as wire:
        answer = wire.send(head("GET /v1/models HTTP/1.0")).answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire.rest() == b""


def test_pipelined_requests_are_answered_in_order(api: LiveApi) -> None:
    first, second, third = (head(f"GET /v1/{n} HTTP/1.1") for n in ("a", "b", "c"))
    with wire_to(api.url) as wire:
        wire.send(first + second + third + b"garbage\r\n\r\n")
        messages = [wire.answer().json["error"]["message"] for _ in range(4)]
    assert messages[:3] == [f"Invalid URL (GET /v1/{n})" for n in ("a", "b", "c")]
    assert messages[3].startswith("This is not a valid HTTP request")


def test_a_client_that_waits_for_the_nod_gets_it(api: LiveApi) -> None:
    body = PURPOSE + FILE + b"{}\r\n--x--\r\n"
    lines = [FORM, f"Content-Length: {len(body)}", "Expect: 100-continue"]
    with wire_to(api.url) as wire:
        assert wire.send(head(FILES_LINE, *lines)).answer().status == 100
        assert wire.send(body).answer().status == 200
    with wire_to(api.url) as wire:  # refused without having sent its gigabyte
        huge = [FORM, "Content-Length: 1000000000", "Expect: 100-continue"]
        assert wire.send(head(FILES_LINE, *huge)).answer().status == 413


def test_large_bodies_have_one_room_and_small_ones_need_none_of_it(api: LiveApi) -> None:
    """Half of it is the most that one organisation gets; another one finds room all the same."""
    room, size = MAX_LARGE_BODIES * LIMITS.max_body_bytes // 2, LIMITS.max_body_bytes
    large = head(JOBS_LINE, f"Content-Length: {size}")
    with ExitStack() as wires:
        held = [
            wires.enter_context(wire_to(api.url)).send(large, b" " * (size - 1))
            for _ in range(room // (size - FREE_BYTES) + 1)
        ]
        readable, _, _ = select.select([wire.socket for wire in held], [], [], PATIENCE_S)
        (refused,) = (wire for wire in held if wire.socket in readable)
        answer = refused.answer()
        assert (answer.status, answer.is_envelope()) == (429, True)
        assert answer.json["error"]["message"].startswith("Too many large requests of your org")
        assert answer.headers["retry-after"] == "1"
        theirs = head(JOBS_LINE, f"Content-Length: {size}", key=api.new_key("roomless"))
        with wire_to(api.url) as another:
            assert another.send(theirs, b" " * size).answer().status == 400, "was read"
        with wire_to(api.url) as small:
            assert small.send(head(JOBS_LINE, "Content-Length: 2"), b"{}").answer().status == 400
        held.remove(refused)
        for wire in held:  # those that had found room
            assert wire.send(b" ").answer().status == 400
    with wire_to(api.url) as wire:
        assert wire.send(large, b" " * size).answer().status == 400


def test_upgrades_are_declined_by_an_ordinary_answer(api: LiveApi) -> None:
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    with wire_to(api.url) as wire:
        assert wire.send(head("GET /v1/models HTTP/1.1", *upgrade)).answer().status == 200
        assert wire.send(MODELS).answer().status == 200


HALVES = [
    b"G",
    MODELS[:-1],
    head(JOBS_LINE, "Content-Length: 100"),
    head(JOBS_LINE, "Content-Length: 100") + b'{"model":',
    head(JOBS_LINE, "Transfer-Encoding: chunked") + b"5\r\nab",
    head(FILES_LINE, FORM, "Content-Length: 1000"),
    head(FILES_LINE, FORM, "Content-Length: 1000") + FILE + b"ab",
    head(FILES_LINE, FORM, "Content-Length: 1000") + PURPOSE[:30],
]


def test_a_request_that_stops_half_way_is_told_so_and_leaves_nothing(impatient: LiveApi) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(wire_to(impatient.url)).send(half) for half in HALVES]
        for half, wire in zip(HALVES, wires, strict=True):
            answer = wire.answer()
            assert answer.status == 408, half
            assert answer.is_envelope()
            assert answer.json["error"]["code"] == "request_timeout"
            assert wire.rest() == b""
    until(lambda: not list(impatient.store.blobs.written_before(histories.now())))
    assert impatient.store.files.page(impatient.caller.scope, limit=1).items == ()


def test_the_second_request_of_a_connection_must_arrive_too(impatient: LiveApi) -> None:
    with wire_to(impatient.url) as wire:
        assert wire.send(MODELS).answer().status == 200
        assert wire.send(MODELS[:20]).answer().status == 408


@pytest.mark.parametrize("first", [b"", MODELS])
def test_idle_connections_are_closed_without_a_word(impatient: LiveApi, first: bytes) -> None:
    """A word would be taken for the answer to the request that is just on its way."""
    with wire_to(impatient.url) as wire:
        if first:
            assert wire.send(first).answer().status == 200
        assert wire.rest() == b""


def test_a_slow_upload_passes_as_long_as_it_moves(impatient: LiveApi) -> None:
    """It takes three times as long as no single pause may. On a machine so busy that our own
    pauses grow that long, the upload is begun anew."""
    body = PURPOSE + FILE + b"a" * 1000 + b"\r\n--x--\r\n"
    pieces = [body[start : start + 90] for start in range(0, len(body), 90)]
    for _ in range(20):
        longest = 0.0
        with wire_to(impatient.url) as wire:
            wire.send(head(FILES_LINE, FORM, f"Content-Length: {len(body)}"))
            for piece in pieces:
                began = time.monotonic()
                time.sleep(3 * STALL_S / len(pieces))
                wire.send(piece)
                longest = max(longest, time.monotonic() - began)
            status = wire.answer().status
        if longest < STALL_S / 2:
            break
    assert status == 200
    file = impatient.store.files.page(impatient.caller.scope, limit=1).items[0]
    assert file.size_bytes == 1000
    impatient.store.files.delete(impatient.caller.scope, file.id)


def test_an_answer_to_the_head_alone_ends_a_body_without_end(api: LiveApi) -> None:
    """No key: refused at once. Whoever goes on sending is not listened to for long."""
    with wire_to(api.url) as wire:
        wire.send(b"POST /v1/files HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert wire.answer().status == 401
        until(lambda: not is_taken(wire, b"1000\r\n" + b"a" * 4096 + b"\r\n"))


def test_a_body_that_comes_after_its_answer_is_skipped(api: LiveApi) -> None:
    with wire_to(api.url) as wire:
        wire.send(b"POST /v1/files HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\n")
        assert wire.answer().status == 401
        assert wire.send(b"abc" + MODELS).answer().status == 200


def is_taken(wire: Wire, piece: bytes) -> bool:
    """Whether the other side still listens."""
    try:
        wire.socket.sendall(piece)
    except (ConnectionResetError, BrokenPipeError):
        return False
    return True


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def big_file(api: LiveApi, num_bytes: int = 8_000_000) -> str:
    """Larger than what the two systems would keep for a reader that doesn't read."""
    file_id = f"file-big{num_bytes}"
    if api.store.files.find(api.caller.scope, file_id) is None:
        key = file_blob_key(file_id)
        api.store.blobs.put_bytes(key, b"a" * num_bytes)
        api.store.files.add(histories.stored(api, file_id, size_bytes=num_bytes))
    return file_id


def test_readers_that_stand_still_are_cut_off_and_cost_no_threads(impatient: LiveApi) -> None:
    """More of them than there are threads for routes that block."""
    request = head(f"GET /v1/files/{big_file(impatient)}/content HTTP/1.1")
    with ExitStack() as stack:
        readers = [stack.enter_context(wire_to(impatient.url, SMALL_BUFFER)) for _ in range(45)]
        for reader in readers:
            reader.send(request)
        with wire_to(impatient.url) as wire:
            assert wire.send(MODELS).answer().status == 200
        until(lambda: not impatient.server.server_state.connections)
        for reader in readers[:3]:
            assert len(reader.rest()) < 8_000_000


def test_a_stream_that_nobody_reads_is_neither_made_nor_kept() -> None:
    """An endless one: its maker must be stopped, and no more of it held than the two systems
    take."""
    num_events, has_ended = 0, threading.Event()

    async def events() -> AsyncGenerator[bytes]:
        nonlocal num_events
        try:
            while True:
                num_events += 1
                await asyncio.sleep(0)  # as one that waits for an engine
                yield b"a" * 10_000
        finally:
            has_ended.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await EventStream(events())(scope, receive, send)

    limits = ConnectionLimits(stall_timeout_s=STALL_S)
    with (
        closing(listening()) as listener,
        serving_api(app, listener, limits),
        wire_to(url_of(listener), SMALL_BUFFER) as wire,
    ):
        wire.send(MODELS)
        assert has_ended.wait(PATIENCE_S)
    assert num_events < 10_000


def test_a_reader_that_is_slow_gets_all_of_it(impatient: LiveApi) -> None:
    request = head(f"GET /v1/files/{big_file(impatient)}/content HTTP/1.1", "Connection: close")
    with wire_to(impatient.url, 65_536) as wire:
        wire.send(request)
        num_bytes, began = 0, time.monotonic()
        while received := wire.socket.recv(65_536):
            num_bytes += len(received)
            time.sleep(0.02)
        assert time.monotonic() - began > 2 * STALL_S
    assert num_bytes > 8_000_000


def test_the_longest_idle_connection_makes_room(narrow: LiveApi) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(wire_to(narrow.url)) for _ in range(4)]
        for each in idle:
            assert each.send(MODELS).answer().status == 200
        with wire_to(narrow.url) as wire:
            assert wire.send(MODELS).answer().status == 200
            assert idle[0].rest() == b""
            assert idle[3].send(MODELS).answer().status == 200


def test_nobody_is_thrown_out_in_the_middle_of_a_request(narrow: LiveApi) -> None:
    body = b'{"model": "tiny"}'
    with ExitStack() as stack:
        busy = [stack.enter_context(wire_to(narrow.url)) for _ in range(4)]
        for each in busy:
            each.send(head(JOBS_LINE, f"Content-Length: {len(body)}", "Expect: 100-continue"))
            assert each.answer().status == 100, "the request has begun"
        with wire_to(narrow.url) as wire:
            answer = wire.answer()
            assert answer.status == 503
            assert answer.is_envelope()
            assert answer.json["error"]["type"] == "server_error"
        for each in busy:
            assert each.send(body).answer().status == 400, "training_file is missing"


def test_a_flood_of_connections_keeps_nobody_out(narrow: LiveApi) -> None:
    host, port = narrow.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection((host, int(port))))
        with wire_to(narrow.url) as wire:
            assert wire.send(MODELS).answer().status == 200


def test_no_answer_names_the_server_s_software(api: LiveApi) -> None:
    with wire_to(api.url) as wire:
        assert "server" not in wire.send(MODELS).answer().headers
        assert "server" not in wire.send(b"nonsense\r\n\r\n").answer().headers


def test_a_client_that_closes_its_side_is_taken_to_be_gone(api: LiveApi) -> None:
    with wire_to(api.url) as wire:
        wire.send(MODELS)
        wire.socket.shutdown(socket.SHUT_WR)
        wire.rest()  # it ends
    with wire_to(api.url) as wire:
        wire.send(MODELS[:20])
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.rest() == b""
