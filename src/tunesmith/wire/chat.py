"""A chat request (behaviour reference, section 15.1).

Every field of OpenAI's description is here with its type and range. Those that ask for what no
model here can do are refused (`NEVER`) rather than ignored. What only says how fast or how long to
answer is a hint, and taken as one; docs/inference.md says which.
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
from tunesmith.wire.tools import (
    FunctionChoice,
    Functions,
    ToolChoice,
    Tools,
    ToolUse,
    to_function_use,
    to_tool_use,
)

Json = dict[str, Any]  # of fields that are refused as a whole
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

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

    # What may be called: see `tools.py`.
    function_call: FunctionChoice | None = None
    functions: Functions | None = None
    parallel_tool_calls: bool | None = None  # true, unless it says false
    tool_choice: ToolChoice | None = None
    tools: Tools | None = None

    @property
    def num_logprobs(self) -> int | None:
        """How many tokens are told beside each one said; None if no log-probability is."""
        return (self.top_logprobs or 0) if self.logprobs else None


def to_answer_schema(request: ChatRequest, conversation: Conversation) -> str | None:
    """The JSON schema that the answer has to follow, as text; None if it may be anything. Raises
    InvalidRequest."""
    said = "\n".join(message.content or "" for message in conversation.messages)
    return to_json_schema(request.response_format, said)


def to_conversation(request: ChatRequest, use: ToolUse | None) -> Conversation:
    """What the renderer takes. Raises InvalidRequest for whatever we would have to ignore."""
    _refuse_impossible(request)
    _refuse_contradictions(request)
    return Conversation(to_messages(request.messages), use.shown if use else ())


def to_use(request: ChatRequest) -> ToolUse | None:
    """What may be called. Raises InvalidRequest."""
    if request.tools and request.functions:
        raise errors.InvalidRequest(
            "'tools' and 'functions', its deprecated form, can't go together. Send 'tools' alone.",
            param="functions",
            code="invalid_parameter_combination",
        )
    by_functions = to_function_use(request.functions, request.function_call)
    is_parallel = request.parallel_tool_calls is not False
    return by_functions or to_tool_use(request.tools, request.tool_choice, is_parallel=is_parallel)


def _refuse_impossible(request: ChatRequest) -> None:
    for name, why in NEVER.items():
        if getattr(request, name) is not None:
            raise errors.InvalidRequest(
                f"Unsupported parameter: '{name}' can't be used here: {why}. Leave it out.",
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
