"""The API's end of the engine contract: completions on token ids, over HTTP.

The contract is a part of what vLLM speaks. This is the client of our own engines; where vLLM stands
in their place, some of it is said differently (`vllm.py`):

    POST /v1/completions         prompt as token ids; answers at once or as a stream, with
                                 log-probabilities of tokens by their ids where asked for
    POST /v1/load_lora_adapter   makes an adapter known under its id
    GET  /health                 200 as soon as the engine works

An engine may be starting, or being restarted after a crash. Its listening socket belongs to the
supervisor, so connections then hang rather than fail. Requests wait for it, up to a deadline,
and begin again as long as nothing of the answer has been passed on. A restarted engine knows no
adapters: what it has forgotten is loaded again.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx2

from tunesmith.api.engine_messages import (
    UNREADABLE,
    Adapter,
    Chunk,
    EngineRequest,
    Json,
    to_body,
    to_chunk,
    to_error,
)
from tunesmith.domain import errors

log = logging.getLogger("tunesmith.api")

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 600.0  # between two signs of life during a completion
RETRY_INTERVAL_S = 0.25
TRUSTED_FOR_S = 2.0  # after a sign of life the engine is taken to be up for so long
BROKEN_OFF = "The model's engine stopped in the middle of the answer. Send the request again."
NOT_ANSWERING = "The model's engine doesn't answer. Try again in a moment."
NOT_LOADED = "The tuned model could not be loaded. Try again later."
# A machine that vanishes says no goodbye: after some 45 s of silence the kernel asks for it. Not
# every system lets us say when.
KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]


class NotLoaded(Exception):
    """The engine doesn't know the adapter that was asked for, whatever it knew before."""


