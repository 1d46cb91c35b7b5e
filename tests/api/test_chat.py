"""Chat through the official SDK on a real engine (behaviour reference, section 15).

The model is random, so it talks nonsense, but always the same nonsense. What a prompt must look
like is worked out here by hand from the template in `small_models.py`: one token a byte, a token
for each role, one that ends a message.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI, Stream
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from tokenizers import Tokenizer

from tests.api import histories
from tests.api.conftest import BASE_NAME, ENGINE_TOKEN, SHORT_CONTEXT, LiveApi, LiveEngine
from tests.small_models import END_TOKEN_ID, SPECIAL_TOKENS
from tunesmith.domain.models import TunedModel

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
NEUTRAL: dict[str, Any] = {
    "audio": None,
    "frequency_penalty": 0,
    "function_call": "auto",
    "functions": [],
    "logit_bias": {},
    "logprobs": False,
    "max_tokens": None,
    "metadata": {},
    "modalities": ["text"],
    "moderation": None,
    "n": None,
    "parallel_tool_calls": True,
    "prediction": None,
    "presence_penalty": 0.0,
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "reasoning_effort": None,
    "response_format": {"type": "text"},
    "safety_identifier": "me",
    "seed": None,
    "service_tier": "auto",
    "stop": None,
    "store": False,
    "stream_options": None,
    "tool_choice": "none",
    "tools": [],
    "top_logprobs": None,
    "user": "me",
    "verbosity": None,
    "web_search_options": None,
}


@pytest.fixture(scope="module")
def tuned(api: LiveApi, base_folder: Path) -> list[TunedModel]:
    """Two checkpoints of one job, with different weights; the last is its model."""
    return histories.tuned(api, base_folder, seed=1, num_checkpoints=2)


@pytest.fixture(scope="module")
def greedy(client: OpenAI) -> str:
    """What the base model says to HELLO."""
    return say(client, "tiny", max_tokens=24)


def test_a_reply_has_every_part_of_openai_s(client: OpenAI) -> None:
    reply = client.chat.completions.create(
        model="gpt-4o-mini", messages=HELLO, max_tokens=5, temperature=0
    )
    answer = reply.to_dict()
    assert reply.id.startswith("chatcmpl-")
    assert reply.created == pytest.approx(time.time(), abs=5)
    assert reply.model == "gpt-4o-mini-2024-07-18"
    assert reply.system_fingerprint
    assert answer["service_tier"] == "default"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": reply.choices[0].message.content,
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "length",
        }
    ]
    prompt_tokens = len("hello") + 3  # the user's token, the end of the message, the assistant's
    assert answer["usage"] == {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": 5,
        "total_tokens": prompt_tokens + 5,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def test_the_engine_gets_the_rendered_prompt(
    engine: LiveEngine, base_folder: Path, greedy: str
) -> None:
    """Asked directly for the prompt that the template means, it says the same."""
    byte_tokens = Tokenizer.from_file(str(base_folder / "tokenizer.json"))
    prompt = [
        SPECIAL_TOKENS.index("<|user|>"),
        *byte_tokens.encode("hello").ids,
        END_TOKEN_ID,
        SPECIAL_TOKENS.index("<|assistant|>"),
    ]
    answer = httpx2.post(
        f"{engine.url}/v1/completions",
        headers={"authorization": f"Bearer {ENGINE_TOKEN}"},
        json={"model": BASE_NAME, "prompt": prompt, "max_tokens": 24, "temperature": 0},
    )
    assert answer.json()["choices"][0]["text"] == greedy


def test_neutral_values_change_nothing(http: httpx2.Client, greedy: str) -> None:
    body = {"model": "tiny", "messages": HELLO, "max_completion_tokens": 24, "temperature": 0}
    answer = http.post("/v1/chat/completions", json={**body, **NEUTRAL})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == greedy


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("reasoning_effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
        ("verbosity", ["low", "medium", "high"]),
        ("service_tier", ["auto", "default", "flex", "scale", "priority", "fast"]),
        ("prompt_cache_retention", ["in_memory", "24h"]),
        ("prompt_cache_options", [{}, {"ttl": "30m", "mode": "explicit"}, {"mode": "implicit"}]),
        (
            "prediction",
            [
                {"type": "content", "content": "something else"},
                {"type": "content", "content": [{"type": "text", "text": "something else"}]},
            ],
        ),
    ],
)
def test_hints_are_taken_and_change_nothing(
    http: httpx2.Client, greedy: str, name: str, values: list[Any]
) -> None:
    """What was predicted isn't counted as rejected either, for nobody looked at it."""
    for value in values:
        body = {"model": "tiny", "messages": HELLO, "max_tokens": 24, "temperature": 0}
        answer = http.post("/v1/chat/completions", json={**body, name: value})
        assert answer.status_code == 200, answer.text
        reply = answer.json()
        assert reply["choices"][0]["message"]["content"] == greedy
        assert reply["service_tier"] == "default"
        assert set(reply["usage"]["completion_tokens_details"].values()) == {0}


