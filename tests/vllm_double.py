"""A server with vLLM's wire and our engine's arithmetic behind it.

It knows vLLM's fields and none of ours, answers with vLLM's bodies and errors, and keeps vLLM's
rules where they differ from ours: one greedy choice only, no `top_p` of 0, no prompt logprobs in a
stream, all sampled tokens told at once, places of tokens counted in their names. What it does was
read in vLLM's source (0.21, its completions, models and LoRA routes); it shares no code with
`tunesmith.inference.server`.
"""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.server import serving
from tunesmith.datasets.render import Renderer
from tunesmith.domain import errors
from tunesmith.domain.generation import SamplingParams, TokenLogprobs
from tunesmith.domain.structural_tags import to_tagged
from tunesmith.inference import engine
from tunesmith.inference.process import EngineOptions, build_engine
from tunesmith.inference.thread import Completion

Json = dict[str, Any]

FIELDS = {
    *("model", "prompt", "n", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed"),
    *("stop", "stop_token_ids", "stream", "stream_options", "logprobs", "prompt_logprobs"),
    *("repetition_penalty", "frequency_penalty", "presence_penalty", "logit_bias"),
    *("return_token_ids", "return_tokens_as_token_ids", "structured_outputs", "cache_salt"),
    "skip_special_tokens",
}
# Where a body is silent about these, the model's generation_config.json speaks.
HAVE_DEFAULTS = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty"}


@dataclass
class Double:
    """The knobs of the server, and what it has seen."""

    base_folder: Path
    served_name: str = "base"
    key: str | None = None
    takes_adapters: bool = True  # VLLM_ALLOW_RUNTIME_LORA_UPDATING
    takes_any_name: bool = False  # VLLM_SKIP_MODEL_NAME_VALIDATION
    repeats_names: bool = False  # as versions before 0.6.5, whoever answered
    max_model_len: int = 512
    fails_with: Response | None = None  # the answer to all completions
    breaks_off_with: Json | None = None  # the second event of each stream
    adapters: dict[str, str] = field(default_factory=dict)  # name → path
    loads: list[str] = field(default_factory=list)
    bodies: list[Json] = field(default_factory=list)
    url: str = ""

    @property
    def unknown_fields(self) -> set[str]:
        return {name for body in self.bodies for name in body} - FIELDS

    def forget(self) -> None:
        """As a restart does."""
        for name in list(self.adapters):
            asyncio.run_coroutine_threadsafe(self._thread.remove_adapter(name), self._loop).result()
            del self.adapters[name]

    @contextmanager
    def running(self, listener: socket.socket) -> Iterator["Double"]:
        """The adapters are found at any path, as by vLLM."""
        options = EngineOptions(self.base_folder, "unused", Path("/"), device="cpu")
        self._thread = build_engine(options)
        self._renderer = Renderer.load(self.base_folder)

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            self._loop = asyncio.get_running_loop()
            self._thread.start()
            yield
            self._thread.stop()

        routes = [
            Route("/health", self._health),
            Route("/v1/models", self._models),
            Route("/v1/completions", self._completions, methods=["POST"]),
        ]
        if self.takes_adapters:
            routes += [
                Route("/v1/load_lora_adapter", self._load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self._unload, methods=["POST"]),
            ]
        with serving(Starlette(routes=routes, lifespan=lifespan), listener) as self.url:
            self.adapters.clear()
            yield self

    async def _health(self, _: Request) -> Response:
        return Response(status_code=200)

    async def _models(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return UNAUTHORIZED
        base = {"id": self.served_name, "object": "model", "parent": None}
        cards = [{**base, "max_model_len": self.max_model_len, "root": str(self.base_folder)}]
        for name, path in self.adapters.items():
            cards.append({**base, "id": name, "parent": self.served_name, "root": path})
        return JSONResponse({"object": "list", "data": cards})

    async def _load(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return UNAUTHORIZED
        body = await request.json()
        name, path = body["lora_name"], body["lora_path"]
        self.loads.append(name)
        if name in self.adapters:
            return _refusal(400, f"The lora adapter '{name}' has already been loaded.")
        try:
            await self._thread.add_adapter(name, Path(path))
        except errors.UnsupportedModel:
            return _refusal(404, f"Loading lora {name} failed: No adapter found for {path}")
        self.adapters[name] = path
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return UNAUTHORIZED
        name = (await request.json())["lora_name"]
        if name not in self.adapters:
            return _refusal(404, f"The lora adapter '{name}' cannot be found.")
        del self.adapters[name]
        await self._thread.remove_adapter(name)
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _completions(self, request: Request) -> Response:
        if not self._is_allowed(request):
            return UNAUTHORIZED
        body = await request.json()
        name = body["model"]
        if name not in {self.served_name, *self.adapters} and not self.takes_any_name:
            return _refusal(404, f"The model `{name}` does not exist.", "model")
        if len(body) == 3:  # somebody only tries out a name
            return JSONResponse({"model": self.served_name, "choices": []})
        self.bodies.append(body)
        if self.fails_with is not None:
            return self.fails_with
        if complaint := self._complaint(body):
            return _refusal(400, complaint)
        wanted = _wanted(body, name if name in self.adapters else None)
        try:
            completion = await self._thread.submit(wanted)
        except errors.TunesmithError as error:
            return _refusal(400, error.message)
        answer = _Answer(body, completion, self._renderer, self._name_of_answer(name))
        if body["stream"]:
            events = answer.events(self.breaks_off_with)
            return StreamingResponse(events, media_type="text/event-stream")
        return JSONResponse(await answer.whole())

    def _is_allowed(self, request: Request) -> bool:
        return self.key is None or request.headers.get("authorization") == f"Bearer {self.key}"

    def _name_of_answer(self, asked: str) -> str:
        is_told = asked in self.adapters or self.repeats_names
        return asked if is_told else self.served_name

    def _complaint(self, body: Json) -> str | None:
        if silent := HAVE_DEFAULTS - body.keys():
            return f"the model's own defaults would hold for {silent}"
        if not 0 < body["top_p"] <= 1:
            return f"top_p must be in (0, 1], got {body['top_p']}."
        if body["temperature"] < 1e-5 and body["n"] > 1:
            return f"n must be 1 when using greedy sampling, got {body['n']}."
        if body["stream"] and body.get("prompt_logprobs") is not None:
            return "`prompt_logprobs` are not available when `stream=True`."
        if len(body["prompt"]) + body["max_tokens"] > self.max_model_len:
            return f"This model's maximum context length is {self.max_model_len} tokens. However …"
        if body.get("seed") == -1:
            return "a seed of -1 is none"
        return None


class _Answer:
    def __init__(self, body: Json, completion: Completion, renderer: Renderer, model: str) -> None:
        self._body = body
        self._completion = completion
        self._choices = [_Choice(body, renderer) for _ in range(body["n"])]
        self._head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": model}

    async def whole(self) -> Json:
        told: list[Json] = [{} for _ in self._choices]
        async for index, choice in self._news():
            told[index] = _joined(told[index], choice)
        for choice in told:
            choice["prompt_logprobs"] = told[0].get("prompt_logprobs")
        return {**self._head, "choices": told, "usage": self._usage()}

    async def events(self, breaks_off_with: Json | None) -> AsyncGenerator[bytes]:
        async for _, choice in self._news():
            yield _event({**self._head, "choices": [choice]})
            if breaks_off_with is not None:
                yield _event(breaks_off_with)
                break
        else:
            if self._body["stream_options"]["include_usage"]:
                yield _event({**self._head, "choices": [], "usage": self._usage()})
        yield b"data: [DONE]\n\n"
        self._completion.cancel()

    async def _news(self) -> AsyncGenerator[tuple[int, Json]]:
        async for deltas in self._completion.deltas():
            for delta in deltas:
                if delta.error is not None:
                    raise delta.error
                choice = self._choices[delta.sequence.index]
                if choice.finish_reason is None:
                    yield delta.sequence.index, choice.tell(delta)

    def _usage(self) -> Json:
        num_prompt = len(self._body["prompt"])
        num_sampled = sum(len(choice.token_ids) for choice in self._choices)
        return {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_sampled,
            "total_tokens": num_prompt + num_sampled,
            "prompt_tokens_details": None,
        }


class _Choice:
    """Looks for stop strings itself, in the text behind the prompt, as vLLM does."""

    def __init__(self, body: Json, renderer: Renderer) -> None:
        self._body = body
        skips = body.get("skip_special_tokens", True)
        self._decode = renderer.decode if skips else renderer.decode_all
        self._text = ""
        self.token_ids: list[int] = []
        self.finish_reason: str | None = None

    def tell(self, delta: engine.Delta) -> Json:
        shown = list(delta.shown)
        stop_reason: str | int | None = None
        text = ""
        for place, token in enumerate(shown):
            self.token_ids.append(token.token_id)
            text, stop_reason = self._read()
            if stop_reason is not None:
                del shown[place + 1 :]
                break
        reason = delta.finish_reason and delta.finish_reason.value
        self.finish_reason = "stop" if stop_reason is not None else reason
        added, self._text = text[len(self._text) :], text or self._text
        told = [(token.token_id, token.logprobs) for token in shown]
        choice = {
            "index": delta.sequence.index,
            "text": added,
            "logprobs": None if self._body.get("logprobs") is None else _logprobs(told),
            "finish_reason": self.finish_reason,
            "stop_reason": stop_reason,
            "prompt_token_ids": None,
            "token_ids": [token_id for token_id, _ in told],
        }
        if delta.prompt_logprobs is not None:
            choice["prompt_logprobs"] = [None, *map(_prompt_token, delta.prompt_logprobs)]
        return choice

    def _read(self) -> tuple[str, str | int | None]:
        if self.token_ids[-1] in self._body["stop_token_ids"]:
            return self._decode(self.token_ids[:-1]), self.token_ids[-1]
        text = self._decode(self.token_ids)
        found = [(text.find(stop), stop) for stop in self._body["stop"] if stop in text]
        return (text[: min(found)[0]], min(found)[1]) if found else (text, None)


def _wanted(body: Json, adapter: str | None) -> engine.Request:
    outputs = body.get("structured_outputs") or {}
    tag = outputs.get("structural_tag")
    return engine.Request(
        prompt=body["prompt"],
        params=SamplingParams(
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            seed=body.get("seed"),
            stop_token_ids=tuple(body["stop_token_ids"]),
            frequency_penalty=body["frequency_penalty"],
            presence_penalty=body["presence_penalty"],
            logit_bias={int(key): bias for key, bias in body.get("logit_bias", {}).items()},
            logprobs=body.get("logprobs"),
            tells_ends=True,
            prompt_logprobs=body.get("prompt_logprobs"),
            json_schema=outputs.get("json"),
            tagged=to_tagged(tag) if tag else None,
        ),
        n=body["n"],
        adapter=adapter,
        cache_salt=body["cache_salt"],
    )


def _logprobs(told: Sequence[tuple[int, TokenLogprobs | None]]) -> Json:
    names = [f"token_id:{token_id}" for token_id, _ in told]
    return {
        "tokens": names,
        "token_logprobs": [logprobs.logprob for _, logprobs in told if logprobs],
        "top_logprobs": [
            {f"token_id:{token_id}": logprob for token_id, logprob in _own_first(logprobs)}
            for _, logprobs in told
            if logprobs
        ],
        "text_offset": [sum(map(len, names[:place])) for place in range(len(names))],
    }


def _own_first(logprobs: TokenLogprobs) -> Iterable[tuple[int, float]]:
    return {logprobs.token_id: logprobs.logprob, **dict(logprobs.top)}.items()


def _prompt_token(logprobs: TokenLogprobs) -> Json:
    own = {logprobs.token_id: logprobs.logprob, **dict(logprobs.top)}
    return {
        str(token_id): {"logprob": logprob, "rank": 1, "decoded_token": "x"}
        for token_id, logprob in own.items()
    }


def _joined(earlier: Json, later: Json) -> Json:
    if not earlier:
        return later
    joined = {**later, "text": earlier["text"] + later["text"]}
    joined["token_ids"] = earlier["token_ids"] + later["token_ids"]
    if later["logprobs"] is not None:
        joined["logprobs"] = {
            key: earlier["logprobs"][key] + value for key, value in later["logprobs"].items()
        }
    if "prompt_logprobs" in earlier:
        joined["prompt_logprobs"] = earlier["prompt_logprobs"]
    return joined


def _event(message: Json) -> bytes:
    return f"data: {json.dumps(message)}\n\n".encode()


def _refusal(status: int, message: str, param: str | None = None) -> Response:
    kind = "NotFoundError" if status == 404 else "BadRequestError"
    error = {"message": message, "type": kind, "param": param, "code": status}
    return JSONResponse({"error": error}, status_code=status)


UNAUTHORIZED = JSONResponse({"error": "Unauthorized"}, status_code=401)
