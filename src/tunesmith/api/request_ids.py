"""An id for every request, and the headers that OpenAI sends with every answer.

Plain ASGI: a middleware that wraps responses would hold back streams.
"""

import time
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunesmith.domain.ids import Ids
from tunesmith.domain.tenancy import Caller

API_VERSION = "2020-10-01"


class RequestIds:
    """Notes id and start of a request in its state and adds the headers to its answer."""

    def __init__(self, app: ASGIApp, ids: Ids) -> None:
        self._app = app
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = self._ids.request()
        state["started_at"] = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(answer_headers(scope))
            await send(message)

        await self._app(scope, receive, send_with_headers)


def request_id(request: HTTPConnection) -> str:
    return str(request.state.request_id)


def answer_headers(scope: Scope) -> Mapping[str, str]:
    """The headers of section 18.2, as far as they are known when the answer starts."""
    state = scope["state"]
    elapsed_ms = int(1000 * (time.perf_counter() - state["started_at"]))
    headers = {
        "x-request-id": state["request_id"],
        "openai-version": API_VERSION,
        "openai-processing-ms": str(elapsed_ms),
        "cache-control": "no-cache, must-revalidate",
        "x-content-type-options": "nosniff",
        **state.get("rate_headers", {}),
    }
    model = state.get("model", "")
    if model and model.isascii() and model.isprintable():  # operators may call one anything
        headers["openai-model"] = model
    caller: Caller | None = state.get("caller")
    if caller is not None:
        headers["openai-organization"] = caller.organization.name
        headers["openai-project"] = caller.project.id
    return headers
