"""Answers in the form that a chat asks for, through the official SDK.

The model knows nothing of JSON: what comes out right does so because of the grammar.
"""

import json
from enum import StrEnum
from typing import Any

import httpx2
import openai
import pytest
from jsonschema import Draft202012Validator
from openai import OpenAI
from pydantic import BaseModel, Field

from tests.api.conftest import LiveApi

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Who is it? Say it in JSON."}]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "pets": {"type": "array", "items": {"enum": ["cat", "dog"]}, "maxItems": 2},
    },
    "required": ["name", "age", "pets"],
    "additionalProperties": False,
}


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    title: str
    parts: list["Part"]


class Thing(BaseModel):
    """What `.parse` is given."""

    name: str = Field(description="as people call it")
    colour: Colour
    size: float | None
    is_old: bool
    whole: Part


def of_schema(schema: Any = SCHEMA, **more: Any) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **more}}


def said(client: OpenAI, **options: Any) -> list[str]:
    options = {"response_format": of_schema(), "max_tokens": 120, **options}
    reply = client.chat.completions.create(model="tiny", messages=HELLO, **options)  # type: ignore[call-overload]
    assert all(choice.finish_reason == "stop" for choice in reply.choices)
    assert all(choice.message.refusal is None for choice in reply.choices)
    return [choice.message.content for choice in reply.choices]


def refused(http: httpx2.Client, response_format: Any, messages: Any = HELLO) -> dict[str, Any]:
    body = {"model": "tiny", "messages": messages, "response_format": response_format}
    answer = http.post(CHAT, json=body)
    assert answer.status_code == 400
    error: dict[str, Any] = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 2.0, "n": 3},
        {"temperature": 0},
        {"frequency_penalty": 2.0, "top_p": 0.5},
        {"max_tokens": 40},
        {"response_format": of_schema(strict=True)},
        {"response_format": of_schema(description="of a person", strict=None)},
    ],
)
def test_every_answer_follows_the_schema(client: OpenAI, options: dict[str, Any]) -> None:
    for text in said(client, **options):
        Draft202012Validator(SCHEMA).validate(json.loads(text))


def test_json_object_gives_an_object(client: OpenAI) -> None:
    for text in said(client, response_format={"type": "json_object"}, n=3, temperature=1.5):
        assert isinstance(json.loads(text), dict)


def test_text_is_as_without_a_format(client: OpenAI) -> None:
    options: Any = {"model": "tiny", "messages": HELLO, "max_tokens": 9, "temperature": 0}
    plain = client.chat.completions.create(**options)
    text = client.chat.completions.create(**options, response_format={"type": "text"})
    assert plain.choices[0].message.content == text.choices[0].message.content


def test_parse_gives_pydantic_models(client: OpenAI) -> None:
    reply = client.chat.completions.parse(
        model="tiny",
        messages=HELLO,
        response_format=Thing,
        max_tokens=200,
        n=2,  # type: ignore[arg-type]
    )
    for choice in reply.choices:
        assert isinstance(choice.message.parsed, Thing)


def test_a_stream_parses_too_and_says_what_the_whole_answer_says(client: OpenAI) -> None:
    options: Any = {"model": "tiny", "messages": HELLO, "max_tokens": 200, "seed": 3}
    with client.chat.completions.stream(**options, response_format=Thing) as stream:
        contents = [event.content for event in stream if event.type == "content.done"]
        streamed = stream.get_final_completion().choices[0].message
    whole = client.chat.completions.parse(**options, response_format=Thing).choices[0].message
    assert isinstance(streamed.parsed, Thing)
    assert contents == [streamed.content] == [whole.content]
    assert streamed.parsed == whole.parsed


def test_a_seed_repeats_and_choices_differ(client: OpenAI) -> None:
    first, again = (said(client, seed=1, n=4) for _ in range(2))
    assert first == again
    assert len(set(first)) > 1


def test_log_probabilities_are_the_models_own(client: OpenAI) -> None:
    """So the brace that a grammar forces is told with what the model held of it."""
    reply = client.chat.completions.create(
        model="tiny",
        messages=HELLO,  # type: ignore[arg-type]
        response_format=of_schema(),
        max_tokens=60,
        logprobs=True,
        top_logprobs=3,
    )
    told = reply.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    spelled = b"".join(bytes(each.bytes or ()) for each in told.content)
    assert spelled.decode() == reply.choices[0].message.content
    assert told.content[0].token == "{"
    assert told.content[0].logprob < told.content[0].top_logprobs[0].logprob


def test_a_stop_string_still_stops(client: OpenAI) -> None:
    (text,) = said(client, stop=",")
    assert text.startswith('{"name"')
    assert "," not in text


def test_too_few_tokens_for_any_answer_end_with_length(client: OpenAI) -> None:
    reply = client.chat.completions.create(
        model="tiny",
        messages=HELLO,  # type: ignore[arg-type]
        response_format=of_schema(),
        max_tokens=5,
    )
    assert reply.choices[0].finish_reason == "length"
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model="tiny",
            messages=HELLO,
            response_format=Thing,
            max_tokens=5,  # type: ignore[arg-type]
        )


def test_json_object_asks_for_the_word_in_the_messages(http: httpx2.Client) -> None:
    message = (
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
        "'json_object'."
    )
    error = refused(http, {"type": "json_object"}, [{"role": "user", "content": "Hello"}])
    assert (error["message"], error["param"]) == (message, "messages")


@pytest.mark.parametrize(
    ("response_format", "param", "words"),
    [
        ("json", "response_format", "expected an object"),
        ({}, "response_format.type", "Missing required parameter"),
        ({"type": "xml"}, "response_format.type", "Supported values are: 'text', 'json_object'"),
        ({"type": "text", "x": 1}, "response_format.x", "Unknown parameter"),
        ({"type": "json_schema"}, "response_format.json_schema", "Missing required parameter"),
        (
            {"type": "json_schema", "json_schema": {"name": "x"}},
            "response_format.json_schema.schema",
            "Missing required parameter",
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}},
            "response_format.json_schema.name",
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "a" * 65, "schema": {}}},
            "response_format.json_schema.name",
            "string too long",
        ),
        (of_schema(strict="yes"), "response_format.json_schema.strict", "expected a boolean"),
        (of_schema({"not": {}}), "response_format", "In context=(), 'not' is not permitted"),
        (of_schema({}, strict=True), "response_format", "Invalid schema for response_format 'x'"),
        (of_schema({"type": "string", "format": "poem"}), "response_format", "format: poem"),
        (of_schema({"pattern": "(?=a)"}), "response_format", "look-ahead"),
        (of_schema({"$ref": "#/$defs/a"}), "response_format", "'/$defs/a' does not exist"),
    ],
)
def test_what_cannot_be_enforced_is_refused(
    http: httpx2.Client, response_format: Any, param: str, words: str
) -> None:
    error = refused(http, response_format)
    assert error["param"] == param
    assert words in error["message"]


def test_a_refusal_is_no_stream(http: httpx2.Client) -> None:
    body = {"model": "tiny", "messages": HELLO, "stream": True}
    answer = http.post(CHAT, json={**body, "response_format": of_schema({"pattern": "(?=a)"})})
    assert answer.status_code == 400


def test_the_process_of_the_api_needs_no_compiler(api: LiveApi) -> None:
    """Only the engine's does; in these tests both are one process, so imports are read."""
    from tests.test_floors import modules

    importers = {part for _, part, names in modules() if "llguidance" in names}
    assert importers == {"inference"}, api.url
