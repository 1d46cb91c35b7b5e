"""One line of a chat file: from parsed JSON to a `Conversation`, or `BadLine`.

The form is OpenAI's (behaviour reference, section 10.2). Deprecated functions become tools, just
as in chat requests (`wire/chat_messages.py`): what is learned must look like what is asked.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.datasets import fields
from tunesmith.datasets.fields import Object
from tunesmith.datasets.json_lines import BadLine, shown
from tunesmith.domain.chat import Conversation, Message, Role, ToolCall

EXAMPLE_KEYS = ("messages", "tools", "parallel_tool_calls", "functions")
MESSAGE_KEYS = {
    Role.SYSTEM: ("role", "content", "name"),
    Role.DEVELOPER: ("role", "content", "name"),
    Role.USER: ("role", "content", "name"),
    Role.ASSISTANT: (
        "role",
        "content",
        "name",
        "weight",
        "tool_calls",
        "function_call",
        "refusal",
    ),
    Role.TOOL: ("role", "content", "tool_call_id"),
    Role.FUNCTION: ("role", "content", "name"),
}
ROLES = ", ".join(f"'{role}'" for role in sorted(Role))
FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MAX_FUNCTIONS = 128


def parse_chat(example: Object) -> Conversation:
    """Raises BadLine with the first problem."""
    if "messages" not in example:
        raise BadLine('is missing key "messages".', 'Give it a list of messages as "messages".')
    fields.refuse_extra_keys(example, EXAMPLE_KEYS)
    messages = fields.list_of(example, "messages")
    if not messages:
        raise BadLine('has no messages in "messages".', "Give it at least one message.")
    tools = (*parse_tools(example), *_functions_as_tools(example))
    parsed = tuple(parse_message(message, number) for number, message in enumerate(messages, 1))
    if all(message.role is not Role.ASSISTANT for message in parsed):
        raise BadLine(
            "must have at least one message from the assistant.",
            "Add the assistant's answer: it is what the model learns.",
        )
    refuse_results_without_call(parsed)
    is_parallel = fields.optional(example, "parallel_tool_calls", bool, "true or false")
    return Conversation(parsed, tools, True if is_parallel is None else is_parallel)


def parse_tools(value: Object) -> tuple[Object, ...]:
    """The function tools of an object that may have some. Raises BadLine."""
    return tuple(map(_tool, fields.list_of(value, "tools")))


def parse_message(message: Any, number: int | None) -> Message:
    """Raises BadLine that tells the message's number, if it has one."""
    try:
        role = _role(message)
        fields.refuse_extra_keys(message, MESSAGE_KEYS[role])
        if role is Role.ASSISTANT:
            return _assistant_message(message)
        return _other_message(role, message)
    except BadLine as problem:
        problem.message = number
        raise


def refuse_results_without_call(messages: Sequence[Message]) -> None:
    """Raises BadLine for a tool's result that answers no call before it."""
    called: set[str] = set()
    for number, message in enumerate(messages, 1):
        called.update(call.id for call in message.tool_calls)
        if message.role is Role.TOOL and message.tool_call_id not in called:
            raise BadLine(
                f'has a "tool_call_id" of {shown(message.tool_call_id)}, which no call before it '
                "has.",
                'Give the result the "id" of the tool call that it answers; the call comes first.',
                message=number,
                is_content=True,
            )


def _other_message(role: Role, message: Object) -> Message:
    if role is Role.FUNCTION and message.get("content", "") is None:
        content = None  # a function that gave nothing back
    else:
        content = _content(message)
    name = fields.optional(message, "name", str, "text")
    if role is Role.FUNCTION and name is None:
        raise fields.missing("name")
    call_id = fields.required(message, "tool_call_id", str, "text") if role is Role.TOOL else None
    return Message(role, content, name=name, tool_call_id=call_id)


def _role(message: Any) -> Role:
    if not isinstance(message, Mapping):
        raise BadLine(
            "Unable to extract tag using discriminator 'role'",
            f'A message is an object with "role" and "content", not {shown(message)}.',
            is_content=True,
        )
    if "role" not in message:
        raise BadLine(
            "Discriminator 'role' is missing in value", f'Give the message a "role": {ROLES}.'
        )
    try:
        return Role(message["role"])
    except ValueError:
        value = shown(message["role"]).replace('"', "'")
        raise BadLine(
            f"No match for discriminator 'role' and value {value} (allowed values: {ROLES})",
            f"The role {value} isn't known; it can be {ROLES}.",
        ) from None


