"""What a request may hold, as OpenAI's description says it: each operation, each field.

    for operation in operations():
        for field in operation.fields: ...

A field goes by its path, `method.dpo.hyperparameters.beta`. Items of a list are written `[]`, or,
where they are objects of several kinds, by the value that tells the kinds apart:
`messages[user].content[image_url].image_url.detail`. Objects of several kinds that stand alone are
one here: `response_format.json_schema` is there if its `type` says so.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any

Json = dict[str, Any]

SCHEMAS = Path(__file__).with_name("openai_schemas.json")
REF = "#/components/schemas/"


class Place(StrEnum):
    PATH = "path"
    QUERY = "query"
    BODY = "body"


@dataclass(frozen=True)
class Field:
    """One field of a request. `kinds` are the alternatives that it has, as plain schemas: no
    references, no unions."""

    path: str
    place: Place
    is_required: bool  # wherever the object that it belongs to is sent
    kinds: tuple[Json, ...]

    @cached_property
    def types(self) -> tuple[str, ...]:
        """`string`, `array of integer`, `object`, `null` …"""
        return tuple(dict.fromkeys(_type_of(kind) for kind in self.kinds))

    @property
    def values(self) -> tuple[Any, ...]:
        """Those that are listed for it, or for its items, perhaps beside others: `auto`."""
        listed = [value for kind in _with_items(self.kinds) for value in kind.get("enum", ())]
        return tuple(dict.fromkeys(listed))

    @property
    def is_closed(self) -> bool:
        """Whether a text must be one of `values`."""
        texts = [kind for kind in _with_items(self.kinds) if kind.get("type") == "string"]
        return bool(texts) and all("enum" in kind for kind in texts)

    def bound(self, keyword: str) -> Any:
        """`minimum`, `maxLength` … of whichever kind has one; None if none has."""
        return next((kind[keyword] for kind in self.kinds if keyword in kind), None)

    def is_below(self, path: str) -> bool:
        return self.path.startswith((path + ".", path + "[")) and self.path != path


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    content_type: str | None  # of the body, if it has one
    body: Json  # its schema
    fields: tuple[Field, ...]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    def field(self, path: str) -> Field:
        return next(field for field in self.fields if field.path == path)


@cache
def operations() -> tuple[Operation, ...]:
    """All operations of files, uploads, fine-tuning, models, chat completions and completions."""
    return tuple(_operation(name, request) for name, request in _description()["requests"].items())


def _operation(name: str, request: Json) -> Operation:
    method, path = name.split()
    parameters = [
        Field(item["name"], Place(item["in"]), item["required"], tuple(_kinds(item["schema"])))
        for item in request["parameters"]
    ]
    ((content_type, body),) = request["body"].items() or [(None, {})]
    return Operation(method, path, content_type, body, (*parameters, *_fields(body)))


def _fields(schema: Json, prefix: str = "", above: tuple[str, ...] = ()) -> Iterator[Field]:
    """Those of an object, each followed by those below it. `above`: fields that this is in."""
    objects = [kind for kind in _kinds(schema) if "properties" in kind]
    names = dict.fromkeys(name for kind in objects for name in kind["properties"])
    for name in names:
        having = [kind for kind in objects if name in kind["properties"]]
        is_required = all(name in kind.get("required", ()) for kind in having)
        schemas = [kind["properties"][name] for kind in having]
        field = _field(prefix + name, is_required, schemas)
        yield field
        if str(field.kinds) not in above:  # a schema may refer to itself
            yield from _below(field, (*above, str(field.kinds)))


def _field(path: str, is_required: bool, schemas: Sequence[Json]) -> Field:
    kinds = [kind for schema in schemas for kind in _kinds(schema)]
    return Field(path, Place.BODY, is_required, tuple(kinds))


def _below(field: Field, above: tuple[str, ...]) -> Iterator[Field]:
    yield from _fields({"anyOf": list(field.kinds)}, f"{field.path}.", above)
    items = [item for kind in field.kinds for item in _kinds(kind.get("items", {}))]
    objects = [item for item in items if "properties" in item]
    key = _telling(objects)
    if key is None:
        yield from _fields({"anyOf": objects}, f"{field.path}[].", above)
        return
    yield _field(f"{field.path}[].{key}", True, [item["properties"][key] for item in objects])
    for item in objects:
        ((kind,),) = (one["enum"] for one in _kinds(item["properties"][key]))
        path = f"{field.path}[{kind}]"
        yield Field(path, Place.BODY, is_required=False, kinds=(item,))
        for below in _fields(item, f"{path}.", above):
            if below.path != f"{path}.{key}":
                yield below


def _telling(objects: Sequence[Json]) -> str | None:
    """The property that tells several kinds of objects apart, having one value in each."""
    if len(objects) < 2:
        return None
    for name in objects[0]["properties"]:
        values = [
            value
            for kind in objects
            for one in _kinds(kind["properties"].get(name, {}))
            for value in one.get("enum", (None, None))
        ]
        if len(values) == len(set(values)) == len(objects):
            return name
    return None


def _kinds(schema: Json) -> Iterator[Json]:
    """A schema's alternatives. Where it is composed of parts, the last one has the word."""
    if "$ref" in schema:
        yield from _kinds(_description()["schemas"][schema["$ref"].removeprefix(REF)])
        return
    for union in ("anyOf", "oneOf"):
        if union in schema:
            for kind in schema[union]:
                yield from _kinds(kind)
            return
    if "allOf" in schema:
        yield _composed([kind for part in schema["allOf"] for kind in _kinds(part)])
    elif schema:
        yield schema


def _composed(parts: Sequence[Json]) -> Json:
    properties = {name: one for part in parts for name, one in part.get("properties", {}).items()}
    required = [name for part in parts for name in part.get("required", ())]
    return {"type": "object", "properties": properties, "required": required}


def _with_items(kinds: Sequence[Json]) -> Iterator[Json]:
    for kind in kinds:
        yield kind
        if "items" in kind and "properties" not in kind["items"]:
            yield from _with_items(list(_kinds(kind["items"])))


def _type_of(kind: Json) -> str:
    name = str(kind.get("type", "object" if "properties" in kind else "any"))
    if name == "array":
        return f"array of {_joined(kind.get('items', {}))}"
    if name == "object" and isinstance(kind.get("additionalProperties"), dict):
        return f"object of {_joined(kind['additionalProperties'])}"
    return name


def _joined(schema: Json) -> str:
    return " or ".join(dict.fromkeys(_type_of(kind) for kind in _kinds(schema)))


@cache
def _description() -> Any:
    return json.loads(SCHEMAS.read_text(encoding="utf-8"))
