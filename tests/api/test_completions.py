"""Text completions through the official SDK on a real engine (behaviour reference, section 16).

The model of `small_models.py` has one token a byte, so what it goes on with is mostly no text;
prompts and offsets are worked out by hand, numbers by transformers (`reference.py`).
"""

import json
import time
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI
from openai.types import Completion

from tests.api import histories
from tests.api.conftest import LIMITS, SHORT_CONTEXT, LiveApi
from tests.api.reference import TOLERANCE, Reference
from tests.small_models import END_TOKEN_ID, SPECIAL_TOKENS

PROMPT = "Once upon"
EMOJI = "né 👍🏽 e\u0301 \u2028"
START = [0]  # <|endoftext|>, which a document begins with


def ask(client: OpenAI, prompt: Any = PROMPT, **options: Any) -> Completion:
    """Greedy unless told otherwise."""
    defaults = {"model": "tiny", "temperature": 0, "max_tokens": 12}
    completion: Completion = client.completions.create(prompt=prompt, **{**defaults, **options})
    return completion


def texts(completion: Completion) -> list[str]:
    return [choice.text for choice in completion.choices]


def told(completion: Completion, index: int = 0) -> Any:
    logprobs = completion.choices[index].logprobs
    assert logprobs is not None
    return logprobs


def streamed(client: OpenAI, prompt: Any = PROMPT, **options: Any) -> list[Completion]:
    defaults = {"model": "tiny", "temperature": 0, "max_tokens": 12}
    stream = client.completions.create(prompt=prompt, stream=True, **{**defaults, **options})
    return list(stream)


def test_a_reply_has_every_part_of_openai_s(client: OpenAI) -> None:
    completion = ask(client, model="gpt-4o-mini", max_tokens=5)
    answer = completion.to_dict()
    assert completion.id.startswith("cmpl-")
    assert completion.created == pytest.approx(time.time(), abs=5)
    assert answer == {
        "id": completion.id,
        "object": "text_completion",
        "created": completion.created,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "text": completion.choices[0].text,
                "index": 0,
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": len(PROMPT),
            "completion_tokens": 5,
            "total_tokens": len(PROMPT) + 5,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "system_fingerprint": completion.system_fingerprint,
    }


def test_neutral_values_change_nothing(http: httpx2.Client, client: OpenAI) -> None:
    neutral = {
        "best_of": 1,
        "echo": False,
        "frequency_penalty": 0,
        "logit_bias": {},
        "logprobs": None,
        "n": 1,
        "presence_penalty": 0.0,
        "seed": None,
        "stop": None,
        "stream": False,
        "stream_options": None,
        "suffix": "",
        "top_p": 1,
        "user": "me",
    }
    body = {"model": "tiny", "prompt": PROMPT, "temperature": 0, "max_tokens": 12, **neutral}
    answer = http.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["text"] == ask(client).choices[0].text


def test_sixteen_tokens_are_made_unless_another_number_is_asked_for(client: OpenAI) -> None:
    completion = ask(client, max_tokens=None)
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 16
    assert completion.choices[0].finish_reason == "length"


def test_prompts_come_in_four_forms(client: OpenAI, reference: Reference) -> None:
    """Two prompts in each form that takes several, two choices of each: prompt by prompt."""
    one, other = "ab", "né"
    alone = [ask(client, prompt) for prompt in (one, other)]
    first, second = (completion.choices[0].text for completion in alone)
    assert first != second
    assert texts(ask(client, [one, other], n=2)) == [first, first, second, second]
    token_lists = [reference.ids(one), reference.ids(other)]
    assert texts(ask(client, token_lists)) == [first, second]
    assert texts(ask(client, token_lists[1])) == [second]
    completion = ask(client, [one, other, one], n=2)
    assert [choice.index for choice in completion.choices] == [*range(6)]
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 2 + 3 + 2
    made = [own.usage.completion_tokens for own in alone if own.usage]
    assert completion.usage.completion_tokens == 2 * (made[0] + made[1] + made[0])


@pytest.mark.parametrize("body", [{}, {"prompt": None}, {"prompt": ""}, {"prompt": START}])
def test_without_a_prompt_a_document_begins(
    http: httpx2.Client, client: OpenAI, body: dict[str, Any]
) -> None:
    whole = {"model": "tiny", "temperature": 0, "max_tokens": 12, "echo": True, **body}
    answer = http.post("/v1/completions", json=whole).json()
    assert answer["choices"][0]["text"] == ask(client, START).choices[0].text
    assert answer["usage"]["prompt_tokens"] == 1


