"""What stands behind a model's name: base model, adapter, renderer, engine.

Several catalogue entries may share one source of weights; the renderer belongs to the source, and
so does the engine, unless an entry names a remote one. Renderers are read from disk in the
background after the start, or when first needed. A base model of a hub is downloaded when it is
first asked for; nothing knocks at its engine before that.
"""

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from fastapi.concurrency import run_in_threadpool

from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.api.engine_messages import Adapter, Engine
from tunesmith.api.engines import EngineClient
from tunesmith.api.vllm import VllmClient, VllmEngine
from tunesmith.domain import errors
from tunesmith.domain.models import BaseModel, Catalog, EnginePlace, Mode, TunedModel
from tunesmith.domain.tenancy import Scope
from tunesmith.modeling.downloads import Download, Downloads, is_here
from tunesmith.modeling.fingerprint import weights_digest
from tunesmith.modeling.shape import read_shape
from tunesmith.store.store import Store

if TYPE_CHECKING:
    from tunesmith.datasets.render import Renderer

log = logging.getLogger("tunesmith.api")

WRONG_ROUTE = {
    Mode.CHAT: "This is not a chat model and thus not supported in the v1/chat/completions "
    "endpoint. Did you mean to use v1/completions?",
    Mode.COMPLETIONS: "This is a chat model and not supported in the v1/completions endpoint. Did "
    "you mean to use v1/chat/completions?",
}
WAIT_S = 120.0
POLL_S = 0.1

P = ParamSpec("P")
R = TypeVar("R")


class StillDownloading(errors.Unavailable):
    """The base model is on its way; a retry helps once it is there."""

    default_code = "base_model_downloading"

    def __init__(self, download: Download) -> None:
        super().__init__(
            f"The base model {download.repository.id} is being downloaded: {download.state()}. "
            "Try again in a few minutes.",
            param="model",
        )
        self.download = download


@dataclass(frozen=True)
class ServedModel:
    """A model that a caller may use: a base model, or a tuned one that its project made or has a
    permission for."""

    name: str  # as replies give it: aliases resolved
    base: BaseModel
    tuned: TunedModel | None = None


@dataclass(frozen=True)
class _Source:
    """What is read from a folder of weights before its engine can be asked anything."""

    renderer: "Renderer"
    max_positions: int
    vocab_size: int
    digest: str  # of the weights


