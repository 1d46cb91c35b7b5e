"""How to sample: fields that chat and text completions have in common."""

from tests.contract.conformance.effects import changes_text, completion_tokens
from tests.contract.conformance.rows import Effect, Row, Seen, no_effect, works

SOME_TOKEN = 100  # that is a whole character in the tests' model
TOKENS = 8
SURE = {str(SOME_TOKEN): 100}
LIKELY = {str(SOME_TOKEN): 3}  # said first, unless a penalty is in the way


def is_bounded(seen: Seen) -> bool:
    return completion_tokens(seen) == 3 and seen.reply["choices"][0]["finish_reason"] == "length"


def is_greedy(name: str) -> Effect:
    """Whatever the seed; without the field, another seed is another text."""

    def ignores_seed(seen: Seen) -> bool:
        free = seen.without(name)
        is_random = free.with_(seed=11).text != free.with_(seed=12).text
        return is_random and seen.with_(seed=11).text == seen.with_(seed=12).text

    return ignores_seed


def streamed_text(seen: Seen) -> str:
    choices = [choice for piece in seen.reply for choice in piece["choices"]]
    deltas = [choice.get("delta", {"content": choice.get("text")}) for choice in choices]
    return "".join(delta.get("content") or "" for delta in deltas)


def is_never_padded(seen: Seen) -> bool:
    options = {"include_obfuscation": False}
    pieces = [*seen.reply, *seen.with_(stream_options=options).reply]
    return not any("obfuscation" in piece for piece in pieces)


def repeats_itself(seen: Seen) -> bool:
    """With the same seed; another one draws anew."""
    return seen.text == seen.with_(seed=11).text != seen.with_(seed=12).text


def stops_before(seen: Seen) -> bool:
    """The text of a token said over and over ends where the stop string would begin."""
    free = seen.without("stop").text
    letter = free[0]
    stopped = seen.with_(stop=[letter * 2])
    reason = stopped.reply["choices"][0]["finish_reason"]
    return free == letter * TOKENS and stopped.text == "" and reason == "stop"


def counts_at_the_end(seen: Seen) -> bool:
    *pieces, last = seen.reply
    is_last_only = all(piece.get("usage") is None for piece in pieces)
    return last["choices"] == [] and last["usage"]["prompt_tokens"] > 0 and is_last_only


SAMPLING: tuple[Row, ...] = (
    works(
        "temperature",
        text="0 is greedy",
        sends={"temperature": 0},
        sees=is_greedy("temperature"),
    ),
    works("top_p", text="0 is greedy, too", sends={"top_p": 0}, sees=is_greedy("top_p")),
    works(
        "frequency_penalty",
        text="off a token's logit for each time that the completion has it",
        sends={"frequency_penalty": 2, "temperature": 0, "logit_bias": LIKELY},
        sees=changes_text("frequency_penalty"),
    ),
    works(
        "presence_penalty",
        text="once, if the completion has the token at all",
        sends={"presence_penalty": 2, "temperature": 0, "logit_bias": LIKELY},
        sees=changes_text("presence_penalty"),
    ),
    works(
        "logit_bias",
        text="up to 1024 token ids of this model's tokenizer, not of OpenAI's",
        sends={"logit_bias": SURE},
        sees=lambda seen: len(set(seen.text)) == 1,
    ),
    works(
        "n",
        text="1 to 128 choices",
        sends={"n": 3},
        sees=lambda seen: len(seen.reply["choices"]) == 3,
    ),
    works("seed", text="repeats the same choices", sends={"seed": 11}, sees=repeats_itself),
    works(
        "stop",
        text="up to 4 strings of up to 256 characters",
        sends={"logit_bias": SURE, "stop": "no such text"},
        sees=stops_before,
    ),
    works(
        "stream",
        text="server-sent events",
        sends={"stream": True},
        sees=lambda seen: streamed_text(seen) == seen.without("stream").text,
    ),
    works(
        "stream_options",
        "stream_options.include_usage",
        text="a last chunk counts the tokens",
        sends={"stream": True, "stream_options": {"include_usage": True}},
        sees=counts_at_the_end,
    ),
    no_effect(
        "stream_options.include_obfuscation",
        text="streams are never padded",
        sends={"stream": True, "stream_options": {"include_obfuscation": True}},
        sees=is_never_padded,
    ),
)