def _assistant_message(message: Object) -> Message:
    calls = [_tool_call(call) for call in fields.list_of(message, "tool_calls")]
    if message.get("function_call") is not None:
        calls.append(_called_function("", message["function_call"]))  # it never had an id
    content = fields.optional(message, "refusal", str, "text")
    if message.get("content") is not None and content is not None:
        raise BadLine(
            'has both "content" and "refusal".',
            "The assistant says the one or the other; leave one out.",
        )
    if message.get("content") is not None or not (calls or content is not None):
        content = _content(message)
    return Message(
        Role.ASSISTANT,
        content,
        name=fields.optional(message, "name", str, "text"),
        tool_calls=tuple(calls),
        weight=_weight(message),
    )


def _content(message: Object) -> str:
    content = fields.required(message, "content", str | list, "text")
    if isinstance(content, str):
        return content
    if not content:
        raise BadLine('has no parts in "content".', "Write text, or at least one part of text.")
    return "".join(map(_text_of_part, content))


def _text_of_part(part: Any) -> str:
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise BadLine(
            'has a part of "content" without a type.',
            'A part is an object such as {"type": "text", "text": "..."}.',
        )
    if part["type"] != "text":
        raise BadLine(
            f'has a part of "content" of type {shown(part["type"])}.',
            "This model reads text only; leave out images, audio and files.",
            is_content=True,
        )
    fields.refuse_extra_keys(part, ("type", "text"))
    return str(fields.required(part, "text", str, "text"))


def _weight(message: Object) -> float:
    weight = message.get("weight")
    if weight is None:
        return 1.0
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight not in (0, 1):
        raise BadLine(
            f'has a "weight" of {shown(weight)}, but it must be 0 or 1.',
            "Use 1 to learn the message, 0 to leave it out.",
            is_content=True,
        )
    return float(weight)


def _tool_call(call: Any) -> ToolCall:
    call = fields.as_object(call, "tool_calls")
    fields.refuse_extra_keys(call, ("id", "type", "function"))
    _require_type_function(call, "tool_calls")
    call_id = fields.required(call, "id", str, "text")
    return _called_function(call_id, fields.required(call, "function", Mapping, "an object"))


def _called_function(call_id: str, call: Any) -> ToolCall:
    call = fields.as_object(call, "function_call")
    fields.refuse_extra_keys(call, ("name", "arguments"))
    arguments = fields.required(call, "arguments", str, "text that holds JSON")
    return ToolCall(call_id, _function_name(call), arguments)


def _tool(tool: Any) -> Object:
    tool = fields.as_object(tool, "tools")
    fields.refuse_extra_keys(tool, ("type", "function"))
    _require_type_function(tool, "tools")
    return {"type": "function", "function": _function(tool.get("function"))}


def _functions_as_tools(example: Object) -> list[Object]:
    functions = fields.list_of(example, "functions")
    if example.get("functions") is not None and not 1 <= len(functions) <= MAX_FUNCTIONS:
        raise BadLine(
            f'has {len(functions)} items in "functions".',
            f'There can be {MAX_FUNCTIONS} at most; leave "functions" out if there are none.',
        )
    return [{"type": "function", "function": _function(function)} for function in functions]


def _function(function: Any) -> Object:
    function = fields.as_object(function, "functions")
    fields.refuse_extra_keys(function, ("name", "description", "parameters", "strict"))
    _function_name(function)
    fields.optional(function, "description", str, "text")
    fields.optional(function, "strict", bool, "true or false")
    fields.optional(function, "parameters", Mapping, "an object")
    return {key: value for key, value in function.items() if value is not None}


def _function_name(function: Object) -> str:
    name = fields.required(function, "name", str, "text")
    if not FUNCTION_NAME.fullmatch(name):
        raise BadLine(
            f"has a function named {shown(name)}.",
            "A function's name has 1 to 64 letters, digits, underscores and dashes.",
            is_content=True,
        )
    return str(name)


def _require_type_function(value: Object, where: str) -> None:
    if value.get("type") != "function":
        raise BadLine(
            f'has an item of "{where}" whose "type" is not "function".',
            f'Give each item of "{where}" the "type" "function"; there are no others.',
        )
