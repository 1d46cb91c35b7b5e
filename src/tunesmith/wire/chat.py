"""A chat request (behaviour reference, section 15.1).

Every field of OpenAI's description is here with its type and range. Those that we can't honour
yet are accepted only with a value that changes nothing (`NEUTRAL`): a parameter is refused
rather than ignored.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith.domain import errors
from tunesmith.domain.chat import Conversation
from tunesmith.wire.base import Metadata, Name, at_most
from tunesmith.wire.chat_messages import MAX_MESSAGES, ChatMessage, to_messages
from tunesmith.wire.sampling import SamplingRequest, refuse_stream_contradictions

Json = dict[str, Any]  # of fields that are refused as a whole

# What a field may say without changing the answer; null always may.
NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "metadata": ({},),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": (),
}


class ChatRequest(SamplingRequest):
    messages: Annotated[list[ChatMessage], Field(min_length=1), at_most(MAX_MESSAGES)]
    model: Name

    # What the sampler honours, beside what text completions have too.
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    # What says something about the caller, and nothing about the answer.
    parallel_tool_calls: bool | None = None  # without tools there are no calls
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    safety_identifier: Annotated[str, Field(max_length=64)] | None = None
    user: str | None = None

    # What isn't built yet: see NEUTRAL.
    audio: Json | None = None
    function_call: str | Json | None = None
    functions: list[Json] | None = None
    metadata: Metadata | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: Json | None = None
    prediction: Json | None = None
    reasoning_effort: str | None = None
    response_format: Json | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    store: bool | None = None
    tool_choice: str | Json | None = None
    tools: list[Json] | None = None
    verbosity: str | None = None
    web_search_options: Json | None = None

    @property
    def num_logprobs(self) -> int | None:
        """How many tokens are told beside each one said; None if no log-probability is."""
        return (self.top_logprobs or 0) if self.logprobs else None


def to_conversation(request: ChatRequest) -> Conversation:
    """What the renderer takes. Raises InvalidRequest for whatever we would have to ignore."""
    _refuse_unbuilt(request)
    _refuse_contradictions(request)
    return Conversation(to_messages(request.messages))


def _refuse_unbuilt(request: ChatRequest) -> None:
    for name, neutral in NEUTRAL.items():
        value = getattr(request, name)
        if value is not None and value not in neutral:
            raise errors.InvalidRequest(
                f"Unsupported parameter: '{name}' isn't supported yet with this value. Leave it "
                "out to use its default.",
                param=name,
                code="unsupported_parameter",
            )


def _refuse_contradictions(request: ChatRequest) -> None:
    refuse_stream_contradictions(request)
    if request.top_logprobs and not request.logprobs:
        raise errors.InvalidRequest(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
            param="top_logprobs",
        )
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise errors.InvalidRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
