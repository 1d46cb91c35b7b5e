"""What a text completion is answered with, whole or as a stream of objects of the same kind.

Behaviour reference, section 16.
"""

from typing import Literal

from tunesmith.domain.generation import FinishReason, TokenUsage
from tunesmith.wire.base import Reply
from tunesmith.wire.generation import Head, Json, UsageReply, server_sent, usage_reply
from tunesmith.wire.logprobs import CompletionLogprobs


class CompletionChoice(Reply):
    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: str


class CompletionReply(Reply):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: UsageReply
    system_fingerprint: str


def completion_choice(
    index: int, text: str, logprobs: Json | None, finish_reason: FinishReason | None
) -> CompletionChoice:
    assert finish_reason is not None, "a whole completion has come to its end"
    return CompletionChoice(
        text=text,
        index=index,
        logprobs=None if logprobs is None else CompletionLogprobs(**logprobs),
        finish_reason=finish_reason.value,
    )


def completion_reply(
    head: Head, choices: list[CompletionChoice], usage: TokenUsage
) -> CompletionReply:
    return CompletionReply(
        id=head.id,
        created=head.created,
        model=head.model,
        choices=choices,
        usage=usage_reply(usage),
        system_fingerprint=head.system_fingerprint,
    )


class PieceWriter:
    """Writes the pieces of one stream as server-sent events."""

    def __init__(self, head: Head) -> None:
        self._head: Json = {
            "id": head.id,
            "object": "text_completion",
            "created": head.created,
            "model": head.model,
            "system_fingerprint": head.system_fingerprint,
        }

    def piece(
        self, index: int, text: str, logprobs: Json | None, finish_reason: FinishReason | None
    ) -> bytes:
        choice = {
            "text": text,
            "index": index,
            "logprobs": logprobs,
            "finish_reason": finish_reason and finish_reason.value,
        }
        return server_sent({**self._head, "choices": [choice]})

    def usage(self, usage: TokenUsage) -> bytes:
        return server_sent({**self._head, "choices": [], "usage": usage_reply(usage).model_dump()})