class ModelDirectory:
    """Engines by their place, and what is read from each source's folder.

    `always_on` is whose engine starts with the service; any other of ours starts at its first
    request, so nothing here may knock at it just to see whether it is there. `wait_s` is how long
    a request waits for a base model that is being downloaded.
    """

    def __init__(
        self,
        engines: Mapping[EnginePlace, EngineClient],
        shelf: AdapterShelf,
        always_on: Collection[EnginePlace] = (),
        wait_s: float = WAIT_S,
    ) -> None:
        self._engines = engines
        self._shelf = shelf
        self._always_on = always_on
        self._wait_s = wait_s
        self._downloads = Downloads()
        self._sources: dict[str, _Source] = {}
        self._lock = threading.Lock()
        self._greeting: asyncio.Task[None] | None = None

    def renderer(self, base: BaseModel) -> "Renderer":
        """Blocks while it is read. Raises UnsupportedModel for a folder that can't be used,
        StillDownloading for one that isn't there yet."""
        return self._source(base).renderer

    def context_length(self, base: BaseModel) -> int:
        """Tokens of prompt and completion together."""
        limit = base.inference_limit(self._source(base).max_positions)
        engine = self._engines.get(base.engine_place)
        return min(limit, engine.max_context or limit) if engine else limit

    def vocab_size(self, base: BaseModel) -> int:
        return self._source(base).vocab_size

    def fingerprint(self, model: ServedModel) -> str:
        """Changes when other weights answer under the same name."""
        adapter_id = model.tuned.adapter_id if model.tuned else ""
        weights = f"{self._source(model.base).digest}\n{adapter_id}"
        return "fp_" + hashlib.sha256(weights.encode()).hexdigest()[:10]

    def engine(self, base: BaseModel) -> Engine:
        """Raises Unavailable if this API was started without an engine for the base model."""
        client = self._engines.get(base.engine_place)
        if client is None:
            raise errors.Unavailable(
                f"No engine serves the base model {base.name} here. Its operator can name one with "
                "`tunesmith api --engine FOLDER=URL`."
            )
        if isinstance(client, VllmClient):
            return VllmEngine(client, self._source(base).renderer)
        return client

    def adapter(self, model: ServedModel) -> Adapter | None:
        if model.tuned is None:
            return None
        adapter_id = model.tuned.adapter_id
        # The engine may run in another folder than we do.
        return Adapter(adapter_id, self._shelf.path(adapter_id).resolve())

    async def forget(self, model: ServedModel) -> None:
        """Has the engine, if there is one, drop a tuned model that was deleted."""
        engine = self._engines.get(model.base.engine_place)
        if engine is not None and model.tuned is not None:
            await engine.forget_adapter(model.tuned.adapter_id)

    async def when_here(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `work` gives, done in a thread: at once, or after the download that it asks for.

        Waiting takes no thread, so that a download doesn't keep other requests from theirs. Raises
        StillDownloading at the deadline.
        """
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                return await run_in_threadpool(work, *args, **kwargs)
            except StillDownloading as waited:
                while not waited.download.wait(0):
                    if time.monotonic() >= deadline:
                        raise StillDownloading(waited.download) from None
                    await asyncio.sleep(POLL_S)

    def preload(self) -> None:
        """Reads all sources that are here, and has the log say how remote engines are, in the
        background."""
        threading.Thread(target=self._read_all, name="preload", daemon=True).start()
        self._greeting = asyncio.create_task(self._greet())

    async def silent_engines(self, timeout_s: float) -> list[EnginePlace]:
        """Whose engine should answer and doesn't."""
        places = list(self._always_on)
        answers = [self._engines[place].is_up(timeout_s) for place in places]
        are_up = await asyncio.gather(*answers)
        return [place for place, is_up in zip(places, are_up, strict=True) if not is_up]

    async def close(self) -> None:
        if self._greeting is not None:
            self._greeting.cancel()
            await asyncio.gather(self._greeting, return_exceptions=True)
        for engine in self._engines.values():
            await engine.close()

    def _source(self, base: BaseModel) -> _Source:
        if base.source not in self._sources:
            download = self._downloads.start(base)
            if download is not None and not download.wait(0):
                raise StillDownloading(download)
            self._load(base.source)
        return self._sources[base.source]

    def _load(self, source: str) -> None:
        with self._lock:  # whoever comes first reads; the others wait for that
            if source not in self._sources:
                self._sources[source] = _read(Path(source))

    def _read_all(self) -> None:
        for source in {place.source: None for place in self._engines}:  # each once
            if not is_here(Path(source)):
                continue
            try:
                self._load(source)
            except errors.TunesmithError as error:
                log.error("%s can't be used: %s", source, error)

    async def _greet(self) -> None:
        remote = [engine for engine in self._engines.values() if isinstance(engine, VllmClient)]
        await asyncio.gather(*(engine.greet() for engine in remote))


def model_for(store: Store, catalog: Catalog, scope: Scope, name: str, mode: Mode) -> ServedModel:
    """The model that `name` means, for a route of this mode. Raises NotFound."""
    model = find_model(store, catalog, scope, name)
    if model is None:
        raise errors.NotFound(
            f"The model '{name}' does not exist or you do not have access to it.",
            code="model_not_found",
        )
    if mode not in model.base.routes:
        raise errors.NotFound(WRONG_ROUTE[mode], param="model")
    return model


def trainable_model(store: Store, catalog: Catalog, scope: Scope, name: str) -> ServedModel:
    """The model that jobs may start from by `name`. Raises InvalidRequest."""
    model = find_trainable(store, catalog, scope, name)
    if model is None:
        raise errors.InvalidRequest(
            f"Model {name} is not available for fine-tuning or does not exist.",
            param="model",
            code="model_not_available",
        )
    return model


def find_trainable(store: Store, catalog: Catalog, scope: Scope, name: str) -> ServedModel | None:
    """The model that `name` means to callers of this scope, if jobs may start from it. Raises
    InvalidRequest for one that they may only use."""
    model = find_model(store, catalog, scope, name)
    if model is not None and model.tuned is not None and not model.tuned.is_of(scope):
        # What is trained from it would stay when the permission is gone.
        raise errors.InvalidRequest(
            f"Model {name} is not available for fine-tuning here: it belongs to another project, "
            "which shares it with yours for use only.",
            param="model",
            code="model_not_available",
        )
    return model


def find_model(store: Store, catalog: Catalog, scope: Scope, name: str) -> ServedModel | None:
    """The model that `name` means to callers of this scope."""
    base = catalog.find(name)
    if base is not None:
        return ServedModel(base.name, base)
    tuned = store.tuned_models.find(scope, name)
    if tuned is None:
        return None
    base = catalog.find(tuned.base_model)
    if base is None:
        raise errors.Unavailable(
            f"The base model {tuned.base_model} of '{name}' is not in this installation's "
            "catalogue. Its operator can put it back into models.toml."
        )
    return ServedModel(tuned.name, base, tuned)


def _read(folder: Path) -> _Source:
    # Here and not above: it costs a tenth of the time that the process takes to answer at all.
    from tunesmith.datasets.render import Renderer

    shape = read_shape(folder)
    return _Source(
        Renderer.load(folder), shape.max_positions, shape.vocab_size, weights_digest(folder)
    )
