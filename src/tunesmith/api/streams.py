"""Answers that end when their reader does.

A generation costs the engine's time until it is told to stop. So both kinds of answer, a stream
and one whole object, run beside a look-out for the client's disconnect and are cancelled by it.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing
from itertools import chain
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")


class EventStream(Response):
    """Server-sent events. Nothing is sent before the first one is there, so an error until then
    is answered like any other, with its own status."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        # So that nginx doesn't collect the stream.
        super().__init__(headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_disconnected(receive, self._stream(send))
        except ClientDisconnect:
            return  # nobody is left to tell

    async def _stream(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            event = await anext(events)
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            await send({"type": "http.response.body", "body": event, "more_body": True})
            async for event in events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def long_json(parts: Iterator[bytes]) -> Response:
    """JSON that is written out in threads, and in parts that don't pile up: where FastAPI would do
    it, ten thousand fine-tunes (5 MB) hold up everybody else for 0.2 s and take 55 MB."""
    begun = next(parts)  # what goes wrong until here is answered with its own status
    return StreamingResponse(chain([begun], parts), media_type="application/json")


def end_with_server(request: Request) -> None:
    """For an answer that may last for hours: when the server stops it hangs up at once, where it
    gives any other answer some seconds to come to its end."""
    request.state.ends_with_server = True


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives. Cancels it and raises ClientDisconnect when the client goes away; the
    request's body must have been read before."""
    task = asyncio.create_task(work)
    look_out = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait({task, look_out}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in (task, look_out):
            each.cancel()
        await asyncio.gather(task, look_out, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