def test_logprobs_are_the_model_s_own(client: OpenAI, reference: Reference) -> None:
    """Prompt and completion, whatever the temperature, biases and penalties do to the choice."""
    completion = ask(
        client,
        EMOJI,
        echo=True,
        logprobs=5,
        temperature=1.7,
        seed=3,
        frequency_penalty=1.5,
        logit_bias={"80": 4},
    )
    logprobs = told(completion)
    token_ids = [reference.id_of(token) for token in logprobs.tokens]
    prompt = reference.ids(EMOJI)
    assert token_ids[: len(prompt)] == prompt
    assert len(token_ids) == len(prompt) + 12
    assert logprobs.token_logprobs[0] is None
    assert logprobs.top_logprobs[0] is None
    expected = reference.logprobs(token_ids)
    for place in range(1, len(token_ids)):
        row = expected[place - 1]
        chosen = token_ids[place]
        assert logprobs.token_logprobs[place] == pytest.approx(row[chosen], abs=TOLERANCE)
        top = {reference.id_of(token): one for token, one in logprobs.top_logprobs[place].items()}
        assert chosen in top
        assert top == pytest.approx({token_id: row[token_id] for token_id in top}, abs=TOLERANCE)
        likeliest = sorted(range(len(row)), key=lambda token_id: -row[token_id])[:5]
        assert set(top) == {*likeliest, chosen}


def test_logprobs_of_zero_tell_of_the_chosen_token_alone(client: OpenAI) -> None:
    logprobs = told(ask(client, logprobs=0, temperature=1, seed=1))
    assert len(logprobs.tokens) == 12
    for token, logprob, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert top == {token: logprob}


@pytest.mark.parametrize("echo", [False, True])
def test_a_text_that_ends_at_once_tells_what_else_could_have_come(
    client: OpenAI, reference: Reference, echo: bool
) -> None:
    """A classifier of the first era reads `top_logprobs[0]`, whatever the answer."""
    bias = {str(END_TOKEN_ID): 100}
    completion = ask(client, logprobs=5, max_tokens=1, logit_bias=bias, echo=echo)
    (choice,) = completion.choices
    assert (choice.text, choice.finish_reason) == (PROMPT if echo else "", "stop")
    logprobs, end = told(completion), SPECIAL_TOKENS[END_TOKEN_ID]
    assert len(logprobs.tokens) == (len(PROMPT) + 1 if echo else 1)
    assert logprobs.tokens[-1] == end
    assert logprobs.text_offset[-1] == len(choice.text)
    row = reference.logprobs(reference.ids(PROMPT))[-1]
    assert logprobs.token_logprobs[-1] == pytest.approx(row[END_TOKEN_ID], abs=TOLERANCE)
    top = {reference.id_of(token): one for token, one in logprobs.top_logprobs[-1].items()}
    likeliest = sorted(range(len(row)), key=lambda token_id: -row[token_id])[:5]
    assert set(top) == {*likeliest, END_TOKEN_ID}
    assert top == pytest.approx({token_id: row[token_id] for token_id in top}, abs=TOLERANCE)
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 1


def test_all_that_was_sampled_is_told_and_counted(client: OpenAI, reference: Reference) -> None:
    """Also what belongs to a stop string, of which no text is shown."""
    a = {str(reference.ids("a")[0]): 100}
    completion = ask(client, logprobs=1, logit_bias=a, stop="aaa")
    assert texts(completion) == [""]
    assert told(completion).tokens == ["a", "a", "a"]
    assert told(completion).text_offset == [0, 1, 2]
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 3


@pytest.mark.parametrize("prompt", [EMOJI, "plain", "👍", ""])
def test_offsets_cut_the_echoed_text_into_its_tokens(client: OpenAI, prompt: str) -> None:
    """Each token's characters lie between its offset and the next one's."""
    completion = ask(client, prompt, echo=True, logprobs=0, seed=5, temperature=1)
    text, logprobs = completion.choices[0].text, told(completion)
    assert text.startswith(prompt)
    offsets = logprobs.text_offset
    assert offsets[0] == 0
    assert offsets == sorted(offsets)
    num_prompt = max(len(prompt.encode()), 1)
    assert offsets[num_prompt] == len(prompt)
    parts = [text[start:end] for start, end in zip(offsets, [*offsets[1:], None], strict=True)]
    assert "".join(parts) == text
    for token, part in zip(logprobs.tokens, parts, strict=True):
        if not token.startswith(("bytes:", "<|")) and "\ufffd" not in part:
            assert part == token


