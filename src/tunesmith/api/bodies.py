"""JSON bodies: read within a limit, parsed strictly, refused in OpenAI's words.

FastAPI's own body handling would read without a limit, parse with the standard library (which
lets through what JSON doesn't have, and fails on deep nesting) and only then validate. Here
pydantic parses and validates in one go.

A body is held in memory until it is parsed. How long that takes is up to its sender, so large
bodies have one room together, whatever the number of connections: see `body_room.py`.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import jiter
import pydantic
import pydantic_core
from fastapi import Request

from tunesmith.api import validation
from tunesmith.api.auth import CallerDep
from tunesmith.api.body_room import BodyPlace
from tunesmith.api.context import ServicesDep
from tunesmith.domain import errors
from tunesmith.wire import base

T = TypeVar("T", bound=base.Request)
Refuse = Callable[[Sequence[validation.Finding], Any], errors.InvalidRequest]

MAX_FINDINGS = 1000
FREE_BYTES = 64 * 1024  # of each body that take none of the room: nearly all requests are smaller
DUPLICATE = re.compile(r'Detected duplicate key "(.*)" at', re.DOTALL)
NOT_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
    "your HTTP library correctly. The API expects a JSON payload, but what was sent was not valid "
    "JSON. {detail})"
)


@dataclass(frozen=True)
class JsonBody(Generic[T]):
    """The dependency that `json_body` makes; `openapi.py` describes it by its kind."""

    kind: type[T]
    refuse: Refuse

    async def __call__(self, request: Request, caller: CallerDep, services: ServicesDep) -> T:
        place = services.body_room.place(caller.organization.id)
        body = await read_body(request, services.limits.max_body_bytes, place)
        _refuse_many_values(body, services.limits.max_commas)
        try:
            valid = self.kind.model_validate_json(body)
        except pydantic.ValidationError as error:
            if error.error_count() > MAX_FINDINGS:  # listing a million would take seconds
                raise errors.InvalidRequest(
                    f"The request has {error.error_count()} errors. Is it meant for this route?"
                ) from error
            findings = error.errors(include_url=False)
            if findings[0]["type"] == "json_invalid":
                raise _not_json(body, findings[0]["ctx"]["error"]) from error
            raise self.refuse(findings, pydantic_core.from_json(body)) from error
        _check_again(body)
        return valid


def json_body(kind: type[T], refuse: Refuse = validation.refusal) -> JsonBody[T]:
    """A dependency that gives a request's body as a `kind`, whatever its content type says."""
    return JsonBody(kind, refuse)


async def read_body(request: Request, max_bytes: int, place: BodyPlace) -> bytes:
    """The whole body. Raises PayloadTooLarge, RateLimited, Unavailable."""
    body = bytearray()  # not a list of chunks: one of a single byte takes up forty
    try:
        async for chunk in limited(request, max_bytes):
            body += chunk
            place.grow_to(max(len(body) - FREE_BYTES, 0))
        return bytes(body)
    finally:
        place.grow_to(0)


async def limited(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises PayloadTooLarge as soon as it is known to be longer."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large(max_bytes)
    num_bytes = 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes > max_bytes:
            raise too_large(max_bytes)
        yield chunk


def too_large(max_bytes: int) -> errors.PayloadTooLarge:
    return errors.PayloadTooLarge(
        f"The request is too large: this service takes at most {max_bytes} bytes here."
    )


def _refuse_many_values(body: bytes, max_commas: int) -> None:
    """What is made of a body takes time and memory by the value, not by the byte: 16 million
    token ids in 32 MiB were 4.5 s and 1 GB. Commas in texts count too; to tell them apart would
    cost more than it gives. Raises InvalidRequest."""
    num_commas = body.count(b",")
    if num_commas > max_commas:
        raise errors.InvalidRequest(
            f"The JSON body has too many values: it has {num_commas} commas, and this service "
            f"takes at most {max_commas} in one request. Send less at once."
        )


def _check_again(body: bytes) -> None:
    """Raises InvalidRequest if an object has a key twice (which one was meant?), or if there is
    a NaN where the model allows anything.

    pydantic takes the last of the two and can't be told otherwise, so its parser runs once more,
    by itself. That is no more work than the first time (2.6 + 2.5 ms for 1.3 MB of messages), and
    the body is known by now to need no more memory than its model has taken.
    """
    try:
        jiter.from_json(body, catch_duplicate_keys=True, allow_inf_nan=False, cache_mode="keys")
    except ValueError as error:
        found = DUPLICATE.search(str(error))
        if found is None:  # the two parsers disagree
            raise _not_json(body, str(error)) from error
        key = found[1][: validation.SHOWN_LENGTH]
        raise errors.InvalidRequest(
            f"The JSON body has the key '{key}' more than once in one object. Send it once.",
            param=key,
            code="duplicate_key",
        ) from error


def _not_json(body: bytes, detail: str) -> errors.InvalidRequest:
    try:
        body.decode()
    except UnicodeDecodeError:
        detail = "it is not encoded in UTF-8"
    return errors.InvalidRequest(NOT_JSON.format(detail=f"The parser says: {detail}."))
