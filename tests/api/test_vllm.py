"""vLLM in our engine's place: the same answers, adapters that are never missing, clear refusals.

Behind the API stands a server with vLLM's wire (`vllm_double.py`). Where it helps, the same
question goes to an API with an engine of our own, and the answers must be equal.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI
from starlette.responses import JSONResponse, Response

from tests.api import histories
from tests.api.conftest import KEY, LiveApi, client_of, live_api
from tests.contract.checker import CheckedTransport
from tests.server import listening, url_of
from tests.vllm_double import Double
from tunesmith.api.engines import TRUSTED_FOR_S
from tunesmith.api.vllm_messages import SPOKEN
from tunesmith.domain.generation import SamplingParams
from tunesmith.domain.models import RemoteEngine

ENGINE_KEY = "the key of the engine"
MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 12}
SEEDED: dict[str, Any] = {"temperature": 1.3, "seed": 5, "max_tokens": 24}
LETTERS = {str(token_id): 60 for token_id in range(72, 80)}  # nothing else is said
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 4}, "age": {"enum": [1, 22]}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
Told = dict[str, Any]


@pytest.fixture(scope="module")
def double(base_folder: Path) -> Iterator[Double]:
    double = Double(base_folder, served_name="org/name", key=ENGINE_KEY)
    with closing(listening()) as listener, double.running(listener):
        yield double


@pytest.fixture(scope="module")
def remote_api(
    base_folder: Path, double: Double, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveApi]:
    """Its adapters are elsewhere for the engine: behind a link."""
    data_dir = tmp_path_factory.mktemp("remote")
    mount = tmp_path_factory.mktemp("engine") / "mount"
    mount.symlink_to(data_dir / "adapters")
    remote = RemoteEngine(double.url, double.served_name, adapters_path=str(mount))
    with live_api(base_folder, data_dir, "", remote=remote, remote_key=ENGINE_KEY) as api:
        yield api


@pytest.fixture(scope="module")
def remote(remote_api: LiveApi, transport: CheckedTransport) -> OpenAI:
    return client_of(remote_api, KEY, transport)


@pytest.fixture(autouse=True)
def as_it_was(double: Double) -> Iterator[None]:
    yield
    assert double.unknown_fields == set(), "vLLM would ignore them"
    double.fails_with = double.breaks_off_with = None
    double.takes_any_name = double.repeats_names = False


@contextmanager
def an_api(
    base_folder: Path, data_dir: Path, double: Double, transport: CheckedTransport, **options: Any
) -> Iterator[tuple[LiveApi, OpenAI]]:
    """An API of its own in front of `double`."""
    remote = options.pop("engine", RemoteEngine(double.url, double.served_name))
    key = options.pop("remote_key", double.key)
    with live_api(base_folder, data_dir, "", remote=remote, remote_key=key, **options) as api:
        yield api, client_of(api, KEY, transport)


def chat(client: OpenAI, **body: Any) -> Told:
    """What it answers: the choices and the usage; of a stream, put together."""
    body = {"model": "tiny", "messages": MESSAGES, **body}
    if not body.pop("streams", False):
        reply = client.chat.completions.create(**body).model_dump()
        choices = {
            choice["index"]: (
                choice["message"]["content"],
                (choice["logprobs"] or {}).get("content"),
                choice["finish_reason"],
            )
            for choice in reply["choices"]
        }
        return {"choices": rounded(choices), "usage": counted(reply["usage"])}
    texts: dict[int, list[Any]] = {}
    usage = None
    options = {"include_usage": True}
    for chunk in client.chat.completions.create(**body, stream=True, stream_options=options):
        told = chunk.model_dump()
        usage = told["usage"] or usage
        for choice in told["choices"]:
            whole = texts.setdefault(choice["index"], ["", None, None])
            whole[0] += choice["delta"]["content"] or ""
            if choice["logprobs"]:
                whole[1] = (whole[1] or []) + choice["logprobs"]["content"]
            whole[2] = choice["finish_reason"] or whole[2]
    choices = {index: tuple(whole) for index, whole in texts.items()}
    return {"choices": rounded(choices), "usage": counted(usage)}


def complete(client: OpenAI, **body: Any) -> Told:
    body = {"model": "tiny", "prompt": "hello", **body}
    if not body.pop("streams", False):
        reply = client.completions.create(**body).model_dump()
        choices = {
            choice["index"]: (choice["text"], choice["logprobs"], choice["finish_reason"])
            for choice in reply["choices"]
        }
        return {"choices": rounded(choices), "usage": counted(reply["usage"])}
    texts: dict[int, list[Any]] = {}
    usage = None
    options = {"include_usage": True}
    for chunk in client.completions.create(**body, stream=True, stream_options=options):
        told = chunk.model_dump()
        usage = told["usage"] or usage
        for choice in told["choices"]:
            whole = texts.setdefault(choice["index"], ["", None, None])
            whole[0] += choice["text"]
            if choice["logprobs"]:
                earlier = whole[1] or {key: [] for key in choice["logprobs"]}
                whole[1] = {key: earlier[key] + added for key, added in choice["logprobs"].items()}
            whole[2] = choice["finish_reason"] or whole[2]
    choices = {index: tuple(whole) for index, whole in texts.items()}
    return {"choices": rounded(choices), "usage": counted(usage)}


def rounded(told: Any) -> Any:
    """A batch of another shape gives other last digits. No tokens are as good as none told of."""
    if isinstance(told, float):
        return round(told, 3)
    if isinstance(told, dict):
        return {key: rounded(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return tuple(map(rounded, told)) or None
    return told


def counted(usage: Any) -> tuple[int, int, int]:
    """What was found in the cache is each engine's own affair."""
    return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]


