"""JSON schemas that a model's output is to follow: whether each keyword can be kept.

A keyword is one that we enforce, one that says nothing about values, or refused by its name: a
schema that is half enforced would be worse than none. In a strict schema OpenAI's own rules hold
too: objects name all their keys as required and allow no others, and there are fewer keywords.

The texts are those of the hosted service as far as they are known:

    Invalid schema for response_format 'x': In context=('properties', 'a'), 'not' is not permitted.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticKnownError

from tunesmith.domain import errors

Json = dict[str, Any]


def refuse_infinite(value: Any) -> Any:
    """A number such as 1e999 is JSON and no number that anything could be held against."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, float) and not isfinite(each):
            raise PydanticKnownError("finite_number")
        waiting += (
            each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        )
    return value


SchemaObject = Annotated[Json, AfterValidator(refuse_infinite)]  # as a request holds it
Context = tuple[str, ...]  # the keys that lead to a subschema

MAX_DEPTH = 32  # subschemas inside subschemas
MAX_SUBSCHEMAS = 5000
MAX_CHARACTERS = 120_000  # of all keys and texts in it
MAX_PATTERN = 1000  # characters
MAX_PATTERN_STEPS = 10_000  # characters once {…} is written out: (a{10}){20} has 200
MAX_BOUND = 1_000_000  # of lengths and numbers of items

