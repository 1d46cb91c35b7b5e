"""The HTTP face below the application: what uvicorn leaves to those who run it.

uvicorn frames requests and answers, by h11. But it waits for ever for a request that doesn't
arrive and for a reader that doesn't read, takes any number of connections, and answers what isn't
HTTP in plain text. Here each connection has bounds, and whatever is refused gets our envelope:

    connection   too many: the one that has been idle longest goes; none is idle: 503
    head         within `head_timeout_s`, or 408; too long: 414 or 431; not HTTP: 400
    body         bytes arrive at least every `stall_timeout_s`, or 408. How long all of it takes is
                 nobody's business: a large file over a slow line must get through
    answer       bytes are taken at least every `stall_timeout_s`, or the connection is cut
    idle         `keep_alive_s` between two requests

An error leaves the server in one piece and is followed by a short *linger*: a client that is still
sending would otherwise meet a reset instead of the answer.
"""

import asyncio
import fcntl
import logging
import re
import struct
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from tunesmith.api.errors import envelope, retry_headers, status_of
from tunesmith.api.request_ids import answer_headers
from tunesmith.domain import errors
from tunesmith.domain.ids import Ids

MAX_HEAD_BYTES = 32 * 1024  # request line and headers
MAX_TARGET_BYTES = 8 * 1024
MAX_NUM_HEADERS = 100
LINGER_S = 2.0

ABSOLUTE_FORM = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
SHOWN_LENGTH = 200  # characters of h11's complaint, which may repeat what was sent

# uvicorn warns of each bad request, so anybody could fill the disk with its warnings.
log = logging.getLogger("tunesmith.transport")
log.setLevel(logging.ERROR)


@dataclass(frozen=True)
class ConnectionLimits:
    max_connections: int = 1000
    head_timeout_s: float = 20.0
    stall_timeout_s: float = 60.0
    keep_alive_s: float = 30.0


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, and what `ApiProtocol` needs beside it."""

    def __init__(self, app: ASGIApp, ids: Ids, limits: ConnectionLimits, grace_s: int) -> None:
        super().__init__(
            app,
            http=ApiProtocol,
            ws="none",
            log_level="warning",
            server_header=False,
            proxy_headers=False,  # nothing here asks who is behind a proxy
            timeout_graceful_shutdown=grace_s,
        )
        self.ids = ids
        self.limits = limits
        # The connections that no request is worked on for, the longest idle one first. (A dict for
        # its order: to look for it among a thousand took 3 ms, and a flood brings thousands.)
        self.idle: dict[ApiProtocol, None] = {}


class LimitedConnection(h11.Connection):
    """h11, with limits on heads. Why it refused something is in `refusal` afterwards."""

    refusal: errors.TunesmithError

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        is_head = self.their_state is h11.IDLE
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check_head(event)
                return _in_origin_form(event)
        except h11.RemoteProtocolError as error:
            is_too_long = is_head and error.error_status_hint == 431
            self.refusal = self._too_long() if is_too_long else _malformed(error)
            raise
        except errors.TunesmithError as error:
            self.refusal = error
            raise h11.RemoteProtocolError(error.message) from error
        return event

    def _too_long(self) -> errors.TunesmithError:
        """For a head of which more has arrived than a whole one may have."""
        received, _ = self.trailing_data
        return _head_too_large() if b"\n" in received else _url_too_long()


class Awaited(Enum):
    """What a connection's client owes us."""

    NOTHING = auto()
    HEAD = auto()  # the first one, or the rest of a later one
    NEXT = auto()  # request, of which nothing has arrived; it need not come
    BODY = auto()  # the next bytes of it
    REST = auto()  # of a body that was answered without it