def test_offsets_begin_behind_the_prompt_without_echo(client: OpenAI) -> None:
    plain, echoed = (told(ask(client, logprobs=2, echo=echo)) for echo in (False, True))
    assert plain.text_offset[0] == 0
    assert [place + len(PROMPT) for place in plain.text_offset] == echoed.text_offset[len(PROMPT) :]
    assert plain.tokens == echoed.tokens[len(PROMPT) :]
    assert plain.token_logprobs == pytest.approx(echoed.token_logprobs[len(PROMPT) :], abs=1e-4)


def test_the_prompt_alone_can_be_had_with_its_logprobs(
    client: OpenAI, reference: Reference
) -> None:
    completion = ask(client, [EMOJI, "ab"], echo=True, max_tokens=0, logprobs=1, n=2)
    assert texts(completion) == [EMOJI, EMOJI, "ab", "ab"]
    assert {choice.finish_reason for choice in completion.choices} == {"length"}
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 0
    assert (
        completion.usage.prompt_tokens == completion.usage.total_tokens == len(EMOJI.encode()) + 2
    )
    assert told(completion, 2) == told(completion, 3)
    a, b = reference.ids("ab")
    expected = reference.logprobs([a])[0][b]
    assert told(completion, 2).token_logprobs == [None, pytest.approx(expected, abs=TOLERANCE)]


def test_an_echo_of_token_ids_is_what_they_say(client: OpenAI, reference: Reference) -> None:
    """Half a character becomes U+FFFD; a control token adds nothing to a text."""
    half = reference.ids("a👍")[:3]
    completion = ask(client, [half, [*START, *reference.ids("b")]], echo=True, max_tokens=0)
    assert texts(completion) == ["a\ufffd", "b"]


@pytest.mark.parametrize("num_choices", [1, 3])
def test_best_of_gives_the_likeliest_per_token(client: OpenAI, num_choices: int) -> None:
    sampled = {"temperature": 1.5, "seed": 11, "max_tokens": 4}
    candidates = ask(client, n=8, logprobs=0, **sampled)

    def mean(index: int) -> float:
        logprobs: list[float] = told(candidates, index).token_logprobs
        return sum(logprobs) / len(logprobs)

    ranked = sorted(range(8), key=mean, reverse=True)
    assert len({round(mean(index), 4) for index in range(8)}) == 8
    for logprobs in ({}, {"logprobs": 1}):
        best = ask(client, best_of=8, n=num_choices, **sampled, **logprobs)
        expected = [candidates.choices[index].text for index in ranked[:num_choices]]
        assert texts(best) == expected
        assert [choice.index for choice in best.choices] == [*range(num_choices)]
        assert (best.choices[0].logprobs is None) == (not logprobs)
        assert best.usage is not None
        assert best.usage.completion_tokens == 8 * 4


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"logprobs": 3},
        {"echo": True},
        {"echo": True, "logprobs": 2},
        {"echo": True, "logprobs": 2, "max_tokens": 0},
        {"echo": True, "max_tokens": 0},
        {"stop": "\ufffd"},
        {"stop": "\ufffd", "logprobs": 1},
        {"logit_bias": {str(END_TOKEN_ID): 100}, "logprobs": 2},
    ],
)
def test_a_stream_is_the_reply_in_pieces(client: OpenAI, options: dict[str, Any]) -> None:
    sampled = {"n": 2, "temperature": 1, "seed": 4, **options}
    whole = ask(client, [PROMPT, EMOJI], **sampled)
    pieces = streamed(client, [PROMPT, EMOJI], **sampled)
    assert {(piece.id, piece.created, piece.model) for piece in pieces} == {
        (pieces[0].id, pieces[0].created, "tiny")
    }
    assert all(len(piece.choices) == 1 for piece in pieces)
    assert all("usage" not in piece.to_dict() for piece in pieces)
    for choice in whole.choices:
        own = [piece.choices[0] for piece in pieces if piece.choices[0].index == choice.index]
        assert "".join(piece.text for piece in own) == choice.text
        reasons = [piece.finish_reason for piece in own]
        assert reasons == [None] * (len(own) - 1) + [choice.finish_reason]
        if choice.logprobs is None:
            assert all(piece.logprobs is None for piece in own)
            continue
        joined: dict[str, list[Any]] = {key: [] for key in choice.logprobs.to_dict()}
        for piece in own:
            assert piece.logprobs is not None
            for key, values in piece.logprobs.to_dict().items():
                joined[key] += values  # type: ignore[arg-type]
        close = {key: flat(values) for key, values in joined.items()}
        expected = {key: flat(values) for key, values in choice.logprobs.to_dict().items()}
        for key, values in expected.items():
            assert close[key] == pytest.approx(values, abs=1e-4), key


