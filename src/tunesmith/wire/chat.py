"""A chat request (behaviour reference, section 15.1).

Every field of OpenAI's description is here with its type and range. Those that we can't honour
are accepted only with a value that changes nothing (`NEUTRAL`), and those that ask for what no
model here can do, not at all (`NEVER`): a parameter is refused rather than ignored. What only says
how fast or how long to answer is a hint, and taken as one; docs/inference.md says which.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith.domain import errors
from tunesmith.domain.chat import Conversation
from tunesmith.wire.base import Metadata, Name, Request, at_most
from tunesmith.wire.chat_messages import MAX_MESSAGES, ChatMessage, Content, to_messages
from tunesmith.wire.response_format import ResponseFormat, to_json_schema
from tunesmith.wire.sampling import SamplingRequest, refuse_stream_contradictions

Json = dict[str, Any]  # of fields that are refused as a whole
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

# What a field may say without changing the answer; null always may.
NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "function_call": ("none", "auto"),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
# What no value makes sense of, and why.
NEVER: Mapping[str, str] = {
    "audio": "the models of this service write text only",
    "moderation": "this service has no moderation models; check texts where your program has them",
    "web_search_options": "this service doesn't search the web; put what was found into 'messages'",
}


class PredictionRequest(Request):
    """What the answer will probably be. It would make the answer faster, and never another one."""

    type: Literal["content"]
    content: Content


class PromptCacheOptions(Request):
    ttl: Literal["30m"] | None = None
    mode: Literal["implicit", "explicit"] | None = None


class ChatRequest(SamplingRequest):
    messages: Annotated[list[ChatMessage], Field(min_length=1), at_most(MAX_MESSAGES)]
    model: Name

    # What the sampler honours, beside what text completions have too.
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    # What becomes of the answer afterwards.
    metadata: Metadata | None = None
    store: bool | None = None

    # What says something about the caller, and nothing about the answer.
    parallel_tool_calls: bool | None = None  # without tools there are no calls
    prompt_cache_key: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    safety_identifier: Annotated[str, Field(max_length=64)] | None = None
    user: str | None = None

    # Hints: the answer is the same without them. The reply says which tier it was.
    prediction: PredictionRequest | None = None
    reasoning_effort: Effort | None = None  # no model here is prompted to reason
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None

    # What asks for more than text: see NEVER, and `_refuse_contradictions`.
    audio: Json | None = None
    modalities: Annotated[list[Literal["text", "audio"]], Field(min_length=1)] | None = None
    moderation: Json | None = None
    web_search_options: Json | None = None

    response_format: ResponseFormat | None = None

    # What isn't built yet: see NEUTRAL.
    function_call: str | Json | None = None
    functions: list[Json] | None = None
    tool_choice: str | Json | None = None
    tools: list[Json] | None = None

    @property
    def num_logprobs(self) -> int | None:
        """How many tokens are told beside each one said; None if no log-probability is."""
        return (self.top_logprobs or 0) if self.logprobs else None


def to_answer_schema(request: ChatRequest, conversation: Conversation) -> str | None:
    """The JSON schema that the answer has to follow, as text; None if it may be anything. Raises
    InvalidRequest."""
    said = "\n".join(message.content or "" for message in conversation.messages)
    return to_json_schema(request.response_format, said)


def to_conversation(request: ChatRequest) -> Conversation:
    """What the renderer takes. Raises InvalidRequest for whatever we would have to ignore."""
    _refuse_unbuilt(request)
    _refuse_contradictions(request)
    return Conversation(to_messages(request.messages))


def _refuse_unbuilt(request: ChatRequest) -> None:
    for name, why in NEVER.items():
        if getattr(request, name) is not None:
            raise errors.InvalidRequest(
                f"Unsupported parameter: '{name}' can't be used here: {why}. Leave it out.",
                param=name,
                code="unsupported_parameter",
            )
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
    if "audio" in (request.modalities or ()):
        raise errors.InvalidRequest(
            f"Unsupported value: 'modalities' can't hold 'audio' here: {NEVER['audio']}. Send "
            '["text"], or leave it out.',
            param="modalities",
            code="unsupported_value",
        )
    if request.metadata and not request.store:
        raise errors.InvalidRequest(
            "The 'metadata' parameter is only allowed when 'store' is enabled.", param="metadata"
        )
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