def stop_in(client: OpenAI, route: Any, **body: Any) -> str:
    """Some characters from the middle of what the model says."""
    text: str = route(client, **body)["choices"][0][0]
    pairs = ((place, text[place : place + 2]) for place in range(2, len(text) - 1))
    return next(pair for place, pair in pairs if text.find(pair) == place and pair.isascii())


CHATS: list[Told] = [
    GREEDY,
    {**GREEDY, "n": 3},
    {**GREEDY, "top_p": 0, "temperature": 1, "n": 2},
    {**GREEDY, "logprobs": True, "top_logprobs": 3},
    {**SEEDED, "n": 2, "logprobs": True},
    {**SEEDED, "logit_bias": {"70": 100}, "max_tokens": 4},
    {**SEEDED, "frequency_penalty": 1.5, "presence_penalty": -1.0},
    {**SEEDED, "max_tokens": None, "logit_bias": {"5": 100}},
    {**SEEDED, "logit_bias": {"5": 6}, "n": 8, "logprobs": True, "top_logprobs": 2},
]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("body", CHATS, ids=str)
def test_chats_are_answered_as_by_our_own_engine(
    client: OpenAI, remote: OpenAI, body: Told, streams: bool
) -> None:
    expected = chat(client, **body)
    assert chat(remote, **body, streams=streams) == expected


TEXTS: list[Told] = [
    GREEDY,
    {**GREEDY, "prompt": ["a", "b"], "n": 2, "logprobs": 2},
    {**GREEDY, "logprobs": 3, "echo": True},
    {**GREEDY, "max_tokens": 0, "logprobs": 1, "echo": True},
    {**SEEDED, "logit_bias": {"5": 6}, "n": 4, "logprobs": 2},
]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("body", TEXTS, ids=str)
def test_texts_are_completed_as_by_our_own_engine(
    client: OpenAI, remote: OpenAI, body: Told, streams: bool
) -> None:
    assert complete(remote, **body, streams=streams) == complete(client, **body)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("route", "logprobs"),
    [(chat, {"logprobs": True, "top_logprobs": 1}), (complete, {"logprobs": 1})],
)
def test_stop_strings_cut_text_and_told_tokens_as_our_own_engine_does(
    client: OpenAI, remote: OpenAI, route: Any, logprobs: Told, streams: bool
) -> None:
    """vLLM tells of a stop string's tokens as soon as they are sampled."""
    body = {**SEEDED, **logprobs, "logit_bias": LETTERS, "frequency_penalty": 2}
    stop = stop_in(client, route, **body)
    expected = route(client, **body, stop=[stop, "never said"])
    assert expected["choices"][0][2] == "stop"
    assert route(remote, **body, stop=[stop, "never said"], streams=streams) == expected


