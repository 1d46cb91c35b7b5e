"""Text completions."""

from tests.contract.conformance.effects import completion_tokens, echoed, prompt_tokens
from tests.contract.conformance.rows import Conformance, no_effect, refused, works
from tests.contract.conformance.sampling import SAMPLING, TOKENS, is_bounded

COMPLETIONS = (
    Conformance(
        "POST /completions",
        "completions.create",
        base={"model": "tiny", "prompt": "hello", "max_tokens": TOKENS, "seed": 1},
        note="Streams are objects of the same kind; the description has none.",
        rows=(
            works(
                "model",
                text="any model of this service that has the route",
                sends={"model": "tiny"},
                sees=echoed("model"),
            ),
            works(
                "prompt",
                text="a text, texts, tokens, or lists of tokens",
                sends={"prompt": "hello, you"},
                sees=lambda seen: (
                    prompt_tokens(seen) == len("hello, you")
                    and prompt_tokens(seen.with_(prompt=[[100, 101], [102]])) == 3
                ),
            ),
            works(
                "best_of",
                text="up to 20 candidates; not with `stream`",
                sends={"best_of": 4, "n": 1},
                sees=lambda seen: (
                    len(seen.reply["choices"]) == 1
                    and completion_tokens(seen) > completion_tokens(seen.without("best_of"))
                ),
            ),
            works(
                "echo",
                text="the prompt before the completion, with its log-probabilities if asked for",
                sends={"echo": True},
                sees=lambda seen: seen.text == "hello" + seen.without("echo").text,
            ),
            works(
                "logprobs",
                text="0 to 5 of the likeliest tokens, and the one chosen",
                sends={"logprobs": 2},
                sees=lambda seen: (
                    len(seen.reply["choices"][0]["logprobs"]["tokens"]) == completion_tokens(seen)
                ),
            ),
            works(
                "max_tokens",
                text="16 unless said; 0 with `echo` only",
                sends={"max_tokens": 3},
                sees=is_bounded,
            ),
            refused(
                "suffix",
                text="needs a model that was trained to fill in text, and there is none here",
                sends={"suffix": "end"},
                param="suffix",
                code="unsupported_parameter",
            ),
            no_effect("user", text="says who asks, nothing about the answer", sends={"user": "u"}),
            *SAMPLING,
        ),
    ),
)