class ApiProtocol(H11Protocol):
    """One connection."""

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: as uvicorn has it
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = LimitedConnection(h11.SERVER, MAX_HEAD_BYTES)
        self.logger = log
        self._ids = config.ids
        self._idle = config.idle
        self._limits = config.limits
        self._awaited = Awaited.NOTHING
        self._since = self.loop.time()  # how long we have been waiting
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._num_unsent = 0  # bytes, when `_write_timer` was set
        self._is_refused = False

    # What happens to a connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections and not self._make_room():
            self._is_refused = True
            transport.write(self._written(_too_many_connections()))
            transport.close()  # no linger: these may come by the thousand
            return
        self._await(Awaited.HEAD)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return  # the linger: read, so that our answer isn't lost, and dropped
        super().data_received(data)
        self._await(self._owed(), has_moved=True)
        if self._is_in_use() and not self.flow.write_paused:
            _stop(self._write_timer)  # more is about to be written

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # uvicorn's timer; ours watches more
        self._await(self._owed())
        self._watch_writes()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writes()

    def resume_writing(self) -> None:
        super().resume_writing()
        _stop(self._write_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        _stop(self._read_timer)
        self._forget()
        super().connection_lost(exc)
        _stop(self._write_timer)

    def shutdown(self) -> None:
        if self._is_refused or self._ends_with_server():
            self.transport.close()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # ours says more
        """uvicorn calls this when h11 can't go on."""
        assert isinstance(self.conn, LimitedConnection), "set when the connection was made"
        self._refuse(self.conn.refusal)

    # Room for new connections

    def _make_room(self) -> bool:
        """Hangs up on whoever has been idle longest. False if nobody is."""
        oldest = next(iter(self._idle), None)
        if oldest is None:
            return False
        oldest.transport.abort()
        oldest._forget()  # it is told only later that it is lost
        return True

    def _forget(self) -> None:
        self._idle.pop(self, None)
        self.connections.discard(self)

    def _is_in_use(self) -> bool:
        """Whether a request is being worked on."""
        return self.cycle is not None and not self.cycle.response_complete

    def _ends_with_server(self) -> bool:
        """Whether the answer under way lasts as long as the server: see `streams.py`."""
        return self._is_in_use() and self.cycle.scope["state"].get("ends_with_server", False)

    # What clients owe us

    def _owed(self) -> Awaited:
        if self._is_refused:
            return Awaited.NOTHING
        if self._is_in_use():
            return Awaited.BODY if self.cycle.more_body else Awaited.NOTHING
        if self.conn.their_state is h11.SEND_BODY:
            return Awaited.REST
        return Awaited.HEAD if self.cycle is None or self._has_head_begun() else Awaited.NEXT

    def _await(self, awaited: Awaited, has_moved: bool = False) -> None:
        """A head must be there in time and a rest soon; of a body, only its next bytes must."""
        if self._is_in_use() or self._is_refused or self.transport.is_closing():
            self._idle.pop(self, None)
        else:
            self._idle.setdefault(self)  # at its place, if it has one
        if awaited is not self._awaited or (has_moved and awaited is Awaited.BODY):
            self._since = self.loop.time()
        if awaited is not self._awaited:
            self._awaited = awaited
            self._set_read_timer()

    def _set_read_timer(self) -> None:
        _stop(self._read_timer)
        if self._awaited is not Awaited.NOTHING and not self.transport.is_closing():
            due = self._since + self._patience_s()
            self._read_timer = self.loop.call_at(due, self._on_read_timer)

    def _patience_s(self) -> float:
        match self._awaited:
            case Awaited.HEAD:
                return self._limits.head_timeout_s
            case Awaited.NEXT:
                return self._limits.keep_alive_s
            case Awaited.REST:
                return LINGER_S
            case _:
                return self._limits.stall_timeout_s

    def _on_read_timer(self) -> None:
        if self.transport.is_closing():
            return
        if self._awaited is Awaited.BODY and self._holds_body_back():
            self._since = self.loop.time()
        if self.loop.time() < self._since + self._patience_s():
            self._set_read_timer()
        elif self._awaited is Awaited.BODY or self._has_head_begun():
            self._refuse(_too_slow())
        else:
            self.transport.close()

    def _holds_body_back(self) -> bool:
        """Whether it is we who don't want more of it yet."""
        return self.flow.read_paused or self.cycle.waiting_for_100_continue

    def _has_head_begun(self) -> bool:
        received, _ = self.conn.trailing_data
        return bool(received)

    # Clients that don't read

    def _watch_writes(self) -> None:
        """From now on, what is not sent must become less. Only for when nothing is added to it:
        while writing is paused, and after an answer."""
        _stop(self._write_timer)
        if self.transport.get_write_buffer_size():
            self._num_unsent = self._count_unsent()
            self._write_timer = self.loop.call_later(
                self._limits.stall_timeout_s, self._on_write_timer
            )

    def _on_write_timer(self) -> None:
        if self._count_unsent() < self._num_unsent:
            self._watch_writes()
        else:
            self.transport.abort()

    def _count_unsent(self) -> int:
        """Bytes that the client's side has not taken: ours, and those in the system's hands,
        which on a slow line go out for minutes before it takes any of ours."""
        handle = self.transport.get_extra_info("socket").fileno()
        try:
            answer = fcntl.ioctl(handle, termios.TIOCOUTQ, bytes(4))
        except OSError:  # not on this system, or closed already
            answer = bytes(4)
        return int(self.transport.get_write_buffer_size() + struct.unpack("i", answer)[0])

    # Refusals

    def _refuse(self, error: errors.TunesmithError) -> None:
        """Answers, if no answer has begun, and hangs up. The application, if it is at work on the
        request, finds its client gone."""
        self._is_refused = True
        _stop(self._read_timer)
        self._unset_keepalive_if_required()
        answer = self._written(error)
        if self._is_in_use():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                self._watch_writes()
                return
        self.transport.write(answer)
        self.transport.write_eof()
        self.flow.resume_reading()
        self._read_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def _written(self, error: errors.TunesmithError) -> bytes:
        """The whole answer. Not by h11, which may be in any state."""
        status, body = status_of(error), envelope(error).model_dump_json().encode()
        headers: Mapping[str, str] = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **retry_headers(error),
            **answer_headers(self._request_scope()),
        }
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
        lines += [b"%b: %b" % pair for pair in self.server_state.default_headers]
        lines += [f"{name}: {value}".encode() for name, value in headers.items()]
        return b"\r\n".join([*lines, b"", body])

    def _request_scope(self) -> Scope:
        """With the request's id, if the application has begun with it; otherwise with a new one."""
        if self._is_in_use() and "request_id" in self.scope["state"]:
            return cast(Scope, self.scope)
        return {"state": {"request_id": self._ids.request(), "started_at": time.perf_counter()}}