def test_the_best_of_several_texts_are_the_same(client: OpenAI, remote: OpenAI) -> None:
    body = {**SEEDED, "best_of": 3, "n": 2, "logprobs": 0, "echo": True}
    assert complete(remote, **body) == complete(client, **body)


def test_a_seed_of_minus_one_is_a_seed(remote: OpenAI) -> None:
    """vLLM takes it for none."""
    body = {**SEEDED, "seed": -1}
    assert chat(remote, **body) == chat(remote, **body)


@pytest.mark.parametrize("streams", [False, True])
def test_answers_are_held_to_a_schema(client: OpenAI, remote: OpenAI, streams: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    body = {**SEEDED, "max_tokens": 200, "response_format": wanted}
    text, _, reason = chat(remote, **body, streams=streams)["choices"][0]
    assert reason == "stop"
    assert text == chat(client, **body)["choices"][0][0]


def test_a_schema_that_cannot_be_enforced_is_refused_before_vllm_sees_it(
    client: OpenAI, remote: OpenAI, double: Double
) -> None:
    """vLLM may take it and enforce a part of it only."""
    unsatisfiable = {"type": "string", "pattern": "^a+$", "minLength": 3, "maxLength": 2}
    wanted = {"type": "json_schema", "json_schema": {"name": "none", "schema": unsatisfiable}}
    said = []
    for each in (client, remote):
        num_asked = len(double.bodies)
        with pytest.raises(openai.BadRequestError) as caught:
            chat(each, response_format=wanted)
        said.append(caught.value.body)
    assert said[0] == said[1]
    assert len(double.bodies) == num_asked


@pytest.mark.parametrize("choice", ["required", "auto"])
@pytest.mark.parametrize("streams", [False, True])
def test_functions_are_called_as_by_our_own_engine(
    client: OpenAI, remote: OpenAI, choice: str, streams: bool
) -> None:
    """A stop string means nothing inside a call, and vLLM doesn't know that: it isn't told."""
    wanted = {"type": "function", "function": {"name": "keep", "parameters": PERSON}}
    body: Told = {"model": "tiny", "messages": MESSAGES, "tools": [wanted], "stop": ['"', "n"]}
    body |= {"tool_choice": choice, "seed": 3, "max_tokens": 400, "parallel_tool_calls": False}
    told = []
    for each in (client, remote):
        if streams:
            chunks = list(each.chat.completions.create(stream=True, **body))
            deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
            calls = [call for delta in deltas for call in delta.tool_calls or ()]
            text = "".join(delta.content or "" for delta in deltas)
            said = "".join((call.function.arguments or "") for call in calls if call.function)
        else:
            message = each.chat.completions.create(**body).choices[0].message
            text = message.content or ""
            said = "".join(call.function.arguments for call in message.tool_calls or ())
        told.append((text, said))
    assert told[0] == told[1]
    if choice == "required":
        assert json.loads(told[1][1]).keys() == {"name", "age"}


def test_what_is_not_spelled_in_vllms_way_yet_is_refused() -> None:
    """A field that joins the sampling parameters must be spoken of in `vllm_messages.py`."""
    assert {field.name for field in fields(SamplingParams)} - {"ignore_eos"} == SPOKEN


def test_a_tuned_model_is_loaded_once_under_its_adapters_id(
    remote_api: LiveApi, remote: OpenAI, double: Double, base_folder: Path
) -> None:
    models = [histories.tuned(remote_api, base_folder, seed)[0] for seed in (1, 2)]
    answers = [chat(remote, model=model.name, **GREEDY) for model in models for _ in range(2)]
    base = chat(remote, **GREEDY)
    assert answers[0] == answers[1] != answers[2] == answers[3] != base != answers[0]
    for model in models:
        assert double.loads.count(model.adapter_id) == 1
        assert double.adapters[model.adapter_id].endswith(f"/mount/{model.adapter_id}")


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("route", [chat, complete])
def test_a_forgotten_adapter_is_loaded_again(
    remote_api: LiveApi,
    remote: OpenAI,
    double: Double,
    base_folder: Path,
    route: Any,
    streams: bool,
) -> None:
    model = histories.tuned(remote_api, base_folder, seed=3)[0]
    body = {**GREEDY, "model": model.name}
    before = route(remote, **body)
    double.forget()
    assert route(remote, **body, streams=streams) == before
    assert double.loads.count(model.adapter_id) == 2


@pytest.mark.parametrize("repeats_names", [False, True])
@pytest.mark.parametrize("streams", [False, True])
def test_the_base_never_answers_for_a_tuned_model(
    double: Double,
    base_folder: Path,
    tmp_path: Path,
    transport: CheckedTransport,
    caplog: pytest.LogCaptureFixture,
    repeats_names: bool,
    streams: bool,
) -> None:
    """Restarted so that it takes any name, an engine answers for a forgotten adapter by its base.
    If it says so, the adapter is loaded again; if not, it isn't used any more."""
    with an_api(base_folder, tmp_path, double, transport) as (api, client):
        model = histories.tuned(api, base_folder, seed=4)[0]
        tuned = {**GREEDY, "model": model.name}
        before = chat(client, **tuned)
        assert before != chat(client, **GREEDY)
        double.forget()
        double.takes_any_name, double.repeats_names = True, repeats_names
        if repeats_names:
            time.sleep(TRUSTED_FOR_S + 0.1)  # a restart takes longer
            with pytest.raises(openai.InternalServerError, match="not set up right"):
                chat(client, **tuned, streams=streams)
            double.takes_any_name = False
        assert chat(client, **tuned, streams=streams) == before
    assert "answered by 'org/name'" in caplog.text or "models that it doesn't know" in caplog.text


def test_a_deleted_models_adapter_is_unloaded_by_whichever_process_deletes_it(
    double: Double, base_folder: Path, tmp_path: Path, transport: CheckedTransport
) -> None:
    with an_api(base_folder, tmp_path, double, transport) as (api, client):
        models = [histories.tuned(api, base_folder, seed)[0] for seed in (5, 6)]
        for model in models:
            chat(client, model=model.name, **GREEDY)
        client.models.delete(models[0].name)
        assert models[0].adapter_id not in double.adapters
    with an_api(base_folder, tmp_path, double, transport) as (_, client):
        assert models[1].adapter_id in double.adapters
        client.models.delete(models[1].name)
        assert models[1].adapter_id not in double.adapters


@pytest.mark.parametrize(
    ("changes", "remote_key", "complaint"),
    [
        ({}, None, "it asks for a key: name a variable"),
        ({"api_key_env": "GPU_KEY"}, "another", "it refuses the key that GPU_KEY holds"),
        ({"model": "base"}, ENGINE_KEY, "it serves org/name, not 'base'"),
    ],
)
def test_an_engine_that_is_not_set_up_right_is_a_503_at_once_and_the_log_says_why(
    double: Double,
    base_folder: Path,
    tmp_path: Path,
    transport: CheckedTransport,
    caplog: pytest.LogCaptureFixture,
    changes: Told,
    remote_key: str | None,
    complaint: str,
) -> None:
    engine = replace(RemoteEngine(double.url, double.served_name), **changes)
    options = {"engine": engine, "remote_key": remote_key, "wait_s": 60}
    with an_api(base_folder, tmp_path, double, transport, **options) as (api, client):
        started = time.monotonic()
        for _ in range(2):
            with pytest.raises(openai.InternalServerError, match="not set up right") as caught:
                chat(client, **GREEDY)
            assert caught.value.code == "service_unavailable"
        assert time.monotonic() - started < 30
        assert httpx2.get(f"{api.url}/readyz").status_code == 503
    told = [record.message for record in caplog.records if complaint in record.message]
    assert len(told) == 1
    assert ENGINE_KEY not in caplog.text


def test_a_vllm_that_takes_no_adapters_says_so_in_the_log(
    base_folder: Path,
    tmp_path: Path,
    transport: CheckedTransport,
    caplog: pytest.LogCaptureFixture,
) -> None:
    double = Double(base_folder, takes_adapters=False)
    with ExitStack() as stack:
        stack.enter_context(double.running(stack.enter_context(closing(listening()))))
        api, client = stack.enter_context(an_api(base_folder, tmp_path, double, transport))
        assert httpx2.get(f"{api.url}/readyz").status_code == 200
        assert chat(client, **GREEDY)["choices"]
        model = histories.tuned(api, base_folder, seed=7)[0]
        with pytest.raises(openai.InternalServerError, match="could not be loaded") as caught:
            chat(client, model=model.name, **GREEDY)
        assert caught.value.status_code == 503
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in caplog.text


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (JSONResponse({"error": {"message": "no", "code": 400, "param": None}}, 400), 400, "no"),
        (JSONResponse({"object": "error", "message": "flat", "code": 400}, 400), 400, "flat"),
        (JSONResponse({"error": {"message": "dead", "code": 500}}, 500), 503, "can't answer"),
        (Response("<html>", 502), 503, "can't answer"),
        (Response("<html>", 200), 503, "not understood"),
        (JSONResponse({"choices": [{"index": 0, "text": "x"}]}), 503, "not understood"),
        (JSONResponse(["?"]), 503, "not understood"),
        (
            JSONResponse({"choices": [{"index": 0, "finish_reason": "abort", "token_ids": []}]}),
            503,
            "gave up",
        ),
    ],
)
def test_errors_of_vllm_come_in_our_envelope(
    remote: OpenAI, double: Double, answer: Response, status: int, message: str
) -> None:
    double.fails_with = answer
    with pytest.raises(openai.APIStatusError, match=message) as caught:
        chat(remote, **GREEDY)
    assert caught.value.status_code == status
    assert caught.value.code is None or isinstance(caught.value.code, str)


