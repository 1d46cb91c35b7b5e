"""vLLM in the place of one of our engines: what is done differently then.

    VllmEngine     answers in the form that the rest of the API knows
      └─ VllmClient     HTTP, as to our own engines, and a look at whom we talk to

The engine is somebody else's process, on another machine as a rule. So nothing is taken on trust:
before its first answer, and again after each silence, it must accept our key, serve the base model
by the name that we have for it, and refuse a model that nobody has loaded. One that answers for
any name would answer by its base model for a tuned one that it has forgotten.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import httpx2
from fastapi.concurrency import run_in_threadpool

from tunesmith.api.engine_messages import Adapter, Chunk, EngineRequest, Json, Piece
from tunesmith.api.engine_room import EngineRoom
from tunesmith.api.engines import EngineClient
from tunesmith.api.form_trials import FormTrials
from tunesmith.api.vllm_messages import is_greedy, to_vllm_body, to_vllm_chunk
from tunesmith.api.vllm_texts import Reader, copies
from tunesmith.domain import errors
from tunesmith.domain.models import RemoteEngine
from tunesmith.inference.detokenizer import Texts

log = logging.getLogger("tunesmith.api")

LOOK_TIMEOUT_S = 5.0  # of each of its three requests
GREETING_TIMEOUT_S = 10.0
NOBODY = "tunesmith-asks-for-nobody"  # not an adapter's id: those have eight letters
SET_UP_WRONG = (
    "The model's engine is not set up right; the operator finds the reason in the service's log."
)


class VllmClient(EngineClient):
    """Talks to a remote engine. `key` is what it asks for; None if it asks for none."""

    outlives_us = True

    def __init__(self, remote: RemoteEngine, key: str | None, *, wait_s: float) -> None:
        super().__init__(remote.url, key, base_name=remote.model, wait_s=wait_s)
        self.forms = FormTrials()
        self.room = EngineRoom()
        self._remote = remote
        self._looking: asyncio.Task[bool] | None = None
        self._refuses_unknown = False  # models: seen since it was last silent
        self._complaint: str | None = None  # what the log was told last

    def body(self, request: EngineRequest, *, cache_salt: str, stream: bool) -> Json:
        return to_vllm_body(
            request, base_name=self._remote.model, cache_salt=cache_salt, stream=stream
        )

    def chunk(self, message: Json, request: EngineRequest) -> Chunk:
        return to_vllm_chunk(message, request)

    def adapter_path(self, adapter: Adapter) -> str:
        if self._remote.adapters_path is None:
            return str(adapter.folder)
        return f"{self._remote.adapters_path.rstrip('/')}/{adapter.id}"

    def said_of_adapter(self, answer: httpx2.Response) -> str:
        said = super().said_of_adapter(answer)
        if answer.status_code != 404:
            return said
        return (
            f"{said} (Does it see the folder at that path, or somewhere else: engine.adapters_path "
            "in models.toml? Was it started with --enable-lora and with "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True?)"
        )

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await super().close()

    async def is_up(self, timeout_s: float) -> bool:
        """Also false for an engine that answers and isn't set up right."""
        return await self._look(timeout_s) and self._complaint is None

    async def is_ready(self, timeout_s: float) -> bool:
        if not await self._look(timeout_s):
            return False
        if self._complaint is not None:
            raise errors.Unavailable(SET_UP_WRONG)
        return True

    async def greet(self) -> str | None:
        """Has the log say how it is. Gives what is wrong with it; None if nothing is."""
        if await self.is_up(GREETING_TIMEOUT_S):
            return None
        if self._complaint is None:
            log.warning("the engine at %s doesn't answer yet", self._remote.url)
        return self._complaint or "it doesn't answer"

    async def _look(self, timeout_s: float) -> bool:
        """Whether it answers at all; `_complaint` is what is wrong with it then. All who want to
        know look together, however long each has time for it."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_once())
        looking = self._looking
        done, _ = await asyncio.wait({looking}, timeout=timeout_s)
        return bool(done) and not looking.cancelled() and looking.result()

    async def _look_once(self) -> bool:
        try:
            if not await super().is_up(LOOK_TIMEOUT_S):
                self._note_restart()
                return False
            complaint = await self._find_fault()
        except httpx2.HTTPError:
            self._note_restart()
            return False
        self._tell(complaint)
        if complaint is None:
            self._heard_at = time.monotonic()
        return True

    async def _find_fault(self) -> str | None:
        """What is wrong with it, for its operator; None if nothing is."""
        answer = await self._http.get("/v1/models", timeout=LOOK_TIMEOUT_S)
        if answer.status_code in (401, 403):
            if self._remote.api_key_env is None:
                return "it asks for a key: name a variable that holds it (engine.api_key_env)"
            return f"it refuses the key that {self._remote.api_key_env} holds"
        listed = _models(answer)
        if listed is None:
            return f"GET /v1/models is answered with {answer.status_code} and no list of models"
        base = listed.get(self._remote.model)
        if base is None:
            names = ", ".join(name for name, entry in listed.items() if not entry.get("parent"))
            return (
                f"it serves {names or 'nothing'}, not {self._remote.model!r}: say in models.toml "
                "what it calls the base model (engine.model)"
            )
        length = base.get("max_model_len")
        self.max_context = length if isinstance(length, int) and length > 0 else None
        if not self._loaded <= listed.keys():
            self._note_restart()
        self._loaded &= listed.keys()
        return None if self._refuses_unknown else await self._ask_for_nobody()

    async def _ask_for_nobody(self) -> str | None:
        body = {"model": NOBODY, "prompt": [0], "max_tokens": 1}
        answer = await self._http.post("/v1/completions", json=body, timeout=LOOK_TIMEOUT_S)
        if answer.is_success:
            return (
                "it answers for models that it doesn't know, by its base model; unset "
                "VLLM_SKIP_MODEL_NAME_VALIDATION there"
            )
        if answer.status_code != 404:
            return f"a model that nobody has loaded is answered with {answer.status_code}, not 404"
        self._refuses_unknown = True
        return None

    def _note_restart(self) -> None:
        """Another process may listen there by now, set up in another way."""
        self._refuses_unknown = False

    async def _note_silence(self, error: httpx2.TransportError, deadline: float) -> None:
        self._note_restart()
        await super()._note_silence(error, deadline)

    def _tell(self, complaint: str | None) -> None:
        """The log hears of each state once."""
        if complaint is not None and complaint != self._complaint:
            log.error("the engine at %s can't be used: %s", self._remote.url, complaint)
        elif complaint is None and (self._complaint is not None or self._heard_at < 0):
            log.info("the engine at %s is ready", self._remote.url)
        self._complaint = complaint


class VllmEngine:
    """Completions of a remote engine: the texts are made here, of its token ids, so that they are
    the same as an engine of ours would send (`vllm_texts.py`)."""

    def __init__(self, client: VllmClient, texts: Texts) -> None:
        self._client = client
        self._texts = texts

    async def generate(self, request: EngineRequest, *, stream: bool) -> AsyncGenerator[Chunk]:
        """As `EngineClient.generate`. Raises InvalidRequest also for what a remote engine can't
        be asked for, RateLimited if too much of the same tenant is under way."""
        if request.params.form is not None:
            await self._client.forms.check(request.params.form, self._texts.control_tokens)
        # vLLM refuses more than one greedy choice, since they are all the same.
        n = request.n if is_greedy(request.params) else 1
        asked = replace(request, n=1) if n > 1 else request
        readers: dict[int, Reader] = defaultdict(lambda: Reader(request.params, self._texts))

        def read(chunk: Chunk) -> Chunk:
            pieces = (readers[piece.index].read(piece) for piece in chunk.pieces)
            return copies(Chunk(tuple(filter(_says_something, pieces)), chunk.usage), n)

        with self._client.room.taken(request.tenant, asked.n):
            async with aclosing(self._client.generate(asked, stream=stream)) as chunks:
                async for chunk in chunks:
                    # A whole answer is long, and the other requests needn't wait for it.
                    yield read(chunk) if stream else await run_in_threadpool(read, chunk)


def _says_something(piece: Piece) -> bool:
    return bool(piece.text or piece.tokens or piece.finish_reason or piece.prompt_tokens)


def _models(answer: httpx2.Response) -> dict[str, Json] | None:
    """The models that it lists, by name; None if it lists none."""
    try:
        entries = answer.json()["data"] if answer.is_success else None
        return None if entries is None else {entry["id"]: entry for entry in entries}
    except (ValueError, KeyError, TypeError):
        return None
