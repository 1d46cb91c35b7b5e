"""Our own OpenAPI document, and whether it is true.

That every answer, and every request which was taken, is as the document says is not shown here:
the transport under all tests of this folder holds each exchange to it.
"""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi.routing import iter_route_contexts
from jsonschema import Draft202012Validator

from tests.api.conftest import LiveApi
from tests.contract.own_document import DocumentBroken, OwnDocument

PUBLIC = {("GET", "/healthz"), ("GET", "/readyz")}
# POSTs that take no body. Any other one without a body in the document has lost it.
BODILESS = {
    ("POST", "/v1/fine_tuning/jobs/{job_id}/cancel"),
    ("POST", "/v1/fine_tuning/jobs/{job_id}/pause"),
    ("POST", "/v1/fine_tuning/jobs/{job_id}/resume"),
    ("POST", "/v1/fine-tunes/{fine_tune_id}/cancel"),
    ("POST", "/v1/uploads/{upload_id}/cancel"),
}
NOT_IN_IT = {("GET", "/openapi.json")}


@pytest.fixture(scope="module")
def raw(api: LiveApi) -> Any:
    """The document as anybody gets it: without a key."""
    answer = httpx2.get(f"{api.url}/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["x-request-id"].startswith("req_")
    return answer.json()


@pytest.fixture(scope="module")
def document(raw: Any) -> OwnDocument:
    return OwnDocument(raw)


def test_document_has_the_operations_of_the_app_and_no_others(
    api: LiveApi, document: OwnDocument
) -> None:
    routes = {
        (method, context.path_format)
        for context in iter_route_contexts(api.app.routes)
        for method in context.methods or ()
    }
    assert routes - NOT_IN_IT == document.operations().keys()


def test_operations_say_who_may_call_them_and_what_they_take(document: OwnDocument) -> None:
    operations = document.operations()
    assert {key for key, value in operations.items() if "security" not in value} == PUBLIC
    posts = {key: value for key, value in operations.items() if key[0] == "POST"}
    assert {key for key, value in posts.items() if "requestBody" not in value} == BODILESS
    ids = [operation["operationId"] for operation in operations.values()]
    assert len(ids) == len(set(ids))


def test_all_operations_fail_with_the_envelope_and_succeed_with_200(
    raw: Any, document: OwnDocument
) -> None:
    envelope = {"$ref": "#/components/schemas/ErrorReply"}
    for operation in document.operations().values():
        assert operation["responses"].keys() == {"200", "4XX", "5XX"}
        for status in ("4XX", "5XX"):
            content = operation["responses"][status]["content"]
            assert content == {"application/json": {"schema": envelope}}
    info = raw["components"]["schemas"]["ErrorInfo"]
    assert set(info["required"]) == set(info["properties"]) == {"message", "type", "param", "code"}


def test_references_lead_somewhere_and_schemas_are_schemas(raw: Any) -> None:
    schemas = raw["components"]["schemas"]
    for reference in references(raw):
        assert reference.removeprefix("#/components/schemas/") in schemas
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_streams_and_files_have_their_own_content_types(document: OwnDocument) -> None:
    def content(method: str, path: str) -> set[str]:
        return set(document.operations()[method, path]["responses"]["200"]["content"])

    for path in ("/v1/chat/completions", "/v1/completions"):
        assert content("POST", path) == {"application/json", "text/event-stream"}
    events = content("GET", "/v1/fine-tunes/{fine_tune_id}/events")
    assert events == {"application/json", "text/event-stream"}
    assert content("GET", "/v1/files/{file_id}/content") == {"application/octet-stream"}


@pytest.mark.parametrize(
    ("method", "path", "request_body", "status", "answer"),
    [
        ("GET", "/v1/models", b"", 200, ("application/json", b'{"object":"list"}')),
        ("GET", "/v1/models/a/b", b"", 200, ("application/json", b'{"id":"a/b"}')),
        ("GET", "/v1/models", b"", 201, ("application/json", b"{}")),
        ("GET", "/v1/models", b"", 404, ("application/json", b'{"error":{"message":"no"}}')),
        ("GET", "/v1/models", b"", 404, ("text/plain", b"no")),
        ("GET", "/v1/nowhere", b"", 200, ("application/json", b"{}")),
        ("POST", "/v1/chat/completions", b'{"model":"a"}', 200, ("text/event-stream", b"")),
    ],
)
def test_what_the_document_does_not_say_is_noticed(
    document: OwnDocument,
    method: str,
    path: str,
    request_body: bytes,
    status: int,
    answer: tuple[str, bytes],
) -> None:
    """A check that lets everything pass would make the transport's worthless."""
    with pytest.raises(DocumentBroken):
        document.check(method, path, ("application/json", request_body), status, answer)


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)
