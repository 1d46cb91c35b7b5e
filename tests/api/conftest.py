"""The API on a real store and a real engine, driven by the official SDK; every answer is checked.

No trainer runs here: a test puts jobs into the state it needs by the store's own methods
(`histories.py`). The engine is the built-in one, on a model of two layers.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
import torch
import uvicorn
from fastapi import FastAPI
from openai import OpenAI

from tests.api.reference import Reference
from tests.contract.checker import CheckedTransport
from tests.server import listening, serving, serving_api, url_of
from tests.small_models import make_model
from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.api.app import create_api
from tunesmith.api.context import ApiLimits, Services
from tunesmith.api.engines import EngineClient
from tunesmith.api.rate_limits import Rates
from tunesmith.api.report_desk import ReportDesk
from tunesmith.api.serving import ModelDirectory
from tunesmith.api.transport import ConnectionLimits
from tunesmith.api.vllm import VllmClient
from tunesmith.domain.examples import Format
from tunesmith.domain.ids import Ids
from tunesmith.domain.models import BaseModel, Catalog, EnginePlace, Mode, RemoteEngine
from tunesmith.domain.tenancy import Caller
from tunesmith.inference import sequence
from tunesmith.inference.process import EngineOptions, build_engine
from tunesmith.inference.server import ServerOptions, create_server
from tunesmith.inference.thread import EngineThread
from tunesmith.store.store import Store, open_store

KEY = "sk-tunesmith-0123456789abcdefghijklmnopqrstuvwxyz"
ENGINE_TOKEN = "only the API knows"
BASE_NAME = "base"
SHORT_CONTEXT = 64
IDS = Ids()
# Small, so that a test can go beyond them.
LIMITS = ApiLimits(
    max_upload_bytes=1_000_000,
    max_upload_total_bytes=2_000_000,
    max_upload_part_bytes=200_000,
    max_body_bytes=100_000,
    max_commas=40_000,
    max_prompts=16,
    max_request_tokens=8192,
    max_logprobs=4096,
    store_completion_s=60.0,  # so that no machine is too slow
)


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class LiveApi:
    url: str
    store: Store
    caller: Caller  # whom KEY belongs to
    shelf: AdapterShelf
    app: FastAPI
    data_dir: Path
    server: uvicorn.Server

    def new_key(self, organization: str, project: str = "default", is_admin: bool = False) -> str:
        return self.store.tenants.create_key(organization, project, is_admin)


@dataclass(frozen=True)
class LiveEngine:
    url: str
    thread: EngineThread

    @property
    def sequences(self) -> list[sequence.Sequence]:
        """What it works on at the moment, waiting or running."""
        return list(self.thread._engine._scheduler)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def engine(base_folder: Path, data_dir: Path) -> Iterator[LiveEngine]:
    with closing(listening()) as listener, live_engine(base_folder, data_dir, listener) as engine:
        yield engine


@pytest.fixture(scope="session")
def api(base_folder: Path, data_dir: Path, engine: LiveEngine) -> Iterator[LiveApi]:
    """One server for all tests; what a test creates, the others see."""
    with live_api(base_folder, data_dir, engine.url) as api:
        yield api


@contextmanager
def live_engine(base_folder: Path, data_dir: Path, listener: socket.socket) -> Iterator[LiveEngine]:
    adapters = data_dir / "adapters"
    thread = build_engine(EngineOptions(base_folder, BASE_NAME, adapters, device="cpu"))
    app = create_server(thread, ServerOptions(BASE_NAME, adapters, ENGINE_TOKEN))
    with serving(app, listener) as url:
        yield LiveEngine(url, thread)


@contextmanager
def live_api(
    base_folder: Path,
    data_dir: Path,
    engine_url: str,
    wait_s: float = 20.0,
    more_bases: Sequence[BaseModel] = (),
    unserved_bases: Sequence[BaseModel] = (),
    connections: ConnectionLimits = ConnectionLimits(),  # noqa: B008  # frozen
    limits: ApiLimits = LIMITS,
    grace_s: int = 2,
    clock: Callable[[], datetime] = now,
    rates: Rates | None = None,
    max_active_jobs: int | None = None,
    remote: RemoteEngine | None = None,
    remote_key: str | None = None,
) -> Iterator[LiveApi]:
    """`more_bases` are served by the same engine as `base_folder`, `unserved_bases` by none. With
    `remote` that engine is one that speaks vLLM's HTTP."""
    source = str(base_folder)
    catalog = Catalog(
        [
            BaseModel("tiny", source),
            BaseModel("gpt-4o-mini-2024-07-18", source, aliases=("gpt-4o-mini",)),
            BaseModel("short", source, inference_context=SHORT_CONTEXT),
            BaseModel("chat-only", source, routes=(Mode.CHAT,)),
            BaseModel("curie", source),
            BaseModel(
                "text-only",
                source,
                routes=(Mode.COMPLETIONS,),
                formats=(Format.COMPLETIONS,),
            ),
            *more_bases,
            *unserved_bases,
        ]
    )
    catalog = Catalog([replace(base, engine=remote) for base in catalog.entries.values()])
    client = (
        EngineClient(engine_url, ENGINE_TOKEN, base_name=BASE_NAME, wait_s=wait_s)
        if remote is None
        else VllmClient(remote, remote_key, wait_s=wait_s)
    )
    shelf = AdapterShelf(data_dir / "adapters")
    unserved = {base.source for base in unserved_bases}
    engines = {place: client for place in catalog.engine_places() if place.source not in unserved}
    models = ModelDirectory(engines, shelf, always_on=[EnginePlace(source, remote)], wait_s=wait_s)
    opened = open_store(data_dir, ids=IDS, clock=clock, max_active_jobs=max_active_jobs)
    with closing(opened) as store, closing(listening()) as own:
        caller = store.tenants.ensure_first("local", KEY)
        reports = ReportDesk(data_dir / "reports", store.blobs, timeout_s=60.0)
        services = Services(store, catalog, models, reports, IDS, clock, limits, rates or Rates())
        app = create_api(services)
        with serving_api(app, own, connections, grace_s) as server:
            yield LiveApi(url_of(own), store, caller, shelf, app, data_dir, server)


@pytest.fixture(scope="session")
def transport() -> Iterator[CheckedTransport]:
    transport = CheckedTransport()
    yield transport
    transport.close()


@pytest.fixture(scope="session")
def http(api: LiveApi, transport: CheckedTransport) -> Iterator[httpx2.Client]:
    """For what the SDK wouldn't send. It brings the key along."""
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(transport=transport, base_url=api.url, headers=headers) as client:
        yield client


@pytest.fixture(scope="session")
def client(api: LiveApi, transport: CheckedTransport) -> OpenAI:
    return client_of(api, KEY, transport)


@pytest.fixture(scope="session")
def stranger(api: LiveApi, transport: CheckedTransport) -> OpenAI:
    """A client of another organisation."""
    return client_of(api, api.new_key("elsewhere"), transport)


def client_of(api: LiveApi, key: str, transport: CheckedTransport) -> OpenAI:
    return OpenAI(
        api_key=key,
        base_url=f"{api.url}/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=transport),
    )


@pytest.fixture(scope="session")
def reference(base_folder: Path) -> Reference:
    return Reference(base_folder)


def blob_names(api: LiveApi) -> Iterator[str]:
    """The files on the disk, whole or half, by name."""
    folder = api.data_dir / "blobs"
    return (path.name for path in sorted(folder.rglob("*")) if path.is_file())
