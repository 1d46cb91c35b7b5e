"""Functions that a chat may call, through the official SDK.

The model is random and knows nothing of calls: what comes out right does so because of the
grammar. `tests/journey/test_tools.py` has models that know when to call what.
"""

import json
from typing import Any

import httpx2
import openai
import pytest
from jsonschema import Draft202012Validator
from openai import OpenAI

CHAT = "/v1/chat/completions"
HELLO: list[Any] = [{"role": "user", "content": "What is the weather in Oslo?"}]
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}


def tool(name: str = "get_weather", parameters: Any = WEATHER, **more: Any) -> Any:
    function = {"name": name, "description": "tells things", "parameters": parameters, **more}
    return {"type": "function", "function": function}


TOOLS = [tool(strict=True), tool("now", None)]
FUNCTIONS = [each["function"] for each in (tool(), tool("now", None))]


def answer(client: OpenAI, **options: Any) -> Any:
    options = {"tools": TOOLS, "max_tokens": 120, "seed": 1, "messages": HELLO, **options}
    return client.chat.completions.create(model="tiny", **options).choices[0]


def checked(call: Any) -> str:
    """Its name; the arguments are what the function takes."""
    arguments = json.loads(call.arguments)
    schema = WEATHER if call.name == "get_weather" else {"type": "object", "maxProperties": 0}
    Draft202012Validator(schema).validate(arguments)
    return str(call.name)


def refused(http: httpx2.Client, **fields: Any) -> dict[str, Any]:
    reply = http.post(CHAT, json={"model": "tiny", "messages": HELLO, **fields})
    assert reply.status_code == 400, reply.text
    error: dict[str, Any] = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("max_tokens", [60, 90, 200])
def test_required_is_a_call_with_valid_arguments_however_little_room_there_is(
    client: OpenAI, seed: int, max_tokens: int
) -> None:
    choice = answer(
        client, tool_choice="required", seed=seed, max_tokens=max_tokens, temperature=1.5
    )
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert all(checked(call.function) for call in choice.message.tool_calls)
    ids = [call.id for call in choice.message.tool_calls]
    assert all(call_id.startswith("call_") for call_id in ids)
    assert len(set(ids)) == len(ids)


def test_a_named_function_is_called_once_and_the_reason_is_stop(client: OpenAI) -> None:
    choice = answer(client, tool_choice={"type": "function", "function": {"name": "now"}})
    assert [checked(call.function) for call in choice.message.tool_calls] == ["now"]
    assert choice.finish_reason == "stop"


@pytest.mark.parametrize("seed", range(4))
def test_only_allowed_tools_are_called(client: OpenAI, seed: int) -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "now"}}]}
    choice = answer(
        client, tool_choice={"type": "allowed_tools", "allowed_tools": allowed}, seed=seed
    )
    assert {checked(call.function) for call in choice.message.tool_calls} == {"now"}
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize("seed", range(4))
def test_without_parallel_calls_there_is_one(client: OpenAI, seed: int) -> None:
    choice = answer(client, tool_choice="required", parallel_tool_calls=False, seed=seed)
    assert len(choice.message.tool_calls) == 1


def test_none_calls_nothing_and_shows_nothing(client: OpenAI) -> None:
    """The same answer as without tools."""
    silent = answer(client, tool_choice="none", temperature=0)
    without = answer(client, tools=openai.NOT_GIVEN, temperature=0)
    assert silent.message.tool_calls is None
    assert silent.message.content == without.message.content
    assert silent.finish_reason == without.finish_reason


@pytest.mark.parametrize("seed", range(6))
def test_auto_is_text_or_calls_and_text_that_is_cut_off_says_so(client: OpenAI, seed: int) -> None:
    choice = answer(client, seed=seed, max_tokens=40)
    if choice.message.tool_calls:
        assert all(checked(call.function) for call in choice.message.tool_calls)
        assert choice.finish_reason == "tool_calls"
    else:
        assert "<|tool_call|>" not in choice.message.content
        assert choice.finish_reason in ("stop", "length")


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_of_calls_adds_up_to_the_whole_answer(client: OpenAI, seed: int) -> None:
    whole = answer(client, tool_choice="required", seed=seed).message
    with client.chat.completions.stream(
        model="tiny", messages=HELLO, tools=TOOLS, max_tokens=120, seed=seed, tool_choice="required"
    ) as stream:
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        final = stream.get_final_completion().choices[0]
    assert final.message.content is None
    assert final.finish_reason == "tool_calls"
    made = [
        (each.function.name, each.function.arguments) for each in final.message.tool_calls or ()
    ]
    assert made == [(each.function.name, each.function.arguments) for each in whole.tool_calls]
    pieces = [
        call for chunk in chunks for each in chunk.choices for call in each.delta.tool_calls or ()
    ]
    assert len(pieces) > 2  # the name, then arguments as they are written
    assert pieces[0].function
    assert pieces[0].function.arguments == ""
    assert all(piece.id is None for piece in pieces if piece.function and not piece.function.name)


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_of_auto_adds_up_to_the_whole_answer(client: OpenAI, seed: int) -> None:
    whole = answer(client, seed=seed)
    text, arguments, reason = "", "", None
    for chunk in client.chat.completions.create(
        model="tiny", messages=HELLO, tools=TOOLS, max_tokens=120, seed=seed, stream=True
    ):
        (choice,) = chunk.choices
        text += choice.delta.content or ""
        arguments += "".join(
            call.function.arguments or "" for call in choice.delta.tool_calls or () if call.function
        )
        reason = choice.finish_reason
    assert text == (whole.message.content or "")
    assert arguments == "".join(call.function.arguments for call in whole.message.tool_calls or ())
    assert reason == whole.finish_reason