def flat(values: Any) -> list[Any]:
    """Without the dictionaries, which `approx` doesn't look into inside of a list."""
    items: list[Any] = []
    for value in values:
        items += [*value.items()] if isinstance(value, dict) else [value]
    return [part for item in items for part in (item if isinstance(item, tuple) else [item])]


def test_a_stream_ends_with_usage_where_it_is_asked_for(client: OpenAI) -> None:
    for options in ({}, {"echo": True, "logprobs": 0}, {"echo": True, "max_tokens": 0}):
        asked = {"n": 2, "max_tokens": 5, **options}
        *pieces, last = streamed(client, stream_options={"include_usage": True}, **asked)
        assert all(piece.usage is None for piece in pieces)
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.prompt_tokens == len(PROMPT)
        assert last.usage.completion_tokens == 2 * asked["max_tokens"]


def test_a_class_is_read_off_the_likeliest_tokens(client: OpenAI, reference: Reference) -> None:
    """As with OpenAI's fine-tuned classifiers: one token, greedy, the two likeliest classes."""
    completion = ask(client, "is it good? ->", max_tokens=1, logprobs=2)
    top = told(completion).top_logprobs[0]
    row = reference.logprobs(reference.ids("is it good? ->"))[-1]
    likeliest = sorted(range(len(row)), key=lambda token_id: -row[token_id])[:2]
    assert {reference.id_of(token) for token in top} == set(likeliest)
    assert list(top.values()) == sorted(top.values(), reverse=True)
    assert told(completion).tokens[0] == next(iter(top))


