"""The engine's face: HTTP for one client, our API. See `contract.py` for the bodies.

    POST /v1/completions            token ids in, text out, whole or as a stream
    POST /v1/load_lora_adapter      makes an adapter known
    POST /v1/unload_lora_adapter    forgets it
    GET  /v1/models                 the base model and the known adapters
    GET  /health                    200 while the engine works

Everything under /v1 asks for the token, if there is one. Nothing that a client sends gives a 5xx
status or stops the engine; a client that goes away has its sequences dropped within a step.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tunesmith.domain import errors
from tunesmith.domain.ids import Ids
from tunesmith.inference.contract import (
    CompletionBody,
    Json,
    LoadAdapterBody,
    Replies,
    UnloadAdapterBody,
    error_body,
)
from tunesmith.inference.engine import Delta, join
from tunesmith.inference.sequence import Sequence
from tunesmith.inference.thread import Completion, EngineThread

MAX_BODY_BYTES = 16 * 1024**2  # a prompt of a million tokens, at seven characters a token

STATUSES: dict[type[errors.TunesmithError], int] = {
    errors.InvalidRequest: 400,
    errors.UnsupportedModel: 400,
    errors.Unauthenticated: 401,
    errors.NotFound: 404,
    errors.PayloadTooLarge: 413,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
}

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class ServerOptions:
    base_name: str  # what requests call the bare base model
    adapters_folder: Path  # adapters are loaded from inside it only
    token: str | None = None


def create_server(engine: EngineThread, options: ServerOptions) -> FastAPI:
    """The application; it starts the engine's thread and stops it at its end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        engine.start()
        yield
        engine.stop()

    server = FastAPI(lifespan=lifespan, openapi_url=None)
    server.state.engine = engine
    server.state.options = options
    server.state.ids = Ids()
    server.include_router(_open)
    server.include_router(_guarded)
    server.add_exception_handler(errors.TunesmithError, _answer_error)
    server.add_exception_handler(HTTPException, _answer_http_error)
    server.add_exception_handler(ClientDisconnect, _answer_nobody)
    return server


async def require_token(request: Request) -> None:
    token = request.app.state.options.token
    if token is None:
        return
    sent = request.headers.get("authorization", "")
    if not hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
        raise errors.Unauthenticated("This engine asks for its token.", code="invalid_api_key")


_open = APIRouter()
_guarded = APIRouter(prefix="/v1", dependencies=[Depends(require_token)])


@_open.get("/health")
async def health(request: Request) -> Response:
    return Response(status_code=200 if _engine(request).is_alive else 503)


@_guarded.get("/models")
async def models(request: Request) -> JSONResponse:
    options: ServerOptions = request.app.state.options
    adapters = await _engine(request).adapters()
    entries: list[Json] = [{"id": options.base_name, "object": "model", "parent": None}]
    for adapter in adapters:
        entries.append({"id": adapter.name, "object": "model", "parent": options.base_name})
    return JSONResponse({"object": "list", "data": entries})


@_guarded.post("/load_lora_adapter")
async def load_lora_adapter(request: Request) -> Response:
    body = await _read(request, LoadAdapterBody)
    if body.lora_name == request.app.state.options.base_name:
        raise errors.InvalidRequest(
            "An adapter can't have the base model's name.", param="lora_name"
        )
    folder = _inside(request.app.state.options.adapters_folder, body.lora_path)
    await _engine(request).add_adapter(body.lora_name, folder)
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")


@_guarded.post("/unload_lora_adapter")
async def unload_lora_adapter(request: Request) -> Response:
    body = await _read(request, UnloadAdapterBody)
    await _engine(request).remove_adapter(body.lora_name)
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")


@_guarded.post("/completions")
async def completions(request: Request) -> Response:
    body = await _read(request, CompletionBody)
    engine = _engine(request)
    wanted = body.to_request(request.app.state.options.base_name, engine.limits.max_context)
    completion = await engine.submit(wanted)
    return CompletionResponse(completion, body, request.app.state.ids.completion())


class CompletionResponse(Response):
    """Answers as the engine goes on, and stops it when the client goes away."""

    def __init__(self, completion: Completion, body: CompletionBody, completion_id: str) -> None:
        super().__init__()
        self._completion = completion
        self._body = body
        self._replies = Replies(completion_id, body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._stream(send) if self._body.stream else self._whole(scope, receive, send)
        answering = asyncio.ensure_future(answer)
        leaving = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            answering.cancel()
            leaving.cancel()
            self._completion.cancel()

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole: dict[Sequence, Delta] = {}
        async for deltas in self._completion.deltas():
            _raise_first_error(deltas)
            for delta in deltas:
                earlier = whole.get(delta.sequence)
                whole[delta.sequence] = join(earlier, delta) if earlier else delta
        reply = self._replies.whole(whole.values(), self._completion.sequences)
        await JSONResponse(reply)(scope, receive, send)

    async def _stream(self, send: Send) -> None:
        events = self._events()
        event = await anext(events)  # an error that comes first still gets its own status
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": event, "more_body": True})
        async for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncGenerator[bytes]:
        """Server-sent events; an error that isn't the first of them is an event too."""
        has_begun = False
        try:
            async for deltas in self._completion.deltas():
                _raise_first_error(deltas)
                # Whatever else is told of tokens comes with their text.
                pieces = [d for d in deltas if d.text or d.is_end or d.prompt_logprobs is not None]
                if pieces:
                    yield b"".join(_event(self._replies.piece([delta])) for delta in pieces)
                    has_begun = True
            if self._body.wants_usage:
                yield _event(self._replies.last_piece(self._completion.sequences))
        except errors.TunesmithError as error:
            if not has_begun:
                raise
            yield _event(error_body(error, status_of(error)))
        yield b"data: [DONE]\n\n"


def status_of(error: errors.TunesmithError) -> int:
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def _engine(request: Request) -> EngineThread:
    engine: EngineThread = request.app.state.engine
    return engine


async def _read(request: Request, kind: type[Body]) -> Body:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise errors.PayloadTooLarge(f"The body has more than {MAX_BODY_BYTES} bytes.")
    try:
        return kind.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise errors.InvalidRequest(
            f"{where}: {first['msg']}" if where else first["msg"],
            param=str(first["loc"][0]) if first["loc"] else None,
        ) from error


def _inside(root: Path, path: str) -> Path:
    """`path` with all links followed. Raises InvalidRequest if that doesn't lie inside `root`."""
    try:
        folder = Path(path).resolve()
        is_inside = root.resolve() in folder.parents
    except (OSError, ValueError, RuntimeError):  # a loop of links, a NUL, …
        is_inside = False
    if not is_inside:
        raise errors.InvalidRequest(
            "Adapters are loaded from the engine's adapter folder only.", param="lora_path"
        )
    return folder


def _raise_first_error(deltas: Iterable[Delta]) -> None:
    for delta in deltas:
        if delta.error is not None:
            raise delta.error


def _event(message: Json) -> bytes:
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, errors.TunesmithError), "registered for these"
    status = status_of(error)
    return JSONResponse(error_body(error, status), status_code=status)


async def _answer_http_error(_: Request, error: Exception) -> Response:
    """An unknown route, or a wrong verb."""
    assert isinstance(error, HTTPException), "registered for these"
    said = error_body(errors.InvalidRequest(str(error.detail)), error.status_code)
    return JSONResponse(said, status_code=error.status_code, headers=error.headers)


async def _answer_nobody(_: Request, error: Exception) -> Response:
    """The client left before it had said what it wanted."""
    del error
    return Response(status_code=400)
