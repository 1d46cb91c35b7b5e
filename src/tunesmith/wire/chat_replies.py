"""What a chat request is answered with: one object, or a stream of chunks.

Behaviour reference, sections 15.2 and 15.3. A chunk's JSON is made thousands of times a second,
so chunks are plain dictionaries around a head that is the same for all of them.
"""

from typing import Any, Literal

from pydantic import Field

from tunesmith.domain.generation import TokenUsage
from tunesmith.wire.base import Reply, is_none
from tunesmith.wire.generation import Head, Json, UsageReply, server_sent, usage_reply
from tunesmith.wire.logprobs import ChatLogprobs


class CalledFunctionReply(Reply):
    name: str
    arguments: str  # JSON


class ToolCallReply(Reply):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunctionReply


class ReplyMessage(Reply):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    annotations: list[Any] = Field(default_factory=list)  # empty: we never search the web
    tool_calls: list[ToolCallReply] | None = Field(default=None, exclude_if=is_none)
    function_call: CalledFunctionReply | None = Field(default=None, exclude_if=is_none)


class ChoiceReply(Reply):
    index: int
    message: ReplyMessage
    logprobs: ChatLogprobs | None
    finish_reason: str


class ChatReply(Reply):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChoiceReply]
    usage: UsageReply
    service_tier: Literal["default"] = "default"
    system_fingerprint: str


def chat_choice(
    index: int, message: ReplyMessage, logprobs: Json | None, finish_reason: str
) -> ChoiceReply:
    return ChoiceReply(
        index=index,
        message=message,
        logprobs=None if logprobs is None else ChatLogprobs(**logprobs),
        finish_reason=finish_reason,
    )


def chat_reply(head: Head, choices: list[ChoiceReply], usage: TokenUsage) -> ChatReply:
    return ChatReply(
        id=head.id,
        created=head.created,
        model=head.model,
        system_fingerprint=head.system_fingerprint,
        choices=choices,
        usage=usage_reply(usage),
    )


class ChunkWriter:
    """Writes the chunks of one stream as server-sent events."""

    def __init__(self, head: Head, *, includes_usage: bool) -> None:
        self._head: Json = {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "service_tier": "default",
            "system_fingerprint": head.system_fingerprint,
        }
        # With usage asked for, every chunk has the key and only the last one a value.
        self._tail: Json = {"usage": None} if includes_usage else {}

    def delta(self, index: int, delta: Json, logprobs: Json | None = None) -> bytes:
        return self._choice(index, delta, logprobs)

    def last(self, index: int, reason: str) -> bytes:
        return self._choice(index, {}, finish_reason=reason)

    def usage(self, usage: TokenUsage) -> bytes:
        return server_sent({**self._head, "choices": [], "usage": usage_reply(usage).model_dump()})

    def _choice(
        self,
        index: int,
        delta: Json,
        logprobs: Json | None = None,
        finish_reason: str | None = None,
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }
        return server_sent({**self._head, "choices": [choice], **self._tail})
