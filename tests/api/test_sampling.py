"""What the parameters of both routes do to the tokens that are chosen.

Expected tokens come from a greedy decoder in ten lines around transformers (`reference.py`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
from openai import OpenAI

from tests.api.reference import Reference
from tests.small_models import END_TOKEN_ID, SPECIAL_TOKENS

TEXT = "Once upon a time"
NUM_TOKENS = 24
ENDS = (END_TOKEN_ID, 0)

Say = Callable[..., list[str]]  # options → what each choice says


def prompt_ids(reference: Reference, route: str) -> list[int]:
    if route == "completions":
        return reference.ids(TEXT)
    user, assistant = SPECIAL_TOKENS.index("<|user|>"), SPECIAL_TOKENS.index("<|assistant|>")
    return [user, *reference.ids(TEXT), END_TOKEN_ID, assistant]


@pytest.fixture(params=["chat", "completions"])
def route(request: pytest.FixtureRequest) -> str:
    route: str = request.param
    return route


@pytest.fixture
def say(client: OpenAI, route: str) -> Say:
    def say(**options: Any) -> list[str]:
        options = {"model": "tiny", "temperature": 0, "max_tokens": NUM_TOKENS, **options}
        if route == "completions":
            completion = client.completions.create(prompt=TEXT, **options)
            return [choice.text for choice in completion.choices]
        reply = client.chat.completions.create(
            messages=[{"role": "user", "content": TEXT}], **options
        )
        return [choice.message.content for choice in reply.choices]

    return say


@pytest.fixture
def streamed(client: OpenAI, route: str) -> Say:
    def streamed(**options: Any) -> list[str]:
        options = {"model": "tiny", "temperature": 0, "max_tokens": NUM_TOKENS, **options}
        texts = [""] * options.get("n", 1)
        if route == "completions":
            for piece in client.completions.create(prompt=TEXT, stream=True, **options):
                texts[piece.choices[0].index] += piece.choices[0].text
            return texts
        for chunk in client.chat.completions.create(
            messages=[{"role": "user", "content": TEXT}], stream=True, **options
        ):
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        return texts

    return streamed


def greedy(
    reference: Reference,
    prompt: Sequence[int],
    frequency_penalty: float = 0,
    presence_penalty: float = 0,
    logit_bias: dict[str, float] | None = None,
) -> list[int]:
    """The likeliest tokens by OpenAI's formula: from the logit go count · frequency penalty and,
    once seen, the presence penalty; the bias is added."""
    known = list(prompt)
    seen: Counter[int] = Counter()
    for _ in range(NUM_TOKENS):
        row = list(reference.logprobs(known)[-1])
        for token_id, count in seen.items():
            row[token_id] -= count * frequency_penalty + presence_penalty
        for key, bias in (logit_bias or {}).items():
            row[int(key)] += bias
        best = max(range(len(row)), key=row.__getitem__)
        if best in ENDS:
            break
        known.append(best)
        seen[best] += 1
    return known[len(prompt) :]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"frequency_penalty": 2},
        {"presence_penalty": 2},
        {"frequency_penalty": -1.5},
        {"frequency_penalty": 0.7, "presence_penalty": 1.1, "logit_bias": {"90": 3}},
        {"logit_bias": {"5": -100, "0": -100}},
        {"logit_bias": {"70": 2.5, "5": -100}},
    ],
)
def test_penalties_and_biases_follow_openai_s_formula(
    say: Say, route: str, reference: Reference, options: dict[str, Any]
) -> None:
    expected = greedy(reference, prompt_ids(reference, route), **options)
    assert say(**options) == [reference.text(expected)]


def test_a_penalty_breaks_a_repetition_up(say: Say, reference: Reference) -> None:
    """Two tokens are made so likely that they are all that is said; alone, one of them is."""
    one, other = (str(reference.ids(letter)[0]) for letter in "ab")
    options = {"logit_bias": {one: 100, other: 99}}
    assert say(**options) == ["a" * NUM_TOKENS]
    (text,) = say(frequency_penalty=2, **options)
    assert set(text) == {"a", "b"}


def test_a_bias_of_100_forces_a_token_and_one_of_minus_100_bans_it(
    say: Say, reference: Reference
) -> None:
    forced = reference.ids("é")
    assert say(logit_bias={str(reference.ids("z")[0]): 100}) == ["z" * NUM_TOKENS]
    assert say(logit_bias={str(forced[0]): 100}) == ["\ufffd" * NUM_TOKENS]
    everything_but_x = {str(token_id): -100 for token_id in range(264)}
    del everything_but_x[str(reference.ids("x")[0])]
    assert say(logit_bias=everything_but_x, temperature=2) == ["x" * NUM_TOKENS]


def test_stop_strings_span_tokens(say: Say, streamed: Say, reference: Reference) -> None:
    """Each letter is a token; the words are made likely by nothing but their letters."""
    biases = {str(token_id): 100 for token_id in reference.ids("ab")}
    sampled = {"logit_bias": biases, "temperature": 1.5, "seed": 6, "n": 4}
    whole = say(**sampled)
    assert all(set(text) <= {"a", "b"} for text in whole)
    for stop in ("abb", ["bbb", "aab"], "ba" * 10):
        stops = [stop] if isinstance(stop, str) else stop
        expected = [cut(text, stops) for text in whole]
        assert say(stop=stop, **sampled) == expected
        assert streamed(stop=stop, **sampled) == expected
    assert any(len(cut(text, ["abb"])) < NUM_TOKENS for text in whole)


def cut(text: str, stops: Sequence[str]) -> str:
    """Before the stop string that is complete first."""
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    return text[: min(ends)[1]] if ends else text


def test_characters_are_never_cut_in_a_stream(
    say: Say, streamed: Say, reference: Reference
) -> None:
    """é and its bytes in any order: half a character shows only when it stays one."""
    biases = {str(token_id): 100 for token_id in reference.ids("é")}
    sampled = {"logit_bias": biases, "temperature": 2, "seed": 9, "n": 8, "frequency_penalty": 2}
    whole = say(**sampled)
    assert any("é" in text for text in whole)
    assert all(set(text) <= {"é", "\ufffd"} for text in whole)
    assert streamed(**sampled) == whole


def test_128_choices_are_all_there(say: Say) -> None:
    texts = say(n=128, temperature=2, seed=1, max_tokens=3, logit_bias={"5": -100, "0": -100})
    assert len(texts) == 128
    assert len(set(texts)) > 64


def test_temperature_and_nucleus_narrow_the_choice(say: Say) -> None:
    options = {"n": 16, "seed": 2, "max_tokens": 6}
    (best,) = say(max_tokens=6)
    spread = {
        (temperature, top_p): len(set(say(temperature=temperature, top_p=top_p, **options)))
        for temperature, top_p in product((0, 2), (1, 1e-6))
    }
    assert spread[2, 1] > 8
    assert spread[0, 1] == spread[0, 1e-6] == spread[2, 1e-6] == 1
    assert set(say(temperature=2, top_p=1e-6, **options)) == {best}
