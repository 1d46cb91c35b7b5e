"""The functions that a chat may call."""

from collections.abc import Sequence
from typing import Any

from tests.contract.conformance.effects import prompt_tokens
from tests.contract.conformance.rows import Effect, Json, Row, Seen, refused, works

PARAMETERS: Json = {
    "type": "object",
    "properties": {"a": {"enum": ["x"]}},
    "required": ["a"],
    "additionalProperties": False,
}
FUNCTION: Json = {"name": "f", "description": "d", "parameters": PARAMETERS}
TOOLS = [
    {"type": "function", "function": {**FUNCTION, "name": name, "strict": True}}
    for name in ("f", "g")
]
NAMED = {"type": "function", "function": {"name": "g"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}
CUSTOM = {
    "type": "custom",
    "custom": {"name": "c", "description": "d", "format": {"type": "text"}},
}
FUNCTIONS_ONLY = "functions only: a function with one string parameter says the same"
ROOM = {"max_completion_tokens": 120}
ARGUMENTS = '{"a":"x"}'


def calls(seen: Seen) -> Sequence[Any]:
    made: Sequence[Any] = seen.reply["choices"][0]["message"].get("tool_calls") or ()
    return [call["function"] for call in made]


def calls_only(*names: str) -> Effect:
    return lambda seen: calls(seen) and {call["name"] for call in calls(seen)} <= set(names)


def has_valid_arguments(seen: Seen) -> bool:
    """The only ones that there are, but for blanks."""
    made = ["".join(call["arguments"].split()) for call in calls(seen)]
    return bool(made) and set(made) == {ARGUMENTS}


def is_described(seen: Seen) -> bool:
    """The model reads what the tools' descriptions say."""
    tools = [
        {**tool, "function": {**tool["function"], "description": "more"}}
        for tool in seen.sent["tools"]
    ]
    return prompt_tokens(seen.with_(tools=tools)) - prompt_tokens(seen) == 3 * len(tools)


def is_strict(seen: Seen) -> bool:
    """A strict schema has to forbid other properties."""
    loose = {"type": "object", "properties": {}}
    tool = {"type": "function", "function": {"name": "f", "parameters": loose, "strict": True}}
    return seen.is_refused("tools[0].function.parameters", tools=[tool])


def calls_function(seen: Seen) -> bool:
    call = seen.reply["choices"][0]["message"]["function_call"]
    return bool(call["name"] == "f" and "".join(call["arguments"].split()) == ARGUMENTS)


REQUIRED = {"tools": TOOLS, "tool_choice": "required", **ROOM}
TOOL_FIELDS: tuple[Row, ...] = (
    works(
        "tools",
        "tools[].type",
        "tools[function]",
        "tools[function].function",
        "tools[function].function.name",
        "tools[function].function.parameters",
        text="up to 128 functions; arguments follow their schema, if all of it can be enforced",
        sends=REQUIRED,
        sees=lambda seen: calls_only("f", "g")(seen) and has_valid_arguments(seen),
    ),
    works(
        "tools[function].function.description",
        text="read by the model, in its template's way",
        sends=REQUIRED,
        sees=is_described,
    ),
    works(
        "tools[function].function.strict",
        text="a schema that can't be enforced, or breaks OpenAI's rules for strict ones, is a 400",
        sends=REQUIRED,
        sees=is_strict,
    ),
    refused(
        "tools[custom]",
        text=FUNCTIONS_ONLY,
        sends={"tools": [CUSTOM]},
        param="tools[0]",
        code="invalid_value",
    ),
    works(
        "tool_choice",
        text="`none`, `auto`, `required`",
        sends=REQUIRED,
        sees=lambda seen: calls(seen) and not calls(seen.with_(tool_choice="none")),
    ),
    works(
        "tool_choice.type",
        "tool_choice.function",
        "tool_choice.function.name",
        text="this function is called, once",
        sends={**REQUIRED, "tool_choice": NAMED},
        sees=calls_only("g"),
    ),
    works(
        "tool_choice.allowed_tools",
        "tool_choice.allowed_tools.mode",
        "tool_choice.allowed_tools.tools",
        text="no others are called",
        sends={**REQUIRED, "tool_choice": ALLOWED},
        sees=calls_only("g"),
    ),
    refused(
        "tool_choice.custom",
        "tool_choice.type=custom",
        text=FUNCTIONS_ONLY,
        sends={"tools": TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "c"}}},
        param="tool_choice",
        code="invalid_value",
    ),
    works(
        "parallel_tool_calls",
        text="false: one call at most",
        sends={**REQUIRED, "parallel_tool_calls": False},
        sees=lambda seen: len(calls(seen)) == 1,
    ),
    works(
        "functions",
        "functions[].name",
        "functions[].description",
        "functions[].parameters",
        "function_call",
        "function_call.name",
        text="deprecated: `tools` and `tool_choice` with one call, answered as `function_call`",
        sends={"functions": [FUNCTION], "function_call": {"name": "f"}, **ROOM},
        sees=calls_function,
    ),
)