def test_tuned_models_complete_with_their_own_weights(
    api: LiveApi, client: OpenAI, base_folder: Path
) -> None:
    tuned = histories.tuned(api, base_folder, seed=7)[0]
    base, own = ask(client, logprobs=0), ask(client, model=tuned.name, logprobs=0)
    assert own.model == tuned.name
    assert told(own).token_logprobs != pytest.approx(told(base).token_logprobs, abs=0.1)
    assert own.system_fingerprint != base.system_fingerprint


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"prompt": 5}, "prompt", "expected a string, but got an integer"),
        ({"prompt": []}, "prompt", "array too short"),
        ({"prompt": ["a", 1]}, "prompt[1]", "expected a string, but got an integer"),
        ({"prompt": [1, "a"]}, "prompt[1]", "expected an integer, but got a string"),
        ({"prompt": [1, 1.5]}, "prompt[1]", "expected an integer"),
        ({"prompt": [[]]}, "prompt[0]", "array too short"),
        ({"prompt": [[1], "a"]}, "prompt[1]", "expected an array, but got a string"),
        ({"prompt": [[-1]]}, "prompt[0][0]", "Expected a value >= 0, but got -1"),
        ({"prompt": [264]}, "prompt", "264 is not the id of a token"),
        ({"prompt": [[1], [10**30]]}, "prompt", "is not the id of a token"),
        ({"prompt": [["a"]]}, "prompt[0][0]", "expected an integer, but got a string"),
        ({"prompt": ["a"] * 17}, "prompt", "at most 16 prompts"),
        ({"prompt": ["a"] * 16, "max_tokens": 500, "n": 2}, "prompt", "this service allows 8192"),
        ({"n": 128, "max_tokens": 6, "logprobs": 5}, "logprobs", "4608 log-probabilities"),
        ({"best_of": 21}, "best_of", "Expected a value <= 20"),
        ({"best_of": 1, "n": 2}, "best_of", "greater than or equal to 'n'"),
        ({"best_of": 2, "stream": True}, "best_of", "can't be used with 'stream'"),
        ({"echo": "yes"}, "echo", "expected a boolean"),
        ({"frequency_penalty": 2.1}, "frequency_penalty", "Expected a value <= 2"),
        ({"presence_penalty": -2.1}, "presence_penalty", "Expected a value >= -2"),
        ({"logit_bias": {"50": 101}}, "logit_bias.50", "Expected a value <= 100"),
        ({"logit_bias": {"x": 1}}, "logit_bias", "Invalid key in 'logit_bias': x."),
        ({"logit_bias": {"-1": 1}}, "logit_bias", "Invalid key in 'logit_bias': -1."),
        ({"logit_bias": {"264": 1}}, "logit_bias", "from 0 to 263"),
        ({"logit_bias": {"9" * 5000: 1}}, "logit_bias", "Invalid key in 'logit_bias': 999"),
        ({"logit_bias": {str(n): 1 for n in range(1025)}}, "logit_bias", "maximum length 1024"),
        ({"logprobs": 6}, "logprobs", "Expected a value <= 5"),
        ({"logprobs": True}, "logprobs", "expected an integer, but got a boolean"),
        ({"max_tokens": -1}, "max_tokens", "Expected a value >= 0"),
        ({"max_tokens": 0}, "max_tokens", "it needs 'echo'"),
        ({"n": 0}, "n", "Expected a value >= 1"),
        ({"n": 129}, "n", "Expected a value <= 128"),
        ({"seed": 2**63}, "seed", "Invalid"),
        ({"stop": ["a"] * 5}, "stop", "maximum length 4"),
        ({"stop": ""}, "stop", "string too short"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "only allowed when"),
        ({"suffix": "!"}, "suffix", "Leave it out"),
        ({"temperature": 2.1}, "temperature", "Expected a value <= 2"),
        ({"top_p": 1.1}, "top_p", "Expected a value <= 1"),
        ({"messages": []}, "messages", "Unknown parameter: 'messages'."),
        ({"top_logprobs": 1}, "top_logprobs", "Unknown parameter: 'top_logprobs'."),
    ],
)
def test_what_can_t_be_done_is_refused_by_its_name(
    http: httpx2.Client, body: dict[str, Any], param: str, message: str
) -> None:
    answer = http.post("/v1/completions", json={"model": "tiny", "prompt": "a", **body})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param
    assert message in error["message"]


def test_a_prompt_and_its_completion_must_fit_the_context(client: OpenAI) -> None:
    for prompt, options, param in (
        ("x" * SHORT_CONTEXT, {}, "prompt"),
        ("x" * SHORT_CONTEXT, {"max_tokens": 0, "echo": True}, "prompt"),
        ("x" * 60, {"max_tokens": 5}, "max_tokens"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, prompt, model="short", **options)
        assert caught.value.code == "context_length_exceeded"
        assert caught.value.param == param
    completion = ask(client, "x" * 60, model="short", max_tokens=4)
    assert completion.usage is not None
    assert completion.usage.total_tokens <= SHORT_CONTEXT


def test_limits_are_no_narrower_than_they_say(client: OpenAI) -> None:
    assert LIMITS.max_prompts == 16
    assert len(ask(client, ["a"] * 16, max_tokens=1, n=4).choices) == 64


def test_a_chat_model_says_where_it_is_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, model="chat-only")
    error = caught.value
    assert (error.param, error.code, error.type) == ("model", None, "invalid_request_error")
    assert "Did you mean to use v1/chat/completions?" in error.message
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(
            model="text-only", messages=[{"role": "user", "content": "a"}]
        )
    assert (caught.value.param, caught.value.code) == ("model", None)
    assert caught.value.message.count("Did you mean to use v1/completions?") == 1
    assert ask(client, model="text-only").model == "text-only"


def test_models_that_aren_t_there(client: OpenAI, http: httpx2.Client) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, model="nobody")
    assert (caught.value.param, caught.value.code) == (None, "model_not_found")
    answer = http.post("/v1/engines/tiny/completions", json={"prompt": "a"})
    assert answer.status_code == 404
    assert json.loads(answer.text)["error"]["message"].startswith("Invalid URL (POST /v1/engines")
