"""The functions that a chat may call: `tools`, `tool_choice`, and their deprecated forebears
`functions` and `function_call` (behaviour reference, section 15.1).

They become one `ToolUse`. What a function's `parameters` say is enforced while its arguments are
written: with `strict` every word of it, or the request is refused; otherwise where all of it can
be enforced, and if not, arguments are an object with whatever keys the model gives it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from tunesmith.domain import errors
from tunesmith.wire.base import Request, at_most
from tunesmith.wire.response_format import ANY_OBJECT
from tunesmith.wire.schema_check import SchemaObject, check_schema

Json = dict[str, Any]  # a JSON schema: looked at in `schema_check.py`

MAX_TOOLS = 128
MAX_CHARACTERS = 750_000  # of all schemas as JSON: less than a whole body may have for the engine
NO_PARAMETERS: Json = {"type": "object", "properties": {}, "additionalProperties": False}

FunctionName = Annotated[str, Field(min_length=1, max_length=64, pattern="^[a-zA-Z0-9_-]+$")]


def refuse_custom(value: Any) -> Any:  # Any: nothing is checked yet
    if isinstance(value, dict) and value.get("type") == "custom":
        raise PydanticCustomError(
            "unsupported_tool",
            "the models of this service call functions with JSON arguments only, and a tool of "
            "type 'custom' takes free text. Offer a function with one string parameter instead",
        )
    return value


class FunctionDefinition(Request):
    name: FunctionName
    description: str | None = None
    parameters: SchemaObject | None = None


class StrictFunctionDefinition(FunctionDefinition):
    strict: bool | None = None


class FunctionTool(Request):
    type: Literal["function"]
    function: StrictFunctionDefinition


class NamedFunction(Request):
    name: FunctionName


class NamedTool(Request):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Request):
    mode: Literal["auto", "required"]
    tools: Annotated[
        list[Annotated[NamedTool, BeforeValidator(refuse_custom)]],
        Field(min_length=1),
        at_most(MAX_TOOLS),
    ]


class AllowedToolsChoice(Request):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


Tools = Annotated[list[Annotated[FunctionTool, BeforeValidator(refuse_custom)]], at_most(MAX_TOOLS)]
Functions = Annotated[list[FunctionDefinition], at_most(MAX_TOOLS)]
ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[
        Annotated[NamedTool | AllowedToolsChoice, Field(discriminator="type")],
        BeforeValidator(refuse_custom),
    ]
)
FunctionChoice = Literal["none", "auto"] | NamedFunction


class Era(Enum):
    """Whose words the answer has."""

    TOOLS = "tools"
    FUNCTIONS = "functions"


@dataclass(frozen=True)
class Function:
    name: str
    json_schema: str  # of its arguments, as text


@dataclass(frozen=True)
class ToolUse:
    """What the model is told about, and what it may or must call."""

    shown: tuple[Json, ...]  # as templates know tools
    functions: tuple[Function, ...]  # that may be called; of those shown
    must_call: bool
    is_single: bool  # one call at most
    is_named: bool  # the client named the one function to call
    era: Era


def to_tool_use(
    tools: list[FunctionTool] | None, choice: ToolChoice | None, *, is_parallel: bool
) -> ToolUse | None:
    """None if no tools were offered. Raises InvalidRequest."""
    if not tools:
        _refuse_choice_of_nothing(choice, "tool_choice", "tools")
        return None
    schemas = _schemas([tool.function for tool in tools], "tools", "tools[{}].function")
    allowed, must_call = list(schemas), choice == "required"
    match choice:
        case "none":
            allowed = []
        case NamedTool():
            allowed, must_call = [choice.function.name], True
        case AllowedToolsChoice(allowed_tools=asked):
            allowed = list(dict.fromkeys(tool.function.name for tool in asked.tools))
            must_call = asked.mode == "required"
    is_named = isinstance(choice, NamedTool)
    return ToolUse(
        shown=_shown([tool.function for tool in tools]) if allowed else (),
        functions=_chosen(allowed, schemas, "tool_choice", "tools"),
        must_call=must_call,
        is_single=is_named or not is_parallel,
        is_named=is_named,
        era=Era.TOOLS,
    )


def to_function_use(
    functions: list[FunctionDefinition] | None, choice: FunctionChoice | None
) -> ToolUse | None:
    """The same for the deprecated fields."""
    if not functions:
        _refuse_choice_of_nothing(choice, "function_call", "functions")
        return None
    schemas = _schemas(functions, "functions", "functions[{}]")
    is_named = isinstance(choice, NamedFunction)
    allowed = [choice.name] if isinstance(choice, NamedFunction) else list(schemas)
    if choice == "none":
        allowed = []
    return ToolUse(
        shown=_shown(functions) if allowed else (),
        functions=_chosen(allowed, schemas, "function_call", "functions"),
        must_call=is_named,
        is_single=True,
        is_named=is_named,
        era=Era.FUNCTIONS,
    )


def _shown(functions: Sequence[FunctionDefinition]) -> tuple[Json, ...]:
    return tuple(
        {"type": "function", "function": each.model_dump(exclude_none=True)} for each in functions
    )


def _schemas(functions: Sequence[FunctionDefinition], field: str, place: str) -> dict[str, str]:
    """Of the arguments, by the functions' names. `place`: where each of them stands. Raises
    InvalidRequest."""
    schemas: dict[str, str] = {}
    for number, function in enumerate(functions):
        where = place.format(number)
        if function.name in schemas:
            raise errors.InvalidRequest(
                f"There are two functions named '{function.name}', so their calls couldn't be told "
                "apart. Give each a name of its own.",
                param=f"{where}.name",
            )
        is_strict = isinstance(function, StrictFunctionDefinition) and bool(function.strict)
        schemas[function.name] = _arguments(function, f"{where}.parameters", is_strict=is_strict)
    if sum(map(len, schemas.values())) > MAX_CHARACTERS:
        raise errors.InvalidRequest(
            f"The 'parameters' of all functions together have more than {MAX_CHARACTERS} "
            "characters. Offer fewer functions, or describe them in fewer words.",
            param=field,
        )
    return schemas


def _arguments(function: FunctionDefinition, param: str, *, is_strict: bool) -> str:
    """The schema of a function's arguments. Raises InvalidRequest."""
    schema = NO_PARAMETERS if function.parameters is None else function.parameters
    kind = schema.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise errors.InvalidRequest(
            f"Invalid schema for function '{function.name}': schema must be a JSON Schema of "
            f"'type: \"object\"', got 'type: {json.dumps(kind)[:100]}'.",
            param=param,
            code="invalid_function_parameters",
        )
    try:
        check_schema(schema, f"function '{function.name}'", param=param, is_strict=is_strict)
    except errors.InvalidRequest:
        if is_strict:
            raise
        return ANY_OBJECT
    return json.dumps({**schema, "type": "object"}, separators=(",", ":"))


def _chosen(
    allowed: list[str], schemas: Mapping[str, str], param: str, where: str
) -> tuple[Function, ...]:
    for name in allowed:
        if name not in schemas:
            raise errors.InvalidRequest(
                f"Invalid value for '{param}': no function named '{name}' was specified in "
                f"'{where}'.",
                param=param,
            )
    return tuple(Function(name, schemas[name]) for name in allowed)


def _refuse_choice_of_nothing(choice: object, param: str, where: str) -> None:
    if choice not in (None, "none", "auto"):
        raise errors.InvalidRequest(
            f"Invalid value for '{param}': '{param}' is only allowed when '{where}' are specified.",
            param=param,
        )
