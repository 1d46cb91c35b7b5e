"""Which schemas are taken for answers to follow, and what the others are told."""

from typing import Any

import pytest

from tunesmith.domain import errors
from tunesmith.wire.schema_check import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_PATTERN,
    MAX_SUBSCHEMAS,
    check_schema,
)

Json = dict[str, Any]


def refusal(schema: Json, *, is_strict: bool = False) -> str:
    with pytest.raises(errors.InvalidRequest) as caught:
        check_schema(schema, "response_format 'x'", param="response_format", is_strict=is_strict)
    assert caught.value.param == "response_format"
    return caught.value.message


def an_object(**properties: Any) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def nested(depth: int) -> Json:
    return {"type": "array", "items": nested(depth - 1)} if depth else {"type": "string"}


@pytest.mark.parametrize("is_strict", [False, True])
def test_what_strict_schemas_may_say_is_taken(is_strict: bool) -> None:
    schema = an_object(
        name={"type": "string", "pattern": "^[a-z]+$", "description": "of whom"},
        age={"type": ["integer", "null"], "minimum": 0, "exclusiveMaximum": 200},
        kind={"enum": ["a", "b"]},
        fixed={"const": 1},
        born={"type": "string", "format": "date"},
        friends={"type": "array", "items": {"$ref": "#"}, "maxItems": 3},
        pet={"anyOf": [{"$ref": "#/$defs/pet"}, {"type": "null"}]},
    )
    schema["$defs"] = {"pet": an_object(not_=True, **{"not": {"type": "string"}})}
    schema["$defs"]["pet"]["properties"]["not_"] = {"type": "boolean"}
    check_schema(schema, "response_format 'x'", param="response_format", is_strict=is_strict)


@pytest.mark.parametrize(
    "keyword",
    [
        *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "contains"),
        *("uniqueItems", "propertyNames", "unevaluatedProperties", "$dynamicRef", "$anchor"),
        *("minLenght", "nullable", "x-guidance"),
    ],
)
def test_a_keyword_that_is_not_enforced_is_refused_by_name_wherever_it_is(keyword: str) -> None:
    """A misspelled one would leave values unchecked, and x-guidance turn the checks off."""
    assert refusal({keyword: True}) == (
        f"Invalid schema for response_format 'x': In context=(), '{keyword}' is not permitted: it "
        "can't be enforced here."
    )
    inner = {"type": "array", "items": {"anyOf": [{"type": "null"}, {keyword: True}]}}
    assert f"In context=('properties', 'a', 'items', 'anyOf', '1'), '{keyword}' is not" in refusal(
        {"properties": {"a": inner}}
    )


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "text"}, 'In context=(), "text" is not one of the types'),
        ({"type": [["string"]]}, "is not one of the types"),
        ({"properties": []}, "'properties' is not an object."),
        ({"properties": {"a": 5}}, "In context=('properties', 'a'), 5 is not a schema."),
        ({"items": "x"}, "In context=('items',), \"x\" is not a schema."),
        ({"anyOf": {}}, "'anyOf' is not an array."),
        ({"enum": "a"}, "'enum' is not an array."),
        ({"required": [1]}, "'required' holds something else than strings."),
        ({"minLength": -1}, "'minLength' is not a whole number from 0 to 1000000."),
        ({"maxItems": 1.5}, "'maxItems' is not a whole number"),
        ({"maxLength": 10**12}, "'maxLength' is not a whole number"),
        ({"minimum": True}, "'minimum' is not a number."),
        ({"multipleOf": 0}, "'multipleOf' is not above 0."),
        ({"pattern": 5}, "'pattern' is not a string."),
        ({"pattern": "^(a{1000}){1000}$"}, "it has more than 10000 steps."),
        ({"patternProperties": {"(x{9,99}|y){999}": {}}}, "it has more than 10000 steps."),
        ({"pattern": "a{99999999999}"}, "it has more than 10000 steps."),
        ({"pattern": "a" * (MAX_PATTERN + 1)}, "'pattern' has more than 1000 characters."),
        ({"$ref": "https://example.com/x"}, "'$ref' to \"https://example.com/x\" is not permitted"),
        ({"minProperties": 2}, "'minProperties' can't be enforced beyond"),
        (nested(MAX_DEPTH + 1), "it is nested more than 32 deep."),
        ({"enum": ["a" * MAX_CHARACTERS]}, "have more than 120000 characters."),
        (
            {"properties": {str(n): {} for n in range(MAX_SUBSCHEMAS)}},
            "it has more than 5000 subschemas.",
        ),
    ],
)
def test_what_makes_no_schema_or_too_large_a_one_is_refused(schema: Json, reason: str) -> None:
    assert reason in refusal(schema)


EVERY_KEY = (
    "'required' is required to be supplied and to be an array including every key in properties"
)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (
            {"type": "object", "properties": {}, "required": []},
            "In context=(), 'additionalProperties' is required to be supplied and to be false.",
        ),
        (
            {**an_object(a={"type": "string"}), "required": []},
            f"In context=(), {EVERY_KEY}. Missing 'a'.",
        ),
        (
            {**an_object(), "required": ["a"]},
            f"In context=(), {EVERY_KEY}. Extra required key 'a' supplied.",
        ),
        (
            an_object(a={"type": "object"}),
            "In context=('properties', 'a'), 'additionalProperties' is required",
        ),
        (an_object(a={}), "In context=('properties', 'a'), schema must have a 'type' key."),
        (an_object(a={"type": "array"}), "In context=('properties', 'a'), array schema missing"),
        (
            an_object(a={"oneOf": [{"type": "null"}]}),
            "In context=('properties', 'a'), 'oneOf' is not permitted.",
        ),
        ({**an_object(), "anyOf": []}, "In context=(), 'anyOf' is not permitted."),
        (
            {"type": "array", "items": {"type": "string"}},
            "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.",
        ),
        ({}, "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."),
    ],
)
def test_strict_schemas_keep_to_openais_rules(schema: Json, reason: str) -> None:
    message = refusal(schema, is_strict=True)
    assert message.startswith(f"Invalid schema for response_format 'x': {reason}")
    check_schema(schema, "response_format 'x'", param="response_format", is_strict=False)
