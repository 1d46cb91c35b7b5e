"""Holds every answer that the tests receive against OpenAI's own description.

`CheckedTransport` sits under the SDK (or a plain client): whatever comes back is validated before
the test sees it, by the vendored schemas (`openai_schemas.json`, made by `trim_spec.py`) and by
the official SDK's types in strict mode. `CONTRADICTIONS` are the only exceptions. The same goes
for our own document (`own_document.py`), which the transport asks the service for.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
from jsonschema import Draft202012Validator
from openai.types import Completion, FileDeleted, FileObject, Model, ModelDeleted, Upload
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionDeleted,
    ChatCompletionStoreMessage,
)
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.checkpoints import PermissionDeleteResponse, PermissionListResponse
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from openai.types.uploads import UploadPart
from pydantic import TypeAdapter

from tests.contract.own_document import OwnDocument

SCHEMAS = Path(__file__).with_name("openai_schemas.json")
MESSAGE_ROLES = {"developer", "system", "user", "assistant", "tool", "function"}
ERROR_KEYS = {"message", "type", "param", "code"}

# Where the service contradicts its description (behaviour reference, section 24.1): properties
# that may also be null. Those of what isn't built yet come with it.
CONTRADICTIONS = (
    ("OpenAIFile", "status_details"),
    ("OpenAIFile", "expires_at"),
    ("FineTuningJobEvent", "data"),
    ("FineTuningJob", "method"),
    ("ListFilesResponse", "first_id"),
    ("ListFilesResponse", "last_id"),
    ("Upload", "file"),
    ("CreateChatCompletionStreamResponse", "usage"),
    ("ChatCompletionList", "first_id"),
    ("ChatCompletionList", "last_id"),
    ("ChatCompletionMessageList", "first_id"),
    ("ChatCompletionMessageList", "last_id"),
)

NAMES_OF_MODELS = r"\{(model|fine_tuned_model_checkpoint)\}"  # they may hold slashes
# Of the first era and of our own: OpenAI's description of today has neither.
NOT_DESCRIBED = "/v1/files/[^/]+/report(/examples)?|/v1/fine-tunes(/.+)?"

# Schema → the SDK's type of the answer, or of each item of its `data`.
SDK_TYPES: Mapping[str, type] = {
    "OpenAIFile": FileObject,
    "ListFilesResponse": FileObject,
    "DeleteFileResponse": FileDeleted,
    "Upload": Upload,
    "UploadPart": UploadPart,
    "FineTuningJob": FineTuningJob,
    "ListPaginatedFineTuningJobsResponse": FineTuningJob,
    "ListFineTuningJobEventsResponse": FineTuningJobEvent,
    "ListFineTuningJobCheckpointsResponse": FineTuningJobCheckpoint,
    "ListFineTuningCheckpointPermissionResponse": PermissionListResponse,
    "DeleteFineTuningCheckpointPermissionResponse": PermissionDeleteResponse,
    "Model": Model,
    "ListModelsResponse": Model,
    "DeleteModelResponse": ModelDeleted,
    "CreateChatCompletionResponse": ChatCompletion,
    "CreateChatCompletionStreamResponse": ChatCompletionChunk,
    "CreateCompletionResponse": Completion,
    "ChatCompletionList": ChatCompletion,
    "ChatCompletionDeleted": ChatCompletionDeleted,
    "ChatCompletionMessageList": ChatCompletionStoreMessage,
}


class ContractBroken(AssertionError):
    """An answer is not what OpenAI's description says."""


def check_answer(method: str, path: str, response: httpx2.Response, body: bytes) -> None:
    """Raises ContractBroken unless the answer is what the description says about this route."""
    request_id = response.headers.get("x-request-id", "")
    _claim(re.fullmatch(r"req_[0-9a-f]{32}", request_id), f"request id {request_id!r}")
    _claim(response.headers.get("openai-version") == "2020-10-01", "openai-version")
    content_type = response.headers.get("content-type", "").partition(";")[0]
    if response.status_code >= 400:
        _claim(content_type == "application/json", f"an error of type {content_type}")
        check_error(json.loads(body))
        return
    _claim(response.status_code == 200, f"status {response.status_code} for a success")
    schema = _answer_schema(method, path, content_type)
    if schema is None:
        return
    is_stream = content_type == "text/event-stream"
    for item in _messages(content_type, body):
        if is_stream and "error" in item:
            check_error(item)
        elif schema == "CreateCompletionResponse":
            check_completion(item, is_piece=is_stream)
        else:
            check_schema(schema, item)


def check_completion(value: Any, *, is_piece: bool = False) -> None:
    """As `check_schema`; with two nulls that can't be said of a property as a whole: in a stream,
    the finish reason before the end, and with `echo`, what is told of a prompt's first token."""
    value = copy.deepcopy(value)
    for choice in value["choices"]:
        if is_piece and choice["finish_reason"] is None:
            choice["finish_reason"] = "stop"
        logprobs = choice["logprobs"] or {"token_logprobs": [], "top_logprobs": []}
        if logprobs["token_logprobs"][:1] == [None] and logprobs["top_logprobs"][:1] == [None]:
            logprobs["token_logprobs"][0], logprobs["top_logprobs"][0] = 0.0, {}
    check_schema("CreateCompletionResponse", value)


def check_error(body: Any) -> None:
    check_schema("ErrorResponse", body)
    _claim(body.keys() == {"error"} and body["error"].keys() == ERROR_KEYS, f"keys of {body}")


