"""The messages of a chat request (behaviour reference, section 15.1), and what they become.

Text only for now: other content parts are refused by their `type`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith.domain import errors
from tunesmith.domain.chat import Message, Role, ToolCall
from tunesmith.wire.base import Request, at_most

MAX_MESSAGES = 2048
MAX_PARTS = 2048  # of one message; tool calls too


class TextPart(Request):
    type: Literal["text"]
    text: str


Content = str | Annotated[list[TextPart], Field(min_length=1), at_most(MAX_PARTS)]


class InstructionMessage(Request):
    role: Literal["developer", "system"]
    content: Content
    name: str | None = None


class UserMessage(Request):
    role: Literal["user"]
    content: Content
    name: str | None = None


class FunctionCallRequest(Request):
    name: str
    arguments: str


class ToolCallRequest(Request):
    id: str
    type: Literal["function"]
    function: FunctionCallRequest


class AssistantMessage(Request):
    """Also what programs send back of an earlier reply, hence the keys that only replies have."""

    role: Literal["assistant"]
    content: Content | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCallRequest], at_most(MAX_PARTS)] | None = None
    function_call: FunctionCallRequest | None = None
    audio: None = None
    annotations: list[Any] | None = None  # Any: of a reply; there is nothing in it for a model


class ToolMessage(Request):
    role: Literal["tool"]
    content: Content
    tool_call_id: str


class FunctionMessage(Request):
    role: Literal["function"]
    content: str | None
    name: str


ChatMessage = Annotated[
    InstructionMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Field(discriminator="role"),
]


def to_messages(messages: list[ChatMessage]) -> tuple[Message, ...]:
    """The domain's messages. Raises InvalidRequest for a sequence that makes no sense."""
    _refuse_unanswered_calls(messages)
    return tuple(_to_message(message, index) for index, message in enumerate(messages))


def _to_message(message: ChatMessage, index: int) -> Message:
    if isinstance(message, AssistantMessage):
        return _to_assistant_message(message, index)
    return Message(
        role=Role(message.role),
        content=_text(message.content),
        name=message.name if not isinstance(message, ToolMessage) else None,
        tool_call_id=message.tool_call_id if isinstance(message, ToolMessage) else None,
    )


def _to_assistant_message(message: AssistantMessage, index: int) -> Message:
    calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments)
        for call in message.tool_calls or ()
    )
    if message.function_call:  # the older form of a single call; it had no id
        calls += (ToolCall("", message.function_call.name, message.function_call.arguments),)
    text = message.refusal if message.content is None else _text(message.content)
    if text is None and not calls:
        raise errors.InvalidRequest(
            "Invalid value for 'content': expected a string, got null.",
            param=f"messages[{index}].content",
        )
    return Message(role=Role.ASSISTANT, content=text, name=message.name, tool_calls=calls)


def _text(content: Content | None) -> str | None:
    if content is None or isinstance(content, str):
        return content
    return "".join(part.text for part in content)


def _refuse_unanswered_calls(messages: list[ChatMessage]) -> None:
    """Each tool call is answered before anything else is said, and nothing else is answered."""
    waiting: list[str] = []
    for index, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in waiting:
                raise errors.InvalidRequest(
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceding message with 'tool_calls'.",
                    param=f"messages[{index}].role",
                )
            waiting.remove(message.tool_call_id)
            continue
        if waiting:
            break
        if isinstance(message, AssistantMessage):
            waiting = [call.id for call in message.tool_calls or ()]
    if waiting:
        raise errors.InvalidRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(waiting),
            param="messages",
        )
