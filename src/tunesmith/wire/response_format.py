"""`response_format`: what a chat's answer has to look like (behaviour reference, section 15.1).

It becomes one JSON schema, which the engine enforces. Whether a schema can be enforced is found
out here as far as reading it tells (`schema_check.py`); the engine finds out the rest.
"""

import json
from typing import Annotated, Literal

from pydantic import Field

from tunesmith.domain import errors
from tunesmith.wire.base import Request
from tunesmith.wire.schema_check import SchemaObject, check_schema

ANY_OBJECT = '{"type":"object"}'


class TextFormat(Request):
    type: Literal["text"]


class JsonObjectFormat(Request):
    type: Literal["json_object"]


class JsonSchema(Request):
    name: Annotated[str, Field(min_length=1, max_length=64, pattern="^[a-zA-Z0-9_-]+$")]
    description: str | None = None  # for the model's eyes at OpenAI; here it changes nothing
    schema_: Annotated[SchemaObject, Field(alias="schema")]
    strict: bool | None = None


class JsonSchemaFormat(Request):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
]


def to_json_schema(wanted: ResponseFormat | None, said: str) -> str | None:
    """What the answer has to be, as text; None if it may be anything. `said`: the messages' texts.

    Raises InvalidRequest for a schema that breaks its own rules or can't be enforced.
    """
    match wanted:
        case JsonObjectFormat():
            if "json" not in said.lower():
                raise errors.InvalidRequest(
                    "'messages' must contain the word 'json' in some form, to use "
                    "'response_format' of type 'json_object'.",
                    param="messages",
                )
            return ANY_OBJECT
        case JsonSchemaFormat(json_schema=asked):
            check_schema(
                asked.schema_,
                f"response_format '{asked.name}'",
                param="response_format",
                is_strict=bool(asked.strict),
            )
            return json.dumps(asked.schema_, separators=(",", ":"))
        case _:
            return None
