"""The messages of a chat request (behaviour reference, section 15.1), and what they become.

The models here read text: parts of other kinds are refused by their `type`.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from tunesmith.domain import errors
from tunesmith.domain.chat import Message, Role, ToolCall
from tunesmith.wire.base import Request, at_most

MAX_MESSAGES = 2048
MAX_PARTS = 2048  # of one message; tool calls too


OTHER_MEDIA = {"image_url": "an image", "input_audio": "a recording", "file": "a file"}


def refuse_other_media(part: Any) -> Any:  # Any: nothing is checked yet
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in OTHER_MEDIA:
        raise PydanticCustomError(
            "unsupported_content",
            "the models of this service read text only, and a part of type '{kind}' holds "
            "{medium}. Send what it says as text",
            {"kind": kind, "medium": OTHER_MEDIA[kind]},
        )
    return part


class PromptCacheBreakpoint(Request):
    mode: Literal["explicit"]


class TextPart(Request):
    type: Literal["text"]
    text: str
    # A hint: the engine finds beginnings that it knows without being told where they end.
    prompt_cache_breakpoint: PromptCacheBreakpoint | None = None


class RefusalPart(Request):
    type: Literal["refusal"]
    refusal: str


Content = (
    str
    | Annotated[
        list[Annotated[TextPart, BeforeValidator(refuse_other_media)]],
        Field(min_length=1),
        at_most(MAX_PARTS),
    ]
)
AssistantContent = (
    str
    | Annotated[
        list[Annotated[TextPart | RefusalPart, Field(discriminator="type")]],
        Field(min_length=1),
        at_most(MAX_PARTS),
    ]
)
# What can stand in a line of a prompt without being taken for anything else.
Speaker = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\s<|\\/>]+$")]


class InstructionMessage(Request):
    role: Literal["developer", "system"]
    content: Content
    name: Speaker | None = None


class UserMessage(Request):
    role: Literal["user"]
    content: Content
    name: Speaker | None = None


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
    content: AssistantContent | None = None
    refusal: str | None = None
    name: Speaker | None = None
    tool_calls: Annotated[list[ToolCallRequest], at_most(MAX_PARTS)] | None = None
    function_call: FunctionCallRequest | None = None
    audio: dict[str, Any] | None = None  # refused by `_to_assistant_message`
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
        content=text_of(message.content),
        name=message.name if not isinstance(message, ToolMessage) else None,
        tool_call_id=message.tool_call_id if isinstance(message, ToolMessage) else None,
    )


def _to_assistant_message(message: AssistantMessage, index: int) -> Message:
    _refuse_contradictions(message, index)
    calls = tuple(
        ToolCall(call.id, call.function.name, call.function.arguments)
        for call in message.tool_calls or ()
    )
    if message.function_call:  # the older form of a single call; it had no id
        calls += (ToolCall("", message.function_call.name, message.function_call.arguments),)
    text = text_of(message.content)
    if not text and message.refusal is not None:
        text = message.refusal
    if text is None and not calls:
        raise errors.InvalidRequest(
            "Invalid value for 'content': expected a string, got null.",
            param=f"messages[{index}].content",
        )
    return Message(role=Role.ASSISTANT, content=text, name=message.name, tool_calls=calls)


def _refuse_contradictions(message: AssistantMessage, index: int) -> None:
    if message.audio is not None:
        raise errors.InvalidRequest(
            "Unsupported parameter: the 'audio' of an earlier answer can't be heard by the models "
            "of this service. Send its transcript as 'content'.",
            param=f"messages[{index}].audio",
            code="unsupported_parameter",
        )
    if message.content and message.refusal:
        raise errors.InvalidRequest(
            "An assistant message has either 'content' or a 'refusal'. Leave one of them out.",
            param=f"messages[{index}].refusal",
        )
    parts = message.content if isinstance(message.content, list) else []
    if len(parts) > 1 and any(isinstance(part, RefusalPart) for part in parts):
        raise errors.InvalidRequest(
            "The content of an assistant message is either one part of type 'refusal', or parts of "
            "type 'text'.",
            param=f"messages[{index}].content",
        )


def text_of(content: str | Sequence[TextPart | RefusalPart] | None) -> str | None:
    """What a model reads of it: parts are joined as they are."""
    if content is None or isinstance(content, str):
        return content
    return "".join(part.text if isinstance(part, TextPart) else part.refusal for part in content)


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