@pytest.mark.parametrize(
    "event",
    [
        {"error": {"message": "cut", "type": "InternalServerError", "code": 500}},
        {"object": "error", "message": "cut", "code": 500},
        {"choices": [{"index": 0, "text": "", "finish_reason": "abort", "token_ids": [70]}]},
    ],
)
def test_an_error_in_the_middle_of_a_stream_is_told_there(
    remote: OpenAI, double: Double, event: Told
) -> None:
    double.breaks_off_with = event
    stream = remote.chat.completions.create(
        model="tiny", messages=MESSAGES, stream=True, logit_bias={"70": 100}, max_tokens=9
    )
    with pytest.raises(openai.APIError, match=r"cut|gave up"):
        list(stream)


def test_a_shorter_context_of_vllm_holds_for_both(
    base_folder: Path, tmp_path: Path, transport: CheckedTransport
) -> None:
    double = Double(base_folder, max_model_len=40)
    with ExitStack() as stack:
        stack.enter_context(double.running(stack.enter_context(closing(listening()))))
        api, client = stack.enter_context(an_api(base_folder, tmp_path, double, transport))
        assert httpx2.get(f"{api.url}/readyz").status_code == 200
        options: Told = {"temperature": 0, "logit_bias": {"70": 100}}
        prompt, completion, total = chat(client, **options)["usage"]
        assert total == 40
        assert completion == 40 - prompt
        with pytest.raises(openai.BadRequestError) as caught:
            chat(client, messages=[{"role": "user", "content": "x" * 60}])
        assert caught.value.code == "context_length_exceeded"


