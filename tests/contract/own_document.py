"""Holds requests and answers against our own OpenAPI document, as `checker.py` does against
OpenAI's: what it says must be true of every exchange that a test has with the service."""

import json
import re
from functools import cached_property
from typing import Any

from jsonschema import Draft202012Validator

Json = dict[str, Any]

# Parameters of paths, as an escaped path has them.
NAMES_OF_MODELS = r"\\\{(name|fine_tuned_model_checkpoint)\\\}"
ALSO_NAMES = r"\\\{(name|fine_tuned_model_checkpoint|fine_tune_id)\\\}"  # where one is deleted


class DocumentBroken(AssertionError):
    """An exchange with the service isn't what our document says."""


class OwnDocument:
    def __init__(self, document: Json) -> None:
        self._document = document
        self._validators: dict[str, Draft202012Validator] = {}

    def operations(self) -> dict[tuple[str, str], Json]:
        """(method, path template) → operation."""
        return {
            (method.upper(), path): operation
            for path, operations in self._document["paths"].items()
            for method, operation in operations.items()
        }

    def check(
        self,
        method: str,
        path: str,
        request: tuple[str, bytes],
        status: int,
        answer: tuple[str, bytes],
    ) -> None:
        """Raises DocumentBroken unless the document says so of this exchange. `request` and
        `answer` are content type and body."""
        operation = self._operation(method, path)
        if operation is None:
            _claim(status >= 400, f"{method} {path} answers {status} and isn't in the document")
            return
        responses = operation["responses"]
        described = responses.get(str(status)) or responses.get(f"{status // 100}XX")
        _claim(described, f"{method} {path} answers {status}")
        content_type, body = answer
        _claim(content_type in described["content"], f"{method} {path} answers {content_type}")
        if content_type == "application/json":
            self._check_json(described["content"][content_type]["schema"], body)
        if status == 200:
            self._check_request(operation, *request)

    def _check_request(self, operation: Json, content_type: str, body: bytes) -> None:
        """A request that was taken must be one that the document allows."""
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:  # whatever the client called it
            self._check_json(content["application/json"]["schema"], body)
        elif content:
            _claim(content_type in content, f"{operation['operationId']} takes {content_type}")

    def _check_json(self, schema: Json, body: bytes) -> None:
        key = json.dumps(schema)
        if key not in self._validators:
            components = self._document["components"]
            self._validators[key] = Draft202012Validator({**schema, "components": components})
        error = next(self._validators[key].iter_errors(json.loads(body)), None)
        _claim(error is None, f"{schema}: {error and error.message} at {error and error.json_path}")

    def _operation(self, method: str, path: str) -> Json | None:
        for pattern, its_method, operation in self._patterns:
            if method == its_method and re.fullmatch(pattern, path):
                return operation
        return None

    @cached_property
    def _patterns(self) -> list[tuple[str, str, Json]]:
        """Names of models may hold slashes, and come after all that is more exact."""
        found = []
        for (method, template), operation in self.operations().items():
            names = ALSO_NAMES if method == "DELETE" else NAMES_OF_MODELS
            pattern = re.sub(names, ".+", re.escape(template))
            pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", pattern)
            found.append((pattern, method, operation))
        return sorted(found, key=lambda item: item[0].count(".+"))


def _claim(is_true: object, what: str) -> None:
    if not is_true:
        raise DocumentBroken(what)