class EngineClient:
    """Talks to the engine of one base model.

    `base_name` is what the engine calls the bare base model; `wait_s` how long a request waits
    for an engine that isn't up. `max_context` is what the engine has told of the tokens that a
    prompt and its completion may have together, if it tells that; `outlives_us` is true of one
    that may know adapters from before this process.
    """

    max_context: int | None = None
    outlives_us = False

    def __init__(self, url: str, token: str | None, *, base_name: str, wait_s: float) -> None:
        self._base_name = base_name
        self._wait_s = wait_s
        self._salt_key = (token or secrets.token_hex()).encode()
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            transport=httpx2.AsyncHTTPTransport(
                # The engine queues; a limit here would only hide its queue.
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
                trust_env=False,
                socket_options=KEEPALIVE,
            ),
            trust_env=False,  # no proxy between two parts of one service
        )
        self._loaded: set[str] = set()
        self._loading = asyncio.Lock()
        self._heard_at = float("-inf")

    async def close(self) -> None:
        await self._http.aclose()

    async def is_up(self, timeout_s: float) -> bool:
        try:
            answer = await self._http.get("/health", timeout=timeout_s)
        except httpx2.TransportError:
            return False
        return answer.is_success

    async def generate(self, request: EngineRequest, *, stream: bool) -> AsyncGenerator[Chunk]:
        """The completions, chunk by chunk as they are made, or (not `stream`) in one chunk.

        Raises InvalidRequest for what the engine refuses, Unavailable if it doesn't answer in
        time or goes away in the middle of a stream. Closing the generator stops the engine.
        """
        deadline = time.monotonic() + self._wait_s
        has_begun = False
        while True:
            await self._until_up(deadline)
            try:
                async with aclosing(self._attempt(request, stream)) as chunks:
                    async for chunk in chunks:
                        has_begun = True
                        yield chunk
                return
            except httpx2.TransportError as error:
                if has_begun:
                    raise errors.Unavailable(BROKEN_OFF) from error
                await self._note_silence(error, deadline)

    async def forget_adapter(self, adapter_id: str) -> None:
        """Tells the engine to drop an adapter that was deleted; an engine that isn't up has
        nothing to drop."""
        if adapter_id not in self._loaded and not self.outlives_us:
            return
        self._loaded.discard(adapter_id)
        try:
            await self._http.post(
                "/v1/unload_lora_adapter",
                json={"lora_name": adapter_id},
                timeout=CONNECT_TIMEOUT_S,
            )
        except httpx2.TransportError as error:
            log.warning("could not unload adapter %s: %r", adapter_id, error)

    # What may be said differently to another engine.

    def body(self, request: EngineRequest, *, cache_salt: str, stream: bool) -> Json:
        return to_body(request, base_name=self._base_name, cache_salt=cache_salt, stream=stream)

    def chunk(self, message: Json, request: EngineRequest) -> Chunk:
        return to_chunk(message, request.prompt)

    def adapter_path(self, adapter: Adapter) -> str:
        """Where the engine finds the adapter's files."""
        return str(adapter.folder)

    def said_of_adapter(self, answer: httpx2.Response) -> str:
        """Why it doesn't load one, for the operator."""
        return f"{answer.status_code} {answer.text[:500]}"

    async def is_ready(self, timeout_s: float) -> bool:
        """Whether it can be asked. Raises Unavailable if waiting for it is no use."""
        return await self.is_up(timeout_s)

    async def _attempt(self, request: EngineRequest, stream: bool) -> AsyncGenerator[Chunk]:
        """One try, or two if the engine has forgotten the adapter: restarted since we loaded it,
        or it needed the room. Raises httpx2.TransportError when the connection fails, at any
        point."""
        may_load_again = True
        while True:
            try:
                async with aclosing(self._answer(request, stream)) as chunks:
                    async for chunk in chunks:
                        may_load_again = False
                        yield chunk
                return
            except NotLoaded as error:
                if request.adapter is not None:
                    self._loaded.discard(request.adapter.id)
                if not may_load_again:
                    raise errors.Unavailable(NOT_LOADED) from error
                may_load_again = False

    async def _answer(self, request: EngineRequest, stream: bool) -> AsyncGenerator[Chunk]:
        response = await self._send(request, stream)
        try:
            if response.status_code == 404 and request.adapter is not None:
                raise NotLoaded
            if not response.is_success:
                raise to_error(response.status_code, await response.aread())
            async for message in _messages(response, stream):
                self._heard_at = time.monotonic()
                _refuse_other_model(message, request)
                yield self.chunk(message, request)
        finally:
            await response.aclose()

    async def _send(self, request: EngineRequest, stream: bool) -> httpx2.Response:
        if request.adapter is not None:
            await self._load(request.adapter)
        body = self.body(request, cache_salt=self._salt(request.tenant), stream=stream)
        message = self._http.build_request("POST", "/v1/completions", json=body)
        return await self._http.send(message, stream=True)

    def _salt(self, tenant: str) -> str:
        """Prompts are computed once for all requests of the same salt."""
        return hmac.new(self._salt_key, tenant.encode(), hashlib.sha256).hexdigest()[:32]

    async def _load(self, adapter: Adapter) -> None:
        """Makes the adapter known to the engine, once."""
        if adapter.id in self._loaded:
            return
        async with self._loading:
            if adapter.id in self._loaded:  # by whoever had the lock before
                return
            answer = await self._http.post(
                "/v1/load_lora_adapter",
                json={"lora_name": adapter.id, "lora_path": self.adapter_path(adapter)},
            )
            is_known_already = answer.status_code == 400 and "already" in answer.text
            if not answer.is_success and not is_known_already:
                path, said = self.adapter_path(adapter), self.said_of_adapter(answer)
                log.error("engine refused adapter %s in %s: %s", adapter.id, path, said)
                raise errors.Unavailable(NOT_LOADED)
            self._loaded.add(adapter.id)

    async def _until_up(self, deadline: float) -> None:
        """Returns when the engine works. Raises Unavailable at the deadline.

        Asked first, since a completion that hangs could also be one that takes its time.
        """
        while time.monotonic() - self._heard_at > TRUSTED_FOR_S:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise errors.Unavailable(NOT_ANSWERING)
            if await self.is_ready(left_s):
                self._heard_at = time.monotonic()
            else:
                await asyncio.sleep(min(RETRY_INTERVAL_S, left_s))

    async def _note_silence(self, error: httpx2.TransportError, deadline: float) -> None:
        """The engine went away: all it had loaded is gone. Raises Unavailable at the deadline."""
        log.warning("engine went away: %r", error)
        self._heard_at = float("-inf")
        self._loaded.clear()
        if time.monotonic() >= deadline:
            raise errors.Unavailable(NOT_ANSWERING) from error
        await asyncio.sleep(RETRY_INTERVAL_S)


def _refuse_other_model(message: Json, request: EngineRequest) -> None:
    """An engine may answer by its base model for a name that it doesn't know; it says whose answer
    it is. Raises NotLoaded."""
    if request.adapter is None or "choices" not in message:  # an error names no model
        return
    if message.get("model") != request.adapter.id:
        log.error("asked for adapter %s, answered by %r", request.adapter.id, message.get("model"))
        raise NotLoaded


async def _messages(response: httpx2.Response, stream: bool) -> AsyncIterator[Json]:
    if not stream:
        yield _read(await response.aread())
        return
    rest = b""
    async for received in response.aiter_bytes():
        # By hand: httpx2's own lines also end at U+2028 and its like, which a text may hold.
        *lines, rest = (rest + received).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            yield _read(data)
    raise httpx2.RemoteProtocolError("the stream ended without [DONE]")


def _read(data: bytes) -> Json:
    """Raises Unavailable for what isn't a JSON object."""
    try:
        message: Any = json.loads(data)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        log.error("engine sent what isn't JSON: %r", data[:200])
        raise errors.Unavailable(UNREADABLE)
    return message