def test_a_stream_is_the_reply_in_pieces(client: OpenAI, greedy: str) -> None:
    chunks = list(stream(client, max_tokens=24))
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.model for chunk in chunks} == {"tiny"}
    assert {chunk.created for chunk in chunks} == {chunks[0].created}
    first, *middle, last = (chunk.choices[0] for chunk in chunks)
    assert first.delta.to_dict() == {"role": "assistant", "content": "", "refusal": None}
    assert first.finish_reason is None
    assert "".join(choice.delta.content or "" for choice in middle) == greedy
    assert all(choice.finish_reason is None for choice in middle)
    assert len(middle) > 1
    assert (last.delta.to_dict(), last.finish_reason) == ({}, "length")
    assert all("usage" not in chunk.to_dict() for chunk in chunks)


def test_a_stream_ends_with_usage_where_it_is_asked_for(client: OpenAI) -> None:
    *chunks, last = stream(client, max_tokens=5, stream_options={"include_usage": True})
    assert all(chunk.to_dict()["usage"] is None for chunk in chunks)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (8, 5)


def test_a_stream_s_headers_keep_proxies_from_holding_it_back(http: httpx2.Client) -> None:
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 2, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache, must-revalidate"
        assert answer.headers["x-accel-buffering"] == "no"
        answer.read()


def test_several_choices_differ_and_are_all_counted(client: OpenAI) -> None:
    reply = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=8, n=3, seed=7, temperature=1
    )
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in reply.choices}) == 3
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 24


def test_each_choice_of_a_stream_has_its_own_first_and_last_chunk(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=8, n=3, seed=7, temperature=1
    )
    chunks = list(stream(client, max_tokens=8, n=3, seed=7, temperature=1))
    for index in range(3):
        own = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert own[0].delta.role == "assistant"
        assert own[-1].finish_reason == "length"
        text = "".join(choice.delta.content or "" for choice in own)
        assert text == whole.choices[index].message.content


def test_a_seed_repeats_and_another_one_differs(client: OpenAI) -> None:
    texts = [say(client, "tiny", seed=seed, temperature=1, max_tokens=16) for seed in (1, 1, 2, -5)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_a_nucleus_of_nothing_is_greedy(client: OpenAI, greedy: str) -> None:
    assert say(client, "tiny", temperature=1, top_p=0, max_tokens=24) == greedy


def test_a_stop_string_ends_the_reply_and_is_not_in_it(client: OpenAI, greedy: str) -> None:
    stop = greedy[6:8]
    expected = greedy[: greedy.index(stop)]
    for given in (stop, ["never to be seen", stop]):
        reply = client.chat.completions.create(
            model="tiny", messages=HELLO, temperature=0, max_tokens=24, stop=given
        )
        assert reply.choices[0].message.content == expected
        assert reply.choices[0].finish_reason == "stop"
    pieces = list(stream(client, max_tokens=24, stop=stop))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in pieces) == expected
    assert pieces[-1].choices[0].finish_reason == "stop"


def test_without_a_bound_the_reply_may_fill_the_context(client: OpenAI) -> None:
    for bound in ({}, {"max_tokens": 100_000}):
        reply = client.chat.completions.create(
            model="short", messages=HELLO, temperature=0, extra_body=bound
        )
        assert reply.usage is not None
        if reply.choices[0].finish_reason == "length":
            assert reply.usage.total_tokens == SHORT_CONTEXT
        else:
            assert reply.usage.total_tokens < SHORT_CONTEXT


def test_a_prompt_beyond_the_context_is_refused_with_numbers(client: OpenAI) -> None:
    for streams in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model="short",
                messages=[{"role": "user", "content": "x" * 61}],
                stream=streams,
            )
        assert caught.value.code == "context_length_exceeded"
        assert "maximum context length is 64 tokens" in str(caught.value)
        assert "resulted in 64 tokens" in str(caught.value)


def test_what_looks_like_a_special_token_is_only_text(client: OpenAI) -> None:
    reply = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "<|end|>"}], max_tokens=1
    )
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == len("<|end|>") + 3


