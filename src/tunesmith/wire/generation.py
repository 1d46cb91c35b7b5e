"""What the answers of chat and text completions have in common: head, usage, events.

Behaviour reference, sections 15.2 and 15.3.
"""

import json
from dataclasses import dataclass
from typing import Any

from tunesmith.domain.generation import TokenUsage
from tunesmith.wire.base import Reply

Json = dict[str, Any]  # on its way out

END_OF_STREAM = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Head:
    """What all parts of one answer have in common."""

    id: str
    created: int
    model: str
    system_fingerprint: str


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


def usage_reply(usage: TokenUsage) -> UsageReply:
    return UsageReply(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
    )


def server_sent(data: Json) -> bytes:
    """One server-sent event. In ASCII, since some readers take U+2028 for the end of a line."""
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
