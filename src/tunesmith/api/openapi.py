"""Our own OpenAPI document, public at /openapi.json: FastAPI's, with what it can't know.

FastAPI reads parameters and replies off the routes. Keys, bodies and errors are the business of
our own dependencies (`auth.py`, `bodies.py`) and handlers (`errors.py`); what those do is put in
here, found by looking at what each route depends on. So a new route appears by itself. Only a
form must be described where its route is, by `openapi_extra=form(…)`: nothing but code knows it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pydantic
from fastapi import APIRouter, FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic.json_schema import models_json_schema
from starlette.responses import JSONResponse, Response

from tunesmith import __version__
from tunesmith.api.auth import authenticate
from tunesmith.api.bodies import JsonBody
from tunesmith.api.idempotency import HEADER, once
from tunesmith.wire.errors import ErrorReply

Json = dict[str, Any]  # a part of the document

SCHEMAS = "#/components/schemas/{model}"
DESCRIPTION = (
    "A self-hosted service behind OpenAI's fine-tuning API. Every error, also that of a path "
    "which isn't in this document, is an `ErrorReply`; every answer has an `x-request-id`."
)
FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")  # schemas of what is never sent
# In OpenAPI 3.1 a stream's schema is, by custom, that of each event.
EVENT: Json = {
    "type": "object",
    "description": "One server-sent event: a chunk as JSON, and at the end `[DONE]`.",
    "properties": {"data": {"type": "string"}},
    "required": ["data"],
}
BEARER = "bearer"  # of the security schemes
# Of one key; they may name its organisation and project, by id or name, and nothing else.
TENANT_HEADERS = ("OpenAI-Organization", "OpenAI-Project")

router = APIRouter()


@router.get("/openapi.json", include_in_schema=False)
def openapi_document(request: Request) -> Response:
    app: FastAPI = request.app
    if not hasattr(app.state, "openapi_document"):
        app.state.openapi_document = describe(app)
    return JSONResponse(app.state.openapi_document)


def describe(app: FastAPI) -> Json:
    """The document of all routes that are in the schema."""
    document: Json = get_openapi(
        title="tunesmith", version=__version__, description=DESCRIPTION, routes=app.routes
    )
    request_models: set[type[pydantic.BaseModel]] = set()
    for operation, dependencies in _operations(app, document):
        for dependency in dependencies:
            if dependency is authenticate:
                _describe_key(operation)
            elif dependency is once:
                _describe_headers(operation, HEADER)
            elif isinstance(dependency, JsonBody):
                _describe_body(operation, dependency.kind)
                request_models.add(dependency.kind)
        _describe_errors(operation)
    components = document.setdefault("components", {})
    components["schemas"] = _with_schemas(
        components.get("schemas", {}), request_models | {ErrorReply}
    )
    components["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer"}}
    return document


def form(properties: Mapping[str, Json], required: Sequence[str]) -> Json:
    """What a route that takes a form says of it, as `openapi_extra`."""
    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def _operations(app: FastAPI, document: Json) -> Iterator[tuple[Json, list[object]]]:
    """Each operation of the document with all that its route depends on."""
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, APIRoute) or not context.include_in_schema:
            continue
        for method in context.methods or ():
            operation = document["paths"][context.path_format][method.lower()]
            # The name is what SDKs would call it; FastAPI's own id repeats path and method.
            operation["operationId"] = context.name
            found = _dependencies(cast(Dependant, context.dependant))
            yield operation, list(dict.fromkeys(found))  # some depend on others of them


def _dependencies(dependant: Dependant) -> Iterator[object]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _dependencies(dependency)


def _describe_key(operation: Json) -> None:
    operation["security"] = [{BEARER: []}]
    _describe_headers(operation, *TENANT_HEADERS)


def _describe_headers(operation: Json, *names: str) -> None:
    operation.setdefault("parameters", []).extend(
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
        for name in names
    )


def _describe_body(operation: Json, kind: type[pydantic.BaseModel]) -> None:
    reference = {"$ref": SCHEMAS.format(model=kind.__name__)}
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": reference}},
    }
    if "stream" in kind.model_fields:
        operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": EVENT}


def _describe_errors(operation: Json) -> None:
    """Any error may come from anywhere; what FastAPI says of 422 is never sent."""
    responses = operation["responses"]
    responses.pop("422", None)
    reference = {"$ref": SCHEMAS.format(model=ErrorReply.__name__)}
    content = {"application/json": {"schema": reference}}
    responses["4XX"] = {
        "description": "The request can't be answered as it is.",
        "content": content,
    }
    responses["5XX"] = {"description": "The service failed; try again.", "content": content}


def _with_schemas(schemas: Json, models: set[type[pydantic.BaseModel]]) -> Json:
    """FastAPI's schemas, without those of its own errors, and `models` with their parts."""
    _, generated = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=SCHEMAS,
    )
    ours = generated["$defs"]
    known = {name: schema for name, schema in schemas.items() if name not in FASTAPI_ERRORS}
    for name in ours.keys() & known.keys():
        assert ours[name] == known[name], f"two wire types are called {name}"
    return dict(sorted((known | ours).items()))
