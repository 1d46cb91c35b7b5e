"""Makes `openai_schemas.json` from OpenAI's description: what this surface takes and answers.

    python tests/contract/trim_spec.py openapi.json

Kept are, for each operation of the groups that this surface is about, what a request to it may
hold (`description.py` walks that); for each that we offer, the schemas of its successful answers;
and whatever they refer to. Prose is dropped. Two leftovers of OpenAPI 3.0 in the description, which
calls itself 3.1, are turned into JSON Schema: `nullable` and boolean `exclusiveMinimum`.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).with_name("openai_schemas.json")
GROUPS = re.compile("/(files|uploads|fine_tuning|models|chat|completions)(/.*)?")
METHODS = {"get", "post", "put", "patch", "delete"}
OFFERED = (
    "POST /files",
    "GET /files",
    "GET /files/{file_id}",
    "DELETE /files/{file_id}",
    "POST /uploads",
    "POST /uploads/{upload_id}/parts",
    "POST /uploads/{upload_id}/complete",
    "POST /uploads/{upload_id}/cancel",
    "POST /fine_tuning/jobs",
    "GET /fine_tuning/jobs",
    "GET /fine_tuning/jobs/{fine_tuning_job_id}",
    "POST /fine_tuning/jobs/{fine_tuning_job_id}/cancel",
    "POST /fine_tuning/jobs/{fine_tuning_job_id}/pause",
    "POST /fine_tuning/jobs/{fine_tuning_job_id}/resume",
    "GET /fine_tuning/jobs/{fine_tuning_job_id}/events",
    "GET /fine_tuning/jobs/{fine_tuning_job_id}/checkpoints",
    "GET /fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions",
    "POST /fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions",
    "DELETE /fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions/{permission_id}",
    "GET /models",
    "GET /models/{model}",
    "DELETE /models/{model}",
    "POST /chat/completions",
    "GET /chat/completions",
    "GET /chat/completions/{completion_id}",
    "POST /chat/completions/{completion_id}",
    "DELETE /chat/completions/{completion_id}",
    "GET /chat/completions/{completion_id}/messages",
    "POST /completions",
)
# The description doesn't say that this one is streamed too, in objects of the same kind.
STREAMED_ALIKE = {"POST /completions": "CreateCompletionResponse"}
ERROR_SCHEMA = "ErrorResponse"
PROSE = {"description", "example", "examples", "deprecated", "title", "externalDocs", "default"}
REF = "#/components/schemas/"


def trimmed(spec: dict[str, Any]) -> dict[str, Any]:
    answers = {operation: _answers(spec, operation) for operation in OFFERED}
    requests = {operation: _request(spec, operation) for operation in _operations(spec)}
    schemas: dict[str, Any] = {}
    waiting = [ERROR_SCHEMA, *(name for kinds in answers.values() for name in kinds.values())]
    waiting += _references(requests)
    while waiting:
        name = waiting.pop()
        if name not in schemas:
            schemas[name] = _plain(spec["components"]["schemas"][name])
            waiting += _references(schemas[name])
    return {
        "source": f"OpenAI's OpenAPI description, version {spec['info']['version']}",
        "answers": answers,
        "requests": requests,
        "schemas": dict(sorted(schemas.items())),
    }


def _operations(spec: dict[str, Any]) -> list[str]:
    """All of the groups, offered here or not."""
    return [
        f"{method.upper()} {path}"
        for path, operations in spec["paths"].items()
        if GROUPS.fullmatch(path)
        for method in operations
        if method in METHODS
    ]


def _request(spec: dict[str, Any], operation: str) -> dict[str, Any]:
    """Its parameters, and its body's schema by content type."""
    method, path = operation.split()
    described = spec["paths"][path][method.lower()]
    content = described.get("requestBody", {}).get("content", {})
    return {
        "parameters": [
            {
                "name": parameter["name"],
                "in": parameter["in"],
                "required": parameter.get("required", False),
                "schema": _plain(parameter["schema"]),
            }
            for parameter in described.get("parameters", [])
        ],
        "body": {kind: _plain(value["schema"]) for kind, value in content.items()},
    }


def _answers(spec: dict[str, Any], operation: str) -> dict[str, str]:
    """Content type → schema name, of status 200."""
    method, path = operation.split()
    content = spec["paths"][path][method.lower()]["responses"]["200"]["content"]
    answers = {kind: value["schema"]["$ref"].removeprefix(REF) for kind, value in content.items()}
    if operation in STREAMED_ALIKE:
        answers["text/event-stream"] = STREAMED_ALIKE[operation]
    return answers


def _plain(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if not _is_prose(key, value)}
    is_nullable = kept.pop("nullable", False)
    if kept.get("exclusiveMinimum") is True:
        kept["exclusiveMinimum"] = kept.pop("minimum")
    # The names of properties are not keywords: only their schemas are looked into.
    plain = {
        key: {name: _plain(value) for name, value in part.items()}
        if key == "properties"
        else _plain(part)
        for key, part in kept.items()
    }
    return {"anyOf": [plain, {"type": "null"}]} if is_nullable else plain


def _is_prose(key: str, value: Any) -> bool:
    return key.startswith("x-") or key in PROSE or (key == "discriminator" and bool(value))


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for item in schema for name in _references(item)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].removeprefix(REF)] if isinstance(schema.get("$ref"), str) else []
    return own + [name for value in schema.values() for name in _references(value)]


if __name__ == "__main__":
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    OUTPUT.write_text(json.dumps(trimmed(spec), indent=1) + "\n", encoding="utf-8")
