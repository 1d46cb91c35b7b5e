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
from tunesmith.domain.generation import SamplingParams
from tunesmith.wire.base import Request
from tunesmith.wire.chat_messages import ChatMessage, to_messages
from tunesmith.wire.jobs import Metadata, Name

MAX_SEED = 2**63 - 1

Penalty = Annotated[float, Field(ge=-2, le=2)]
Json = dict[str, Any]  # of fields that are refused as a whole
StopString = Annotated[str, Field(min_length=1, max_length=256)]

# What a field may say without changing the answer; null always may.
NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}


class StreamOptions(Request):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # we never pad, so both values are honoured


class ChatRequest(Request):
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    model: Name

    # What the sampler honours.
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    seed: Annotated[int, Field(ge=-MAX_SEED - 1, le=MAX_SEED)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None

    # What says something about the caller, and nothing about the answer.
    parallel_tool_calls: bool | None = None  # without tools there are no calls
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    safety_identifier: Annotated[str, Field(max_length=64)] | None = None
    user: str | None = None

    # What isn't built yet: see NEUTRAL.
    audio: Json | None = None
    frequency_penalty: Penalty | None = None
    function_call: str | Json | None = None
    functions: list[Json] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    metadata: Metadata | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: Json | None = None
    prediction: Json | None = None
    presence_penalty: Penalty | None = None
    reasoning_effort: str | None = None
    response_format: Json | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    store: bool | None = None
    tool_choice: str | Json | None = None
    tools: list[Json] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    verbosity: str | None = None
    web_search_options: Json | None = None

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


def to_conversation(request: ChatRequest) -> Conversation:
    """What the renderer takes. Raises InvalidRequest for whatever we would have to ignore."""
    _refuse_unbuilt(request)
    _refuse_contradictions(request)
    return Conversation(to_messages(request.messages))


def to_sampling_params(
    request: ChatRequest, *, room: int, end_token_ids: tuple[int, ...]
) -> SamplingParams:
    """How to sample, within a `room` of tokens that the prompt leaves in the context.

    `max_tokens` is an upper bound: more than there is room for ends with reason "length".
    """
    asked = request.max_completion_tokens or request.max_tokens or room
    temperature = 1.0 if request.temperature is None else request.temperature
    top_p = 1.0 if request.top_p is None else request.top_p
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return SamplingParams(
        max_tokens=min(asked, room),
        # A nucleus of nothing but the likeliest token is greedy decoding.
        temperature=temperature if top_p > 0 else 0.0,
        top_p=top_p if top_p > 0 else 1.0,
        seed=request.seed,
        stop=stop,
        stop_token_ids=end_token_ids,
    )


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
    if request.stream_options is not None and not request.stream:
        raise errors.InvalidRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise errors.InvalidRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