ENFORCED = frozenset(
    (
        *("type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"),
        *("properties", "required", "additionalProperties", "patternProperties"),
        *("minProperties", "maxProperties"),
        *("items", "prefixItems", "additionalItems", "minItems", "maxItems"),
        *("minLength", "maxLength", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    )
)
SAYS_NOTHING = frozenset(
    (
        *(
            "$schema",
            "$id",
            "$comment",
            "title",
            "description",
            "default",
            "examples",
            "deprecated",
        ),
        *("readOnly", "writeOnly", "contentMediaType", "contentEncoding", "discriminator"),
    )
)
DEFINITIONS = ("$defs", "definitions")
NOT_STRICT = frozenset(
    (
        *("oneOf", "allOf", "patternProperties", "minProperties", "maxProperties"),
        *("prefixItems", "additionalItems"),
    )
)
TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
# Keywords that hold one subschema, a list of them, or a map of them.
ONE = ("items", "additionalProperties", "additionalItems")
LIST = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
MAP = ("properties", "patternProperties", *DEFINITIONS)
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
NUMBERS = ("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum")
TEXTS = ("pattern", "format", "$ref")

PATTERN_PIECES = re.compile(r"\\.|\{(?:\d+,)?(?P<most>\d+)(?:,)?\}|.", re.DOTALL)

EVERY_KEY = (
    "'required' is required to be supplied and to be an array including every key in properties"
)


def check_schema(schema: Json, what: str, *, param: str, is_strict: bool) -> None:
    """Raises InvalidRequest, with `param`. `what` is the schema's place and name, as in
    "response_format 'x'"."""
    try:
        if is_strict:
            _check_strict_root(schema)
        for number, subschema in enumerate(_walk(schema), start=1):
            if number > MAX_SUBSCHEMAS:
                raise _Broken(f"it has more than {MAX_SUBSCHEMAS} subschemas.")
            _check_one(subschema, is_strict)
        if _num_characters(schema) > MAX_CHARACTERS:
            raise _Broken(f"its names and texts have more than {MAX_CHARACTERS} characters.")
    except _Broken as broken:
        raise errors.InvalidRequest(f"Invalid schema for {what}: {broken}", param=param) from broken


class _Broken(Exception):
    """What is wrong, for the message's end."""


@dataclass(frozen=True)
class _Subschema:
    schema: Json
    context: Context

    def broken(self, reason: str) -> _Broken:
        return _Broken(f"In context={self.context}, {reason}.")


def _walk(schema: Json) -> Iterator[_Subschema]:
    """The schema and all inside it that hold conditions; true and false hold none. Raises _Broken
    for what isn't a schema where there should be one."""
    waiting: list[tuple[Any, Context, int]] = [(schema, (), 0)]
    while waiting:
        found, context, depth = waiting.pop()
        if isinstance(found, bool):
            continue
        if not isinstance(found, dict):
            raise _Broken(f"In context={context}, {_shown(found)} is not a schema.")
        if depth > MAX_DEPTH:
            raise _Broken(f"In context={context}, it is nested more than {MAX_DEPTH} deep.")
        yield _Subschema(found, context)
        inner = [(each, (*context, *path), depth + 1) for path, each in _inner(found, context)]
        waiting += reversed(inner)


def _inner(schema: Json, context: Context) -> Iterator[tuple[Context, Any]]:
    for key, value in schema.items():
        if key in MAP:
            if not isinstance(value, dict):
                raise _Broken(f"In context={context}, '{key}' is not an object.")
            yield from (((key, name), each) for name, each in value.items())
        elif key in LIST and isinstance(value, list):
            yield from (((key, str(index)), each) for index, each in enumerate(value))
        elif key in ONE:
            yield (key,), value
        elif key in LIST:
            raise _Broken(f"In context={context}, '{key}' is not an array.")


def _check_one(subschema: _Subschema, is_strict: bool) -> None:
    schema = subschema.schema
    for key in schema:
        if key not in ENFORCED and key not in SAYS_NOTHING and key not in DEFINITIONS:
            raise subschema.broken(f"{_quoted(key)} is not permitted: it can't be enforced here")
        if is_strict and key in NOT_STRICT:
            raise subschema.broken(f"'{key}' is not permitted")
    _check_types(subschema)
    _check_bounds(subschema)
    _check_reference(subschema)
    _check_keys(subschema)
    if is_strict:
        _check_strict(subschema)


def _check_types(subschema: _Subschema) -> None:
    named = subschema.schema.get("type", [])
    for name in named if isinstance(named, list) else [named]:
        if name not in TYPES:
            raise subschema.broken(f"{_shown(name)} is not one of the types {', '.join(TYPES)}")
    for key in ("enum", "required"):
        if not isinstance(subschema.schema.get(key, []), list):
            raise subschema.broken(f"'{key}' is not an array")


def _check_bounds(subschema: _Subschema) -> None:
    schema = subschema.schema
    for key in COUNTS:
        value = schema.get(key, 0)
        if not _is_number(value) or not 0 <= value <= MAX_BOUND or value != int(value):
            raise subschema.broken(f"'{key}' is not a whole number from 0 to {MAX_BOUND}")
    for key in NUMBERS:
        if not _is_number(schema.get(key, 1)):
            raise subschema.broken(f"'{key}' is not a number")
    if schema.get("multipleOf", 1) <= 0:
        raise subschema.broken("'multipleOf' is not above 0")
    for key in TEXTS:
        if not isinstance(schema.get(key, ""), str):
            raise subschema.broken(f"'{key}' is not a string")
    if len(schema.get("pattern", "")) > MAX_PATTERN:
        raise subschema.broken(f"'pattern' has more than {MAX_PATTERN} characters")
    for pattern in (schema.get("pattern", ""), *schema.get("patternProperties", {})):
        if _num_steps(pattern) > MAX_PATTERN_STEPS:
            raise subschema.broken(
                f"a pattern repeats things so often that it has more than {MAX_PATTERN_STEPS} steps"
            )


def _check_reference(subschema: _Subschema) -> None:
    reference = subschema.schema.get("$ref", "#")
    if not reference.startswith("#"):
        raise subschema.broken(
            f"'$ref' to {_shown(reference)} is not permitted: only places in the same schema are "
            "(#/$defs/…)"
        )


def _check_keys(subschema: _Subschema) -> None:
    """Keys beyond those named may come twice, so that they can't be counted."""
    schema = subschema.schema
    if not all(isinstance(key, str) for key in schema.get("required", [])):
        raise subschema.broken("'required' holds something else than strings")
    num_named = len({*schema.get("required", []), *schema.get("properties", {})})
    if schema.get("minProperties", 0) > max(num_named, 1):
        raise subschema.broken(
            "'minProperties' can't be enforced beyond the number of keys that 'properties' and "
            "'required' name"
        )


def _check_strict_root(schema: Json) -> None:
    if schema.get("type") != "object":
        named = _shown(schema.get("type")) if "type" in schema else '"None"'
        raise _Broken(f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {named}'.")


def _check_strict(subschema: _Subschema) -> None:
    """OpenAI's demands; see the page on structured outputs."""
    schema, context = subschema.schema, subschema.context
    if not context and "anyOf" in schema:
        raise subschema.broken("'anyOf' is not permitted")
    if not any(key in schema for key in ("type", "anyOf", "$ref", "enum", "const")):
        raise subschema.broken("schema must have a 'type' key")
    named = schema.get("type", [])
    if "array" in named and "items" not in schema:
        raise subschema.broken("array schema missing items")
    if "object" in named or "properties" in schema:
        _check_strict_object(subschema)


def _check_strict_object(subschema: _Subschema) -> None:
    schema = subschema.schema
    if schema.get("additionalProperties") is not False:
        raise subschema.broken("'additionalProperties' is required to be supplied and to be false")
    named, required = list(schema.get("properties", {})), schema.get("required", [])
    for key in named:
        if key not in required:
            raise subschema.broken(f"{EVERY_KEY}. Missing {_quoted(key)}")
    for key in required:
        if key not in named:
            raise subschema.broken(f"{EVERY_KEY}. Extra required key {_quoted(key)} supplied")


def _num_steps(pattern: str) -> int:
    """Roughly: a class in brackets counts as its letters."""
    groups, last = [0], 0  # steps of each group that is open; of what a {…} here would repeat
    for piece in PATTERN_PIECES.finditer(pattern):
        text = piece.group()
        if piece["most"] is not None:
            groups[-1] += last * (max(int(piece["most"]), 1) - 1)
            last *= max(int(piece["most"]), 1)
        elif text == "(":
            groups.append(0)
        elif text == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        else:
            last = 1
            groups[-1] += 1
    return sum(groups)


def _num_characters(value: Any) -> int:
    """Of all keys and texts."""
    waiting, total = [value], 0
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            total += len(each)
        elif isinstance(each, Mapping):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list):
            waiting += each
    return total


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _quoted(key: str) -> str:
    return f"'{key[:100]}'"


def _shown(value: Any) -> str:
    """As JSON has it, in short."""
    return json.dumps(value, ensure_ascii=False)[:100]
