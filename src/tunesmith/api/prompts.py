"""The prompts of a text completion: encoded, and refused where they are too long or too many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.api.context import ApiLimits
from tunesmith.api.generation import refuse_many_logprobs
from tunesmith.domain import errors
from tunesmith.wire.completions import CompletionRequest

if TYPE_CHECKING:
    from tunesmith.datasets.render import Renderer


@dataclass(frozen=True)
class Prompt:
    token_ids: list[int]
    text: str | None = None  # None: it came as token ids


@dataclass(frozen=True)
class Bounds:
    """What the model and the service set to prompts."""

    context_length: int
    vocab_size: int
    limits: ApiLimits


def refuse_many_prompts(num_prompts: int, limits: ApiLimits) -> None:
    """Raises InvalidRequest."""
    if num_prompts > limits.max_prompts:
        raise errors.InvalidRequest(
            f"Invalid 'prompt': array too long. This service takes at most {limits.max_prompts} "
            f"prompts in one request, but got {num_prompts}. Send several requests.",
            param="prompt",
            code="array_above_max_length",
        )


def encoded(
    texts: Sequence[str | list[int]], body: CompletionRequest, renderer: "Renderer", bounds: Bounds
) -> list[Prompt]:
    """Raises InvalidRequest as soon as it is clear that a prompt, or all of them, are too much."""
    prompts: list[Prompt] = []
    for text in texts:
        if isinstance(text, str):  # before the work of encoding it
            _refuse_overlong(renderer.fewest_tokens(text), body, bounds, "at least ")
            prompts.append(Prompt(renderer.encode_text(text), text))
        else:
            _refuse_unknown_tokens(text, bounds.vocab_size)
            prompts.append(Prompt(text))
        _refuse_overlong(len(prompts[-1].token_ids), body, bounds)
        _refuse_too_much(prompts, body, bounds.limits)
    return prompts


def _refuse_unknown_tokens(token_ids: list[int], vocab_size: int) -> None:
    if max(token_ids) >= vocab_size:
        raise errors.InvalidRequest(
            f"Invalid 'prompt': {max(token_ids)} is not the id of a token. The ids of this model "
            f"go from 0 to {vocab_size - 1}.",
            param="prompt",
            code="invalid_value",
        )


def _refuse_overlong(
    num_prompt: int, body: CompletionRequest, bounds: Bounds, how_exact: str = ""
) -> None:
    # Even a prompt that is only scored needs room for the one token that is dropped.
    num_completion = max(body.completion_tokens, 1)
    if num_prompt + num_completion > bounds.context_length:
        raise errors.InvalidRequest(
            f"This model's maximum context length is {bounds.context_length} tokens, however you "
            f"requested {how_exact}{num_prompt + num_completion} tokens ({num_prompt} in your "
            f"prompt; {num_completion} for the completion). Please reduce your prompt; or "
            "completion length.",
            param="prompt" if num_prompt >= bounds.context_length else "max_tokens",
            code="context_length_exceeded",
        )


def _refuse_too_much(prompts: list[Prompt], body: CompletionRequest, limits: ApiLimits) -> None:
    """Bounds what one request can cost and how long its answer can get."""
    num_prompt = sum(len(prompt.token_ids) for prompt in prompts)
    num_made = len(prompts) * body.num_candidates * body.completion_tokens
    if num_prompt + num_made > limits.max_request_tokens:
        raise errors.InvalidRequest(
            f"This request could take {num_prompt + num_made} tokens or more, those of all prompts "
            f"and completions together, and this service allows {limits.max_request_tokens}. Send "
            "fewer prompts at once, or lower 'max_tokens', 'n' or 'best_of'.",
            param="prompt",
            code="too_many_tokens",
        )
    if body.logprobs is not None:
        num_echoed = num_prompt * body.num_choices if body.echo else 0
        refuse_many_logprobs(num_echoed + num_made, body.logprobs, limits.max_logprobs)