def _check_head(request: h11.Request) -> None:
    """Raises the error for a head beyond the limits. h11's own limit is only on what it could not
    read yet: what arrives at one go may be longer."""
    if len(request.target) > MAX_TARGET_BYTES:
        raise _url_too_long()
    num_bytes = len(request.target) + sum(len(n) + len(v) + 4 for n, v in request.headers)
    if num_bytes > MAX_HEAD_BYTES or len(request.headers) > MAX_NUM_HEADERS:
        raise _head_too_large()
    names = {name for name, _ in request.headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        # Legal to read by either; a proxy that chose the other would see another request.
        raise errors.InvalidRequest("Send Content-Length or Transfer-Encoding, not both.")
    if request.http_version not in (b"1.0", b"1.1"):
        version = request.http_version.decode()
        raise errors.InvalidRequest(f"HTTP {version} isn't spoken here: use HTTP/1.1.")


def _in_origin_form(request: h11.Request) -> h11.Request:
    """With a path as its target, also if the client wrote a whole URL, as to a proxy."""
    path, num_changes = ABSOLUTE_FORM.subn(b"", request.target, count=1)
    if not num_changes or request.target.startswith(b"/"):
        return request
    return h11.Request(
        method=request.method,
        target=path if path.startswith(b"/") else b"/" + path,
        headers=request.headers.raw_items(),
        http_version=request.http_version,
    )


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _malformed(error: h11.RemoteProtocolError) -> errors.TunesmithError:
    return errors.InvalidRequest(f"This is not a valid HTTP request: {str(error)[:SHOWN_LENGTH]}.")


def _head_too_large() -> errors.TunesmithError:
    return errors.HeadTooLarge(
        f"The request's headers are too large: send at most {MAX_NUM_HEADERS} of them, with "
        f"{MAX_HEAD_BYTES} bytes in all."
    )


def _url_too_long() -> errors.TunesmithError:
    return errors.UrlTooLong(f"The URL is too long: send at most {MAX_TARGET_BYTES} bytes.")


def _too_slow() -> errors.TunesmithError:
    return errors.RequestTimeout("The request did not arrive in time. Send it again.")


def _too_many_connections() -> errors.TunesmithError:
    return errors.Unavailable("The service has too many connections at the moment. Try again soon.")
