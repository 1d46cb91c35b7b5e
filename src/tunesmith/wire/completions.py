"""A text completion's request (behaviour reference, section 16)."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from tunesmith.domain import errors
from tunesmith.wire.base import Name
from tunesmith.wire.sampling import SamplingRequest, refuse_stream_contradictions

DEFAULT_MAX_TOKENS = 16

TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


def _form(prompt: Any) -> str:
    """Which of its four forms a prompt has, by its first item. Any: nothing is checked yet."""
    if not isinstance(prompt, list):
        return "text"
    first = prompt[0] if prompt else ""
    if isinstance(first, list):
        return "token lists"
    return "texts" if isinstance(first, str) else "tokens"


# Told apart before it is looked into: otherwise a bad item would be a finding of every form.
Prompt = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[str], Field(min_length=1), Tag("texts")]
    | Annotated[TokenIds, Tag("tokens")]
    | Annotated[list[TokenIds], Field(min_length=1), Tag("token lists")],
    Discriminator(_form),
]


class CompletionRequest(SamplingRequest):
    model: Name
    prompt: Prompt | None = None  # None: the start of a document
    best_of: Annotated[int, Field(ge=0, le=20)] | None = None  # 0: as if it weren't there
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    suffix: str | None = None
    user: str | None = None  # says something about the caller, and nothing about the answer

    @property
    def num_choices(self) -> int:
        return self.n or 1

    @property
    def num_candidates(self) -> int:
        """How many completions are made of each prompt, of which the best choices are given."""
        return self.best_of or self.num_choices

    @property
    def completion_tokens(self) -> int:
        """The most tokens that a completion may have."""
        return DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens


def to_prompts(request: CompletionRequest) -> list[str] | list[list[int]]:
    """What is to be completed. Raises InvalidRequest for what contradicts itself."""
    _refuse_contradictions(request)
    prompt = request.prompt
    if prompt is None or isinstance(prompt, str):
        return [prompt or ""]
    # The first item tells the form, as it did when the request was validated.
    return [prompt] if isinstance(prompt[0], int) else prompt


def _refuse_contradictions(request: CompletionRequest) -> None:
    refuse_stream_contradictions(request)
    if request.suffix:
        raise errors.InvalidRequest(
            "Unsupported parameter: 'suffix' needs a model that was trained to fill in text, and "
            "this service has none. Leave it out, and put what comes before the gap into 'prompt'.",
            param="suffix",
            code="unsupported_parameter",
        )
    if request.num_candidates < request.num_choices:
        raise errors.InvalidRequest(
            f"'best_of' must be greater than or equal to 'n': {request.num_choices} of "
            f"{request.num_candidates} can't be given.",
            param="best_of",
        )
    if request.stream and (request.best_of or 0) > 1:
        raise errors.InvalidRequest(
            "'best_of' can't be used with 'stream': which completion is the best is known only "
            "when all of them are finished.",
            param="best_of",
        )
    if request.completion_tokens == 0 and not request.echo:
        raise errors.InvalidRequest(
            "A 'max_tokens' of 0 gives back nothing but the prompt, so it needs 'echo'. Ask for 1 "
            "or more tokens, or set 'echo' to true.",
            param="max_tokens",
        )