def test_whole_conversations_are_understood(client: OpenAI) -> None:
    """Parts, names, tool calls, and replies that are sent back as the SDK gives them."""
    earlier = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=3)
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[Any] = [
        {"role": "developer", "content": [{"type": "text", "text": "be "}, TEXT_PART]},
        {"role": "system", "content": "brief", "name": "boss"},
        *HELLO,
        earlier.choices[0].message,
        {"role": "user", "content": [TEXT_PART]},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "content": "42", "tool_call_id": "call_1"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": "", "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": "", "tool_calls": [], "function_call": None},
        {"role": "user", "content": [{**TEXT_PART, "prompt_cache_breakpoint": BREAKPOINT}]},
        {"role": "user", "content": ""},
    ]
    reply = client.chat.completions.create(model="tiny", messages=messages, max_tokens=3)
    assert reply.choices[0].message.content is not None


TEXT_PART = {"type": "text", "text": "kind"}
BREAKPOINT = {"mode": "explicit"}


def test_parts_and_their_joined_text_are_the_same_prompt(client: OpenAI) -> None:
    """So is a developer's message, and a system's, to a template that doesn't know the first."""
    parts = [{"type": "text", "text": text} for text in ("be", " ", "kind")]
    instructions: list[Any] = [
        {"role": "system", "content": "be kind"},
        {"role": "system", "content": parts},
        {"role": "developer", "content": "be kind"},
        {"role": "developer", "content": parts},
    ]
    replies = [
        client.chat.completions.create(
            model="tiny", messages=[one, *HELLO], max_tokens=24, temperature=0
        )
        for one in instructions
    ]
    assert len({reply.choices[0].message.content for reply in replies}) == 1
    assert {reply.usage and reply.usage.prompt_tokens for reply in replies} == {17}


def test_an_answer_that_refused_is_read_as_the_refusal(client: OpenAI) -> None:
    refusals: list[Any] = [
        {"role": "assistant", "content": "no"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": "", "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ]
    texts = [
        client.chat.completions.create(
            model="tiny", messages=[*HELLO, one, *HELLO], max_tokens=24, temperature=0
        )
        for one in refusals
    ]
    assert len({reply.choices[0].message.content for reply in texts}) == 1


def test_tuned_models_and_checkpoints_answer_with_their_own_weights(
    client: OpenAI, greedy: str, tuned: list[TunedModel]
) -> None:
    texts = [say(client, model.name, max_tokens=24) for model in tuned]
    assert len({greedy, *texts}) == 3
    assert [say(client, model.name, max_tokens=24) for model in tuned] == texts
    reply = client.chat.completions.create(model=tuned[0].name, messages=HELLO, max_tokens=1)
    assert reply.model == tuned[0].name
    assert tuned[0].name.endswith(":ckpt-step-1")


def test_models_answer_side_by_side_as_they_do_alone(
    client: OpenAI, tuned: list[TunedModel]
) -> None:
    names = ["tiny", *(model.name for model in tuned)]
    alone = [say(client, name, max_tokens=24) for name in names]
    streams = [stream(client, model=name, max_tokens=24) for name in names]
    texts = [
        "".join(chunk.choices[0].delta.content or "" for chunk in pieces) for pieces in streams
    ]
    assert texts == alone


def test_a_deleted_model_no_longer_answers(
    api: LiveApi, client: OpenAI, engine: LiveEngine, base_folder: Path
) -> None:
    model = histories.tuned(api, base_folder, seed=2)[0]
    say(client, model.name, max_tokens=1)
    assert model.adapter_id in loaded_adapters(engine)
    client.models.delete(model.name)
    assert model.adapter_id not in loaded_adapters(engine)
    with pytest.raises(openai.NotFoundError) as caught:
        say(client, model.name)
    assert caught.value.code == "model_not_found"


def test_another_organization_s_model_does_not_exist(
    stranger: OpenAI, tuned: list[TunedModel]
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        say(stranger, tuned[0].name)
    assert caught.value.code == "model_not_found"


def say(client: OpenAI, model: str, **options: Any) -> str:
    """The reply to HELLO, greedy unless told otherwise."""
    reply = client.chat.completions.create(
        model=model, messages=HELLO, **{"temperature": 0, **options}
    )
    return reply.choices[0].message.content or ""


def stream(client: OpenAI, model: str = "tiny", **options: Any) -> Iterator[ChatCompletionChunk]:
    chunks: Stream[ChatCompletionChunk] = client.chat.completions.create(
        model=model, messages=HELLO, stream=True, **{"temperature": 0, **options}
    )
    return iter(chunks)


def loaded_adapters(engine: LiveEngine) -> set[str]:
    answer = httpx2.get(
        f"{engine.url}/v1/models", headers={"authorization": f"Bearer {ENGINE_TOKEN}"}
    )
    return {entry["id"] for entry in answer.json()["data"]} - {BASE_NAME}
