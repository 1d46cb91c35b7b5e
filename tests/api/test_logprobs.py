"""Log-probabilities of chat, usage, and the fingerprint (behaviour reference, section 15.2)."""

import re
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from tests.api import histories
from tests.api.conftest import LIMITS, LiveApi
from tests.api.reference import TOLERANCE, Reference
from tests.small_models import END_TOKEN_ID, SPECIAL_TOKENS

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello 👍"}]
USER, ASSISTANT = SPECIAL_TOKENS.index("<|user|>"), SPECIAL_TOKENS.index("<|assistant|>")


def ask(client: OpenAI, **options: Any) -> ChatCompletion:
    defaults = {"model": "tiny", "temperature": 0, "max_tokens": 12, "messages": HELLO}
    reply: ChatCompletion = client.chat.completions.create(**{**defaults, **options})
    return reply


def entries(reply: ChatCompletion, index: int = 0) -> list[Any]:
    logprobs = reply.choices[index].logprobs
    assert logprobs is not None
    assert logprobs.refusal is None
    assert logprobs.content is not None
    return logprobs.content


@pytest.mark.parametrize("num_top", [None, 0, 1, 20])
def test_logprobs_are_the_model_s_own(
    client: OpenAI, reference: Reference, num_top: int | None
) -> None:
    """Whatever temperature and biases do to the choice."""
    reply = ask(
        client, logprobs=True, top_logprobs=num_top, temperature=1.8, seed=2, logit_bias={"90": 5}
    )
    prompt = [USER, *reference.ids("hello 👍"), END_TOKEN_ID, ASSISTANT]
    told = entries(reply)
    token_ids = [reference.id_of(entry.token) for entry in told]
    rows = reference.logprobs([*prompt, *token_ids])[len(prompt) - 1 :]
    for entry, token_id, row in zip(told, token_ids, rows, strict=False):
        assert entry.logprob == pytest.approx(row[token_id], abs=TOLERANCE)
        likeliest = sorted(row, reverse=True)[: num_top or 0]
        top = [one.logprob for one in entry.top_logprobs]
        assert top == pytest.approx(likeliest, abs=TOLERANCE)
        for one in entry.top_logprobs:
            assert one.logprob == pytest.approx(row[reference.id_of(one.token)], abs=TOLERANCE)
        assert len({one.token for one in entry.top_logprobs}) == len(entry.top_logprobs)


def test_a_greedy_token_is_the_first_of_the_top(client: OpenAI) -> None:
    for entry in entries(ask(client, logprobs=True, top_logprobs=3)):
        assert entry.top_logprobs[0].token == entry.token
        assert entry.top_logprobs[0].logprob == entry.logprob


def test_the_bytes_of_the_tokens_are_the_message(client: OpenAI, reference: Reference) -> None:
    """Forced, so that whole and broken characters are both in it."""
    biases = {str(token_id): 100 for token_id in reference.ids("é")}
    options = {"logit_bias": biases, "temperature": 2, "seed": 9, "frequency_penalty": 2}
    reply = ask(client, logprobs=True, max_tokens=20, **options)
    content = reply.choices[0].message.content
    assert content is not None
    told = entries(reply)
    assert len(told) == 20
    assert b"".join(bytes(entry.bytes) for entry in told).decode(errors="replace") == content
    assert {entry.token for entry in told} == {"\\xc3", "\\xa9"}
    assert {"é", "\ufffd"} == set(content)


def test_tokens_that_texts_leave_out_go_by_their_name(client: OpenAI) -> None:
    reply = ask(client, logprobs=True, max_tokens=2, logit_bias={str(USER): 100})
    assert reply.choices[0].message.content == ""
    assert [(entry.token, entry.bytes) for entry in entries(reply)] == [("<|user|>", None)] * 2


def test_what_ends_a_reply_is_not_told_of(client: OpenAI, reference: Reference) -> None:
    """Neither an end token nor what belongs to a stop string; they count as used all the same."""
    reply = ask(client, logprobs=True, logit_bias={str(END_TOKEN_ID): 100})
    assert (reply.choices[0].finish_reason, entries(reply)) == ("stop", [])
    a = str(reference.ids("a")[0])
    reply = ask(client, logprobs=True, logit_bias={a: 100}, stop="aaa")
    assert (reply.choices[0].message.content, entries(reply)) == ("", [])
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 3


@pytest.mark.parametrize("stop", [None, "\ufffd", "aa"])
def test_a_stream_tells_the_same(client: OpenAI, reference: Reference, stop: str | None) -> None:
    biases = {str(token_id): 100 for token_id in reference.ids("éab")}
    options = {"logit_bias": biases, "temperature": 2, "seed": 5, "n": 3, "frequency_penalty": 2}
    options |= {"logprobs": True, "top_logprobs": 2, "stop": stop}
    whole = ask(client, **options)
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=HELLO, max_tokens=12, stream=True, **options
        )
    )
    for choice in whole.choices:
        own = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == choice.index]
        told = [entry for one in own if one.logprobs for entry in one.logprobs.content or []]
        assert [entry.token for entry in told] == [
            entry.token for entry in entries(whole, choice.index)
        ]
        assert [entry.logprob for entry in told] == pytest.approx(
            [entry.logprob for entry in entries(whole, choice.index)], abs=1e-4
        )
        # Each chunk tells of the tokens that begin in its text.
        for one in own[1:-1]:
            assert one.logprobs is not None
            assert one.delta.content is not None
        assert own[0].logprobs is None
        assert own[-1].logprobs is None


def test_many_logprobs_bound_a_reply_that_has_no_other_bound(client: OpenAI) -> None:
    endless = {str(END_TOKEN_ID): -100, "0": -100}
    reply = ask(client, logprobs=True, top_logprobs=20, n=2, logit_bias=endless, max_tokens=None)
    num_told = LIMITS.max_logprobs // (2 * 21)
    assert [len(entries(reply, index)) for index in (0, 1)] == [num_told] * 2
    assert {choice.finish_reason for choice in reply.choices} == {"length"}


def test_without_logprobs_none_are_told(client: OpenAI) -> None:
    assert ask(client).choices[0].logprobs is None
    assert ask(client, logprobs=False, top_logprobs=0).choices[0].logprobs is None


def test_a_prompt_s_known_beginning_is_counted_for_its_owner_alone(
    client: OpenAI, stranger: OpenAI
) -> None:
    """Another organisation must not learn from time or usage what was asked before."""
    long: list[ChatCompletionMessageParam] = [{"role": "user", "content": "secret " * 60}]
    first, again, others = (
        ask(one, messages=long, max_tokens=1).usage for one in (client, client, stranger)
    )
    cached = [usage.prompt_tokens_details.cached_tokens for usage in (first, again, others)]
    assert cached[0] == cached[2] == 0
    assert 0 < cached[1] < first.prompt_tokens


def test_fingerprints_tell_weights_apart(api: LiveApi, client: OpenAI, base_folder: Path) -> None:
    """Names that answer with the same weights share one."""
    tuned = histories.tuned(api, base_folder, seed=8, num_checkpoints=2)
    names = ["tiny", "gpt-4o-mini", *(model.name for model in tuned)]
    prints = [ask(client, model=name, max_tokens=1).system_fingerprint for name in names]
    assert all(re.fullmatch("fp_[0-9a-f]{10}", one or "") for one in prints)
    assert prints[0] == prints[1]
    assert len({*prints}) == 3