def test_deprecated_functions_are_called_in_their_own_words(client: OpenAI) -> None:
    options: Any = {"tools": openai.NOT_GIVEN, "functions": FUNCTIONS}
    named = answer(client, function_call={"name": "get_weather"}, **options)
    assert checked(named.message.function_call) == "get_weather"
    assert named.message.tool_calls is None
    assert named.message.content is None
    assert named.finish_reason == "stop"
    assert answer(client, function_call="none", **options).message.function_call is None


def test_results_of_calls_go_on_as_messages(client: OpenAI) -> None:
    call = answer(client, tool_choice="required").message
    results = [
        {"role": "tool", "tool_call_id": each.id, "content": "sunny"} for each in call.tool_calls
    ]
    said = answer(client, messages=[*HELLO, call, *results], tool_choice="none")
    assert isinstance(said.message.content, str)


def test_strict_tools_are_parsed_by_the_sdk(client: OpenAI) -> None:
    tools = [tool(strict=True)]
    parsed = client.chat.completions.parse(
        model="tiny", messages=HELLO, tools=tools, tool_choice="required", max_tokens=120
    )
    calls = parsed.choices[0].message.tool_calls
    assert calls
    Draft202012Validator(WEATHER).validate(calls[0].function.parsed_arguments)


def test_a_schema_that_cannot_be_enforced_gives_an_object_unless_it_is_strict(
    client: OpenAI, http: httpx2.Client
) -> None:
    odd = {"type": "object", "properties": {}, "not": {"required": ["x"]}}
    loose = answer(client, tools=[tool(parameters=odd)], tool_choice="required", max_tokens=60)
    assert isinstance(json.loads(loose.message.tool_calls[0].function.arguments), dict)
    error = refused(http, tools=[tool(parameters=odd, strict=True)])
    assert error["param"] == "tools[0].function.parameters"


def test_answers_in_json_or_calls(client: OpenAI) -> None:
    format_: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": WEATHER}}
    for seed in range(6):
        choice = answer(client, response_format=format_, seed=seed)
        if choice.message.tool_calls:
            assert all(checked(call.function) for call in choice.message.tool_calls)
        else:
            Draft202012Validator(WEATHER).validate(json.loads(choice.message.content))
            assert choice.finish_reason == "stop"


def test_what_was_stored_has_the_calls_that_were_streamed(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="tiny",
        messages=HELLO,
        tools=TOOLS,
        tool_choice="required",
        store=True,
        max_tokens=120,
    ) as stream:
        final = stream.get_final_completion()
    kept = client.chat.completions.retrieve(final.id)
    calls = final.choices[0].message.tool_calls
    assert calls
    assert kept.choices[0].message.tool_calls
    assert [each.id for each in kept.choices[0].message.tool_calls] == [each.id for each in calls]


def test_stop_strings_mean_nothing_inside_a_call(client: OpenAI) -> None:
    choice = answer(client, tool_choice="required", stop=['"', "c"])
    assert all(checked(call.function) for call in choice.message.tool_calls)


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]", "JSON arguments"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "x"}}},
         "tool_choice", "JSON arguments"),
        ({"tools": TOOLS, "tool_choice": {"type": "any"}}, "tool_choice.type", "allowed_tools"),
        ({"tools": TOOLS, "tool_choice": {}}, "tool_choice.type", "Missing"),
        ({"functions": FUNCTIONS, "function_call": {}}, "function_call.name", "Missing"),
        ({"tools": [tool("a b")]}, "tools[0].function.name", "Invalid"),
        ({"tools": [tool(), tool()]}, "tools[1].function.name", "two functions"),
        ({"tools": [tool()] * 129}, "tools", "128"),
        ({"tools": [tool(parameters={"type": "string"})]},
         "tools[0].function.parameters", "object"),
        ({"tools": [tool(parameters={"type": "object"}, strict=True)]},
         "tools[0].function.parameters", "additionalProperties"),
        ({"tool_choice": "required"}, "tool_choice", "only allowed when 'tools'"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
         "tool_choice", "no function named 'x'"),
        ({"functions": FUNCTIONS, "tools": TOOLS}, "functions", "tools"),
        ({"function_call": {"name": "x"}}, "function_call", "only allowed when 'functions'"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_its_name(
    http: httpx2.Client, fields: Any, param: str, says: str
) -> None:
    error = refused(http, **fields)
    assert error["param"] == param, error
    assert says in error["message"]
