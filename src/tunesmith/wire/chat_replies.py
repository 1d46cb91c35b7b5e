"""What a chat request is answered with: one object, or a stream of chunks.

Behaviour reference, sections 15.2 and 15.3. A chunk's JSON is made thousands of times a second,
so chunks are plain dictionaries around a head that is the same for all of them.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from tunesmith.domain.generation import FinishReason, TokenUsage
from tunesmith.wire.base import Reply

Chunk = dict[str, Any]  # JSON on its way out

END_OF_STREAM = b"data: [DONE]\n\n"


class PromptTokensDetails(Reply):
    cached_tokens: int
    audio_tokens: int = 0


class CompletionTokensDetails(Reply):
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class UsageReply(Reply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class ReplyMessage(Reply):
    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    annotations: list[Any] = Field(default_factory=list)  # empty: we never search the web


class ChoiceReply(Reply):
    index: int
    message: ReplyMessage
    logprobs: None = None
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


@dataclass(frozen=True)
class ChatHead:
    """What all parts of one answer have in common."""

    id: str
    created: int
    model: str
    system_fingerprint: str


def usage_reply(usage: TokenUsage) -> UsageReply:
    return UsageReply(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
    )


def chat_reply(
    head: ChatHead, choices: list[tuple[str, FinishReason]], usage: TokenUsage
) -> ChatReply:
    return ChatReply(
        id=head.id,
        created=head.created,
        model=head.model,
        system_fingerprint=head.system_fingerprint,
        choices=[
            ChoiceReply(index=index, message=ReplyMessage(content=text), finish_reason=reason.value)
            for index, (text, reason) in enumerate(choices)
        ],
        usage=usage_reply(usage),
    )


class ChunkWriter:
    """Writes the chunks of one stream as server-sent events."""

    def __init__(self, head: ChatHead, *, includes_usage: bool) -> None:
        self._head: Chunk = {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "service_tier": "default",
            "system_fingerprint": head.system_fingerprint,
        }
        # With usage asked for, every chunk has the key and only the last one a value.
        self._tail: Chunk = {"usage": None} if includes_usage else {}

    def first(self, index: int) -> bytes:
        return self._choice(index, {"role": "assistant", "content": "", "refusal": None}, None)

    def text(self, index: int, text: str) -> bytes:
        return self._choice(index, {"content": text}, None)

    def last(self, index: int, reason: FinishReason) -> bytes:
        return self._choice(index, {}, reason.value)

    def usage(self, usage: TokenUsage) -> bytes:
        return server_sent({**self._head, "choices": [], "usage": usage_reply(usage).model_dump()})

    def _choice(self, index: int, delta: Chunk, finish_reason: str | None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return server_sent({**self._head, "choices": [choice], **self._tail})


def server_sent(data: Chunk) -> bytes:
    """One server-sent event. In ASCII, since some readers take U+2028 for the end of a line."""
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