def check_schema(name: str, value: Any) -> None:
    """Raises ContractBroken unless `value` is a `name` of the description and of the SDK. Neither
    knows that a job may be paused, which the description's own example shows, nor that others than
    an assistant write messages that are stored."""
    if "FineTuningJob" in name and "Event" not in name and "Checkpoint" not in name:
        value = _as_if_it_ran(value)
    if name == "ChatCompletionMessageList":
        value = _as_if_all_were_answers(value)
    error = next(_validator(name).iter_errors(value), None)
    _claim(error is None, f"{name}: {error and error.message} at {error and error.json_path}")
    if name in SDK_TYPES:
        adapter: TypeAdapter[Any] = TypeAdapter(SDK_TYPES[name])
        for item in value["data"] if isinstance(value.get("data"), list) else [value]:
            adapter.validate_json(json.dumps(item), strict=True)


def _as_if_it_ran(value: Any) -> Any:
    if "data" in value:
        return {**value, "data": [_as_if_it_ran(job) for job in value["data"]]}
    return {**value, "status": "running"} if value.get("status") == "paused" else value


def _as_if_all_were_answers(value: Any) -> Any:
    roles = {message["role"] for message in value["data"]}
    _claim(roles <= MESSAGE_ROLES, f"messages of {roles}")
    return {**value, "data": [{**message, "role": "assistant"} for message in value["data"]]}


class CheckedTransport(httpx2.BaseTransport):
    """An HTTP transport that lets nothing of /v1 through unchecked."""

    def __init__(self) -> None:
        self._wire = httpx2.HTTPTransport()
        self._documents: dict[str, OwnDocument] = {}  # by the service's address

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self._wire.handle_request(request)
        method, path = request.method, request.url.path
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.SyncByteStream)
            response.stream = _CheckedStream(method, path, response, response.stream)
            self._check_by_own_document(request, response, b"")
        elif path.startswith("/v1/"):
            check_answer(method, path, response, response.read())
            self._check_by_own_document(request, response, response.content)
        return response

    def close(self) -> None:
        self._wire.close()

    def _check_by_own_document(
        self, request: httpx2.Request, response: httpx2.Response, body: bytes
    ) -> None:
        document = self._document(str(request.url.join("/openapi.json")))
        document.check(
            request.method,
            request.url.path,
            (_content_type(request.headers), _sent(request)),
            response.status_code,
            (_content_type(response.headers), body),
        )

    def _document(self, url: str) -> OwnDocument:
        if url not in self._documents:
            answer = self._wire.handle_request(httpx2.Request("GET", url))
            self._documents[url] = OwnDocument(json.loads(answer.read()))
        return self._documents[url]


class _CheckedStream(httpx2.SyncByteStream):
    """Checks a stream once all of it has passed; one that its reader leaves early isn't."""

    def __init__(
        self,
        method: str,
        path: str,
        response: httpx2.Response,
        stream: httpx2.SyncByteStream,
    ) -> None:
        self._about = (method, path, response)
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        seen = b""
        for chunk in self._stream:
            seen += chunk
            if seen.endswith(b"data: [DONE]\n\n"):  # the SDK reads no further
                check_answer(*self._about, seen)
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _sent(request: httpx2.Request) -> bytes:
    """The request's body, empty for one that was streamed and is gone."""
    try:
        return request.content
    except httpx2.RequestNotRead:
        return b""


def _content_type(headers: httpx2.Headers) -> str:
    return headers.get("content-type", "").partition(";")[0]


def _messages(content_type: str, body: bytes) -> Iterator[Any]:
    if content_type != "text/event-stream":
        yield json.loads(body)
        return
    events = [event for event in body.decode().split("\n\n") if event != ": keep-alive"]
    _claim(events[-2:] == ["data: [DONE]", ""], f"a stream that ends in {events[-2:]}")
    for event in events[:-2]:
        _claim(event.startswith("data: "), f"an event without data: {event!r}")
        yield json.loads(event.removeprefix("data: "))


def _answer_schema(method: str, path: str, content_type: str) -> str | None:
    """The schema of a successful answer; None for a route that answers with bytes, or that OpenAI
    has not got (there, our own document has the word)."""
    for operation, kinds in _description()["answers"].items():
        its_method, template = operation.split()
        pattern = re.sub(NAMES_OF_MODELS, ".+", "/v1" + template)
        pattern = re.sub(r"\{[a-z_]+\}", "[^/]+", pattern)
        if method == its_method and re.fullmatch(pattern, path):
            _claim(content_type in kinds, f"{operation} answers with {content_type}")
            name: str = kinds[content_type]
            return name
    is_known = path.endswith("/content") or re.fullmatch(NOT_DESCRIBED, path)
    _claim(is_known, f"{method} {path} is not in the description")
    return None


@cache
def _description() -> Any:
    description = json.loads(SCHEMAS.read_text(encoding="utf-8"))
    for schema, name in CONTRADICTIONS:
        properties = description["schemas"][schema]["properties"]
        properties[name] = {"anyOf": [properties[name], {"type": "null"}]}
    return description


@cache
def _validator(name: str) -> Draft202012Validator:
    schema = {
        "$ref": f"#/components/schemas/{name}",
        "components": {"schemas": _description()["schemas"]},
    }
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def _claim(is_true: object, what: str) -> None:
    if not is_true:
        raise ContractBroken(what)
