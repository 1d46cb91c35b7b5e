"""The engine contract over a real connection: uvicorn on a loopback port, driven with httpx2."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
import uvicorn

from tests.small_models import VOCAB_SIZE
from tests.unit.inference.builders import (
    CONTEXT,
    a_trained_adapter,
    an_engine,
    greedy,
    make_small,
    random_prompts,
)
from tunesmith.adapters.files import load_adapter, save_adapter
from tunesmith.inference.engine import Engine, Request
from tunesmith.inference.server import MAX_BODY_BYTES, ServerOptions, create_server
from tunesmith.inference.thread import EngineThread
from tunesmith.modeling.shape import ModelShape, read_shape

TOKEN = "secret"
NUM_SLOTS = 2


@dataclass
class House:
    """A server and what stands behind it."""

    model: Path
    shelf: Path  # the adapters folder
    engine: Engine
    client: httpx2.Client

    @property
    def shape(self) -> ModelShape:
        return read_shape(self.model)

    def complete(self, **body: Any) -> httpx2.Response:
        return self.client.post("/v1/completions", json={"model": "base", **body})

    def stream(self, **body: Any) -> list[dict[str, Any]]:
        """All events but the closing one, which must be there."""
        with self.client.stream(
            "POST", "/v1/completions", json={"model": "base", "stream": True, **body}
        ) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            *events, done = [line[6:] for line in response.iter_lines() if line]
        assert done == "[DONE]"
        return [json.loads(event) for event in events]

    def make_adapter(self, name: str, seed: int) -> Path:
        save_adapter(self.shelf / name, a_trained_adapter(self.shape, seed), "base")
        return self.shelf / name

    def load(self, name: str, folder: Path) -> httpx2.Response:
        body = {"lora_name": name, "lora_path": str(folder)}
        return self.client.post("/v1/load_lora_adapter", json=body)

    def unload(self, name: str) -> httpx2.Response:
        return self.client.post("/v1/unload_lora_adapter", json={"lora_name": name})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("server")
    model = make_small(folder / "model")
    (folder / "adapters").mkdir()
    engine = an_engine(model, num_adapter_slots=NUM_SLOTS)
    shape = read_shape(model)
    thread = EngineThread(engine, lambda path: load_adapter(path, shape, torch.device("cpu")))
    app = create_server(thread, ServerOptions("base", folder / "adapters", TOKEN))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, http="h11", log_level="warning"))
        running = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        running.start()
        try:
            with httpx2.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"authorization": f"Bearer {TOKEN}"},
                timeout=30,
                trust_env=False,
            ) as client:
                yield House(model, folder / "adapters", engine, client)
        finally:
            server.should_exit = True
            running.join()


@pytest.fixture
def house(served: House) -> Iterator[House]:
    """Without adapters and without sequences, before and after."""
    yield served
    for entry in served.client.get("/v1/models").json()["data"][1:]:
        served.unload(entry["id"])
    eventually(lambda: served.engine.num_sequences == 0)
    assert served.engine.num_free_blocks == served.engine.limits.num_blocks


def eventually(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline, "waited for 10 s"
        time.sleep(0.005)


def text_of(house: House, prompt: list[int], **params: Any) -> str:
    """What an engine of its own makes of the prompt."""
    [[answer]] = an_engine(house.model).generate([Request(prompt, greedy(**params))])
    return answer.text


PROMPT = random_prompts([9])[0]
GREEDY = {"prompt": PROMPT, "temperature": 0, "max_tokens": 12, "ignore_eos": True}


def test_a_completion_in_openais_shape(house: House) -> None:
    answer = house.complete(**GREEDY)
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("id").startswith("cmpl-")
    assert abs(body.pop("created") - time.time()) < 60
    assert body == {
        "object": "text_completion",
        "model": "base",
        "choices": [
            {
                "index": 0,
                "text": text_of(house, PROMPT, max_tokens=12),
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 12,
            "total_tokens": 21,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_a_stream_is_the_same_text_in_pieces(house: House) -> None:
    *pieces, last = house.stream(**GREEDY, stream_options={"include_usage": True})
    assert len(pieces) > 1
    assert len({piece["id"] for piece in pieces}) == 1
    choices = [piece["choices"][0] for piece in pieces]
    assert "".join(c["text"] for c in choices) == text_of(house, PROMPT, max_tokens=12)
    assert [c["finish_reason"] for c in choices] == [None] * (len(choices) - 1) + ["length"]
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 12)


def test_a_stream_has_no_usage_unless_asked(house: House) -> None:
    assert all("usage" not in piece for piece in house.stream(**GREEDY))


def test_token_ids_come_when_asked_for(house: House) -> None:
    whole = house.complete(**GREEDY, return_token_ids=True).json()["choices"][0]["token_ids"]
    pieces = house.stream(**GREEDY, return_token_ids=True)
    assert [i for piece in pieces for i in piece["choices"][0]["token_ids"]] == whole
    assert len(whole) == 12


@pytest.mark.parametrize("tells_ends", [True, False])
def test_all_that_was_sampled_is_told_unless_less_is_asked_for(
    house: House, tells_ends: bool
) -> None:
    """As vLLM tells it, whom others than our API take it for."""
    asked = {**GREEDY, "return_token_ids": True}
    [*_, last] = house.complete(**asked).json()["choices"][0]["token_ids"]
    ended = {**asked, "stop_token_ids": [last], "logit_bias": {str(last): 100}}
    if not tells_ends:
        ended["tells_ends"] = False
    whole = house.complete(**ended).json()
    assert whole["choices"][0]["token_ids"] == ([last] if tells_ends else [])
    assert whole["usage"]["completion_tokens"] == 1


def test_logprobs_of_shown_tokens_whole_and_streamed(house: House) -> None:
    asked = {**GREEDY, "logprobs": 2, "return_tokens_as_token_ids": True, "return_token_ids": True}
    [whole] = house.complete(**asked).json()["choices"]
    told = whole["logprobs"]
    assert told["tokens"] == [f"token_id:{token_id}" for token_id in whole["token_ids"]]
    assert len(told["tokens"]) == 12
    for name, logprob, top in zip(
        told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True
    ):
        assert list(top) == sorted(top, key=top.__getitem__, reverse=True)
        assert len(top) == 2
        assert (top[name], max(top.values())) == (logprob, logprob)  # greedy
    pieces = [piece["choices"][0] for piece in house.stream(**asked)]
    for field, values in told.items():
        assert [value for piece in pieces for value in piece["logprobs"][field]] == values
    assert [i for piece in pieces for i in piece["token_ids"]] == whole["token_ids"]


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("prompt", [PROMPT, PROMPT[:1]])
def test_prompt_logprobs_come_once(house: House, prompt: list[int], is_stream: bool) -> None:
    asked = {**GREEDY, "prompt": prompt, "prompt_logprobs": 1, "n": 2, "max_tokens": 3}
    if is_stream:
        choices = [piece["choices"][0] for piece in house.stream(**asked)]
    else:
        choices = house.complete(**asked).json()["choices"]
    assert all("prompt_logprobs" in choice for choice in choices)
    [told] = [c["prompt_logprobs"] for c in choices if c["prompt_logprobs"] is not None]
    assert told[0] is None
    assert len(told) == len(prompt)
    for token_id, token in zip(prompt[1:], told[1:], strict=True):
        assert token[str(token_id)]["rank"] >= 1
        assert min(entry["rank"] for entry in token.values()) == 1
        assert len(token) == (1 if token[str(token_id)]["rank"] == 1 else 2)


def test_the_usage_tells_of_cached_tokens_and_a_salt_hides_them(house: House) -> None:
    prompt = random_prompts([40], seed=77)[0]  # blocks of 16
    asked = {"prompt": prompt, "max_tokens": 2, "cache_salt": "ours"}

    def cached(**others: Any) -> int:
        usage = house.complete(**{**asked, **others}).json()["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    assert [cached(), cached(), cached(cache_salt="theirs"), cached(cache_salt=None)] == [
        *(0, 32),
        *(0, 0),
    ]
    *_, last = house.stream(**asked, stream_options={"include_usage": True})
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 32}


def test_a_bias_forces_a_token_and_bans_another(house: House) -> None:
    asked = {**GREEDY, "return_token_ids": True, "max_tokens": 3}
    [first, *_] = house.complete(**asked).json()["choices"][0]["token_ids"]
    banned = house.complete(**asked, logit_bias={str(first): -100}).json()["choices"][0]
    assert first not in banned["token_ids"]
    forced = house.complete(**asked, logit_bias={"70": 100}).json()["choices"][0]
    assert forced["token_ids"] == [70, 70, 70]


def test_several_choices_in_order(house: House) -> None:
    asked = {"prompt": PROMPT, "n": 3, "seed": 1, "max_tokens": 9, "ignore_eos": True}
    answer = house.complete(**asked).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["prompt_tokens"] == 9
    assert answer["usage"]["completion_tokens"] == 27
    streamed = {0: "", 1: "", 2: ""}
    for piece in house.stream(**asked):
        for choice in piece["choices"]:
            streamed[choice["index"]] += choice["text"]
    assert list(streamed.values()) == [choice["text"] for choice in answer["choices"]]


def test_without_max_tokens_a_completion_goes_to_the_contexts_end(house: House) -> None:
    prompt = random_prompts([CONTEXT - 5])[0]
    answer = house.complete(prompt=prompt, ignore_eos=True).json()
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_stop_string_ends_the_text(house: House) -> None:
    text = text_of(house, PROMPT, max_tokens=60)
    letter = next(c for c in text[9:] if c.isascii())
    answer = house.complete(**{**GREEDY, "max_tokens": 60}, stop=letter).json()["choices"][0]
    assert (answer["text"], answer["finish_reason"]) == (text[: text.index(letter)], "stop")


def test_many_streams_of_different_adapters_at_once(house: House) -> None:
    """More adapters than slots: the waiting ones are loaded again when it is their turn."""
    names = ["red", "green", "blue", "grey"]
    for seed, name in enumerate(names):
        assert house.load(name, house.make_adapter(name, seed)).status_code == 200
    expected = {}
    for name in names:
        expected[name] = house.complete(**{**GREEDY, "model": name}).json()["choices"][0]["text"]
    assert len(set(expected.values())) == 4

    def stream(name: str) -> str:
        pieces = house.stream(**{**GREEDY, "model": name})
        return "".join(piece["choices"][0]["text"] for piece in pieces)

    asked = [*names * 3, "base"]
    expected["base"] = text_of(house, PROMPT, max_tokens=12)
    with ThreadPoolExecutor(len(asked)) as pool:
        assert list(pool.map(stream, asked)) == [expected[name] for name in asked]


# So much that it is never done before a client on a busy machine has read its first line.
LONG = {"prompt": PROMPT, "max_tokens": 400, "n": 128, "ignore_eos": True}


def test_a_client_that_leaves_a_stream_stops_its_sequences(house: House) -> None:
    with house.client.stream(
        "POST", "/v1/completions", json={"model": "base", "stream": True, **LONG}
    ) as response:
        lines = response.iter_lines()  # kept: without it the connection might close at once
        next(lines)
        assert house.engine.num_sequences > 0, "they have not just come to their end"
    eventually(lambda: house.engine.num_sequences == 0)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_client_that_leaves_before_the_answer_stops_its_sequences(
    house: House, is_stream: bool
) -> None:
    body = json.dumps({"model": "base", "stream": is_stream, **LONG}).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", house.client.base_url.port)) as connection:
        connection.sendall(head.encode() + body)
        eventually(lambda: house.engine.num_sequences > 0)
    eventually(lambda: house.engine.num_sequences == 0)


def test_adapters_come_and_go(house: House) -> None:
    folder = house.make_adapter("rose", seed=1)
    assert house.complete(**{**GREEDY, "model": "rose"}).status_code == 404
    assert house.load("rose", folder).status_code == 200
    answer = house.complete(**{**GREEDY, "model": "rose"}).json()
    assert answer["model"] == "rose"
    assert answer["choices"][0]["text"] != text_of(house, PROMPT, max_tokens=12)
    models = house.client.get("/v1/models").json()["data"]
    assert [(m["id"], m["parent"]) for m in models] == [("base", None), ("rose", "base")]
    assert house.unload("rose").status_code == 200
    assert house.complete(**{**GREEDY, "model": "rose"}).status_code == 404


def test_loading_twice_and_unloading_nothing(house: House) -> None:
    folder = house.make_adapter("rose", seed=1)
    house.load("rose", folder)
    again = house.load("rose", folder)
    assert again.status_code == 400
    assert "already" in again.json()["error"]["message"]
    assert house.unload("nobody").status_code == 404


def test_an_adapter_whose_files_are_gone_is_forgotten(house: House) -> None:
    """It lost its slot to others, and was deleted before it was asked for again."""
    folder = house.make_adapter("rose", seed=1)
    house.load("rose", folder)
    for seed in range(NUM_SLOTS):
        house.load(f"other{seed}", house.make_adapter(f"other{seed}", seed))
    shutil.rmtree(folder)
    for _ in range(2):
        refusal = house.complete(**{**GREEDY, "model": "rose"})
        assert refusal.status_code == 404
        assert refusal.json()["error"]["code"] == "model_not_found"
    assert house.complete(**GREEDY).status_code == 200


def test_an_adapter_that_can_not_be_used_is_refused(house: House) -> None:
    folder = house.make_adapter("torn", seed=1)
    (folder / "adapter_model.safetensors").write_bytes(b"torn")
    refusal = house.load("torn", folder)
    assert refusal.status_code == 400
    assert "damaged" in refusal.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["outside", "dots", "link", "root", "relative", "nul"])
def test_adapters_are_loaded_from_their_folder_only(house: House, kind: str) -> None:
    outside = house.shelf.parent / "outside"
    save_adapter(outside, a_trained_adapter(house.shape, 0), "base")
    link = house.shelf / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    path = {
        "outside": str(outside),
        "dots": f"{house.shelf}/../outside",
        "link": str(link),
        "root": str(house.shelf),
        "relative": "../outside",
        "nul": f"{house.shelf}/a\0b",
    }[kind]
    refusal = house.load("thief", Path(path))
    assert refusal.status_code == 400
    assert refusal.json()["error"]["param"] == "lora_path"


@pytest.mark.parametrize("name", ["", "a/b", "..", "a" * 65, "a b", "ä", "base", "a\n"])
def test_an_adapters_name_is_a_plain_word(house: House, name: str) -> None:
    refusal = house.load(name, house.make_adapter("rose", seed=1))
    assert refusal.status_code == 400
    assert refusal.json()["error"]["param"] == "lora_name"


@pytest.mark.parametrize(
    "authorization", [None, "Bearer wrong", "Bearer", TOKEN, f"Bearer {TOKEN}x", "Bearer é"]
)
def test_without_the_token_nothing_is_answered(house: House, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization.encode()}
    with httpx2.Client(base_url=house.client.base_url, trust_env=False) as stranger:
        for path in ("completions", "load_lora_adapter", "unload_lora_adapter"):
            assert stranger.post(f"/v1/{path}", headers=headers).status_code == 401
        refusal = stranger.get("/v1/models", headers=headers)
        assert refusal.status_code == 401
        assert refusal.json()["error"]["code"] == "invalid_api_key"
        assert stranger.get("/health").status_code == 200


GOOD = {"model": "base", "prompt": [1]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "base"}, "prompt"),
        ({**GOOD, "prompt": []}, "prompt"),
        ({**GOOD, "prompt": "text"}, "prompt"),
        ({**GOOD, "prompt": [1.5]}, "prompt"),
        ({**GOOD, "prompt": [True]}, "prompt"),
        ({**GOOD, "prompt": [-1]}, "prompt"),
        ({**GOOD, "prompt": [VOCAB_SIZE]}, "prompt"),
        ({**GOOD, "prompt": [10**30]}, "prompt"),
        ({**GOOD, "prompt": [1] * (CONTEXT + 1)}, "prompt"),
        ({**GOOD, "prompt": [1] * CONTEXT}, "prompt"),
        ({**GOOD, "max_tokens": CONTEXT}, "prompt"),
        ({**GOOD, "max_tokens": 0}, "max_tokens"),
        ({**GOOD, "max_tokens": 10**30}, "max_tokens"),
        ({**GOOD, "temperature": -1}, "temperature"),
        ({**GOOD, "temperature": 3}, "temperature"),
        ({**GOOD, "temperature": "hot"}, "temperature"),
        ({**GOOD, "top_p": 1.1}, "top_p"),
        ({**GOOD, "n": 0}, "n"),
        ({**GOOD, "n": 1000}, "n"),
        ({**GOOD, "seed": 2**63}, "seed"),
        ({**GOOD, "stop": ""}, "stop"),
        ({**GOOD, "stop": ["x"] * 17}, "stop"),
        ({**GOOD, "stop": "x" * 1000}, "stop"),
        ({**GOOD, "stop_token_ids": [-1]}, "stop_token_ids"),
        ({**GOOD, "stream": "yes"}, "stream"),
        ({**GOOD, "stream_options": {"include": True}}, "stream_options"),
        ({**GOOD, "echo": True}, "echo"),
        ({**GOOD, "frequency_penalty": 2.1}, "frequency_penalty"),
        ({**GOOD, "presence_penalty": -2.1}, "presence_penalty"),
        ({**GOOD, "logit_bias": {"1": 101}}, "logit_bias"),
        ({**GOOD, "logit_bias": {"one": 1}}, "logit_bias"),
        ({**GOOD, "logit_bias": {"-1": 1}}, "logit_bias"),
        ({**GOOD, "logit_bias": {str(VOCAB_SIZE): 1}}, "logit_bias"),
        ({**GOOD, "logit_bias": {str(n): 1 for n in range(2000)}}, "logit_bias"),
        ({**GOOD, "logit_bias": [1]}, "logit_bias"),
        ({**GOOD, "logprobs": 21}, "logprobs"),
        ({**GOOD, "logprobs": True}, "logprobs"),
        ({**GOOD, "logprobs": 1}, "return_tokens_as_token_ids"),
        ({**GOOD, "prompt_logprobs": -1}, "prompt_logprobs"),
        ({**GOOD, "top_k": 5}, "top_k"),
        ({**GOOD, "min_p": 0.1}, "min_p"),
        ({**GOOD, "repetition_penalty": 1.1}, "repetition_penalty"),
        ({**GOOD, "cache_salt": ""}, "cache_salt"),
        ({**GOOD, "cache_salt": "x" * 257}, "cache_salt"),
        ([], None),
        (None, None),
    ],
)
def test_a_body_that_can_not_be_used_is_refused_by_name(
    house: House, body: Any, param: str | None
) -> None:
    refusal = house.client.post("/v1/completions", json=body)
    assert refusal.status_code == 400
    error = refusal.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[" * 100_000, b'{"model": "\\ud800", "prompt": [1]}', b"NaN"],
)
def test_what_is_no_json_is_refused(house: House, content: bytes) -> None:
    assert house.client.post("/v1/completions", content=content).status_code == 400


@pytest.mark.parametrize("seed", [-(2**63), 2**63 - 1])
@pytest.mark.parametrize("temperature", [1e-300, 2])
def test_the_widest_ranges_work(house: House, seed: int, temperature: float) -> None:
    answer = house.complete(prompt=[1], max_tokens=1, seed=seed, temperature=temperature, top_p=0)
    assert answer.status_code == 200


def test_a_body_of_any_size_is_refused_early(house: House) -> None:
    answer = house.client.post("/v1/completions", content=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413


def test_unknown_routes_and_wrong_verbs_get_the_envelope(house: House) -> None:
    for answer, status in (
        (house.client.get("/v1/nothing"), 404),
        (house.client.get("/v1/completions"), 405),
    ):
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_damaged_adapter_gives_a_calm_error_and_the_engine_goes_on(
    house: House, is_stream: bool
) -> None:
    broken = a_trained_adapter(house.shape, seed=0)
    with torch.no_grad():
        for _, b in broken.weights.values():  # all: attention hides some (findings.md)
            b.fill_(float("nan"))
    save_adapter(house.shelf / "broken", broken, "base")
    house.load("broken", house.shelf / "broken")
    failure = house.complete(**{**GREEDY, "model": "broken", "stream": is_stream})
    assert failure.status_code == 503, failure.text
    assert "overflowed" in failure.json()["error"]["message"]
    assert house.complete(**GREEDY).status_code == 200