def test_an_engine_that_is_away_is_a_503_and_comes_back(
    base_folder: Path, tmp_path: Path, transport: CheckedTransport
) -> None:
    with closing(listening()) as listener:
        double = Double(base_folder, url=url_of(listener))
        with an_api(base_folder, tmp_path, double, transport, wait_s=0.5) as (api, client):
            model = histories.tuned(api, base_folder, seed=8)[0]
            for streams in (False, True):
                started = time.monotonic()
                with pytest.raises(openai.InternalServerError) as caught:
                    chat(client, **GREEDY, streams=streams)
                assert caught.value.status_code == 503
                assert time.monotonic() - started < 10
            assert httpx2.get(f"{api.url}/readyz").status_code == 503
            answers = []
            for _ in range(2):
                with double.running(listener):
                    answers.append(chat(client, model=model.name, **GREEDY))
            assert answers[0] == answers[1]
            assert double.loads == [model.adapter_id] * 2


def test_the_log_says_at_the_start_how_the_engine_is(
    double: Double,
    base_folder: Path,
    tmp_path: Path,
    transport: CheckedTransport,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tunesmith.api")
    with an_api(base_folder, tmp_path, double, transport):
        deadline = time.monotonic() + 10
        while f"the engine at {double.url} is ready" not in caplog.text:
            assert time.monotonic() < deadline, caplog.text
            time.sleep(0.01)
