"""Real servers inside the test's process: an application on a free port, in a thread.

The whole service (`tunesmith serve`) is the `service` fixture's business. Here a test has the
store in its hands as well, and can put jobs into any state by the store's own methods.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from tunesmith.api.transport import ConnectionLimits, ServerConfig
from tunesmith.domain.ids import Ids

START_TIMEOUT_S = 20.0


@contextmanager
def serving_api(
    app: ASGIApp, listener: socket.socket, limits: ConnectionLimits, grace_s: int = 2
) -> Iterator[uvicorn.Server]:
    """Runs the API as `tunesmith api` does."""
    with running(ServerConfig(app, Ids(), limits, grace_s), listener) as server:
        yield server


@contextmanager
def serving(app: ASGIApp, listener: socket.socket) -> Iterator[str]:
    """Runs any other application and gives its URL."""
    config = uvicorn.Config(app, http="h11", log_level="warning", timeout_graceful_shutdown=2)
    with running(config, listener):
        yield url_of(listener)


@contextmanager
def running(config: uvicorn.Config, listener: socket.socket) -> Iterator[uvicorn.Server]:
    """Runs a server on a copy of `listener`. The socket outlives the server, as it does under the
    supervisor: until the next one starts, connections wait in its queue."""
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener.dup()]}, name="server"
    )
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.started:
            assert thread.is_alive(), "the server stopped while it was starting"
            assert time.monotonic() < deadline, "the server didn't start"
            time.sleep(0.005)
        yield server
    finally:
        server.should_exit = True
        thread.join()


def listening() -> socket.socket:
    """A listening socket on a free port of this machine."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"http://{host}:{port}"
