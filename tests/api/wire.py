"""A client that says anything: bytes on a socket, and what comes back."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.api.conftest import KEY

PATIENCE_S = 60.0  # far beyond any timeout of a server under test


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_envelope(self) -> bool:
        """With all that OpenAI sends beside an error."""
        return (
            self.headers["content-type"] == "application/json"
            and re.fullmatch("req_[0-9a-f]{32}", self.headers["x-request-id"]) is not None
            and self.headers["openai-version"] == "2020-10-01"
            and self.headers["openai-processing-ms"].isdecimal()
            and self.json.keys() == {"error"}
            and self.json["error"].keys() == {"message", "type", "param", "code"}
        )


class Wire:
    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._received = b""

    def send(self, *pieces: bytes) -> "Wire":
        """As much as the other side takes: it may have hung up already."""
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except (ConnectionResetError, BrokenPipeError):
            pass
        return self

    def answer(self) -> Answer:
        """The next answer, read exactly to its end."""
        head = self._until(b"\r\n\r\n")
        status_line, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        status = int(status_line.split(" ")[1])
        if status == 100:
            return Answer(status, headers, b"")
        if "transfer-encoding" in headers:
            return Answer(status, headers, self._chunks())
        if "content-length" in headers:
            return Answer(status, headers, self._exactly(int(headers["content-length"])))
        return Answer(status, headers, self.rest())

    def rest(self) -> bytes:
        """All until the other side hangs up."""
        try:
            while self._receive():
                pass
        except ConnectionResetError:
            pass
        rest, self._received = self._received, b""
        return rest

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self._until(b"\r\n"), 16):
            content += self._exactly(size + 2)[:-2]
        self._until(b"\r\n")
        return content

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            assert self._receive(), f"hung up after {self._received!r}"
        found, mark, self._received = self._received.partition(mark)
        return found + mark

    def _exactly(self, length: int) -> bytes:
        while len(self._received) < length:
            assert self._receive(), "hung up in the middle of a body"
        found, self._received = self._received[:length], self._received[length:]
        return found

    def _receive(self) -> bool:
        received = self.socket.recv(65_536)
        self._received += received
        return bool(received)


@contextmanager
def wire_to(url: str, receive_buffer: int | None = None) -> Iterator[Wire]:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as connection:
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE_S)
        connection.connect((host, int(port)))
        yield Wire(connection)


def head(request_line: str, *lines: str, key: str = KEY) -> bytes:
    """A request's head with a key in it."""
    own = ["Host: here", f"Authorization: Bearer {key}"]
    return "\r\n".join([request_line, *own, *lines, "", ""]).encode("latin-1")
