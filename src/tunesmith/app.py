"""Where everything is built and connected: one function for each part of the service.

Settings are read once, by the command line, and handed down from here in slices. Torch is
imported inside the functions of the parts that need it, never for the API.
"""

import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tunesmith.catalog import base_of, engine_key, read_catalog
from tunesmith.disk import sync
from tunesmith.domain.ids import Ids
from tunesmith.domain.models import EnginePlace
from tunesmith.domain.tenancy import RateLimits
from tunesmith.modeling.downloads import Downloads
from tunesmith.settings import Settings
from tunesmith.store.store import Store, open_store
from tunesmith.store.tenants import new_key

KEY_FILE = "api-key"
ADAPTERS_FOLDER = "adapters"
RUNS_FOLDER = "runs"
REPORTS_FOLDER = "reports"
BASE_NAME = "base"  # what our engines call their bare base model
SHUTDOWN_GRACE_S = 5
MANY_FILES = 65_536  # not every system takes "no limit" for an answer
IDS = Ids()


def now() -> datetime:
    return datetime.now(UTC)


def open_data(settings: Settings) -> closing[Store]:
    """The store of the data folder, up to date; closed at the end of a `with` block."""
    store = open_store(
        settings.data_dir, ids=IDS, clock=now, max_active_jobs=settings.max_active_jobs
    )
    return closing(store)


def serve_api(settings: Settings, listener: socket.socket, engine_urls: Mapping[str, str]) -> None:
    """Runs the API on `listener` until SIGTERM; `engine_urls`: folder of weights → URL.

    Raises BadSetting if the key of a remote engine isn't where the catalogue says.
    """
    import uvicorn

    from tunesmith.adapters.shelf import AdapterShelf
    from tunesmith.api.app import create_api
    from tunesmith.api.context import ApiLimits, Services
    from tunesmith.api.engines import EngineClient
    from tunesmith.api.rate_limits import Rates
    from tunesmith.api.report_desk import ReportDesk
    from tunesmith.api.serving import ModelDirectory
    from tunesmith.api.transport import ConnectionLimits, ServerConfig
    from tunesmith.api.vllm import VllmClient

    catalog = read_catalog(settings.data_dir)
    wait_s = settings.engine_wait_s
    engines = {
        EnginePlace(source): EngineClient(
            url, settings.engine_token, base_name=BASE_NAME, wait_s=wait_s
        )
        for source, url in engine_urls.items()
    }
    for place in catalog.engine_places():
        if place.remote is not None:
            key = engine_key(place.remote, os.environ)
            engines[place] = VllmClient(place.remote, key, wait_s=wait_s)
    shelf = AdapterShelf((settings.data_dir / ADAPTERS_FOLDER).absolute())
    default = base_of(catalog, settings.default_model).engine_place
    models = ModelDirectory(engines, shelf, always_on={default} & engines.keys(), wait_s=wait_s)
    limits = ApiLimits(
        max_upload_bytes=settings.max_upload_bytes,
        max_upload_total_bytes=settings.max_upload_total_bytes,
        max_upload_part_bytes=settings.max_upload_part_bytes,
        max_body_bytes=settings.max_body_bytes,
        completions_stored_for=timedelta(days=settings.stored_completion_days),
        max_stored_bytes=settings.stored_completion_bytes,
    )
    connections = ConnectionLimits(
        max_connections=settings.max_connections,
        head_timeout_s=settings.head_timeout_s,
        stall_timeout_s=settings.stall_timeout_s,
        keep_alive_s=settings.keep_alive_s,
    )
    with open_data(settings) as store:
        _bootstrap(store, settings)
        reports_folder = (settings.data_dir / REPORTS_FOLDER).absolute()
        reports = ReportDesk(reports_folder, store.blobs, settings.report_timeout_s)
        rates = Rates(RateLimits(settings.requests_per_minute, settings.tokens_per_minute))
        api = create_api(Services(store, catalog, models, reports, IDS, now, limits, rates))
        # Before uvicorn listens to these two, and again after it has stopped by one of them.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit(0))
        config = ServerConfig(api, IDS, connections, SHUTDOWN_GRACE_S)
        _allow_open_files()
        uvicorn.Server(config).run(sockets=[listener])


def serve_engine(
    settings: Settings, listener: socket.socket, source: str | None, model: str | None = None
) -> None:
    """Runs the engine of a folder of weights until SIGTERM. `source` None: the folder of a base
    model of the catalogue, the default model if `model` is None too.

    Raises Unavailable if the weights come from a hub and can't be downloaded.
    """
    catalog = read_catalog(settings.data_dir)
    folder = source or base_of(catalog, model or settings.default_model).source
    base = catalog.of_source(folder)
    if base is not None:
        Downloads().fetch(base)
    _share_processors()
    from tunesmith.inference.process import EngineOptions
    from tunesmith.inference.process import serve_engine as run_engine

    adapters_folder = (settings.data_dir / ADAPTERS_FOLDER).absolute()
    adapters_folder.mkdir(parents=True, exist_ok=True)
    options = EngineOptions(
        source=Path(folder),
        base_name=BASE_NAME,
        adapters_folder=adapters_folder,
        token=settings.engine_token,
        device=settings.device,
        num_threads=settings.num_threads,
        cache_tokens=settings.engine_cache_tokens,
        max_sequences=settings.engine_max_sequences,
        max_step_tokens=settings.engine_step_tokens,
        num_adapter_slots=settings.engine_adapter_slots,
    )
    run_engine(options, listener)


def run_worker(settings: Settings) -> None:
    """Runs a trainer until SIGTERM or SIGINT; a job in hand is put back with a snapshot."""
    _share_processors()
    from tunesmith.adapters.shelf import AdapterShelf
    from tunesmith.jobs.bench import Bench
    from tunesmith.jobs.stages import Workshop
    from tunesmith.jobs.worker import Worker
    from tunesmith.modeling.device import set_up_process

    set_up_process(settings.num_threads)
    with open_data(settings) as store:
        workshop = Workshop(
            store=store,
            ids=IDS,
            clock=now,
            catalog=read_catalog(settings.data_dir),
            shelf=AdapterShelf((settings.data_dir / ADAPTERS_FOLDER).absolute()),
            runs_folder=settings.data_dir / RUNS_FOLDER,
            reports_folder=settings.data_dir / REPORTS_FOLDER,
            bench=Bench(settings.device, settings.idle_unload_s),
            downloads=Downloads(),
            reported_lines=settings.reported_lines,
            snapshot_interval_s=settings.snapshot_interval_s,
            result_file_format=settings.result_file_format,
        )
        name = f"{socket.gethostname()}-{os.getpid()}"
        worker = Worker(workshop, name, settings.lease_s)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        worker.run()


def _share_processors() -> None:
    """Has torch's idle threads sleep instead of spinning; it reads this when it is imported.

    Engine and trainer share the processors with each other and with whatever else runs. Threads
    that spin while they wait take the time of those they wait for: on two busy cores a training
    step took 379 ms with two spinning threads and 79 ms with one thread.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _allow_open_files() -> None:
    """As many as the system lets us have. What most shells start a process with, 1024, is less
    than two per connection: its own, and one to an engine."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _bootstrap(store: Store, settings: Settings) -> None:
    """The first organisation and its admin key: from the environment, from the last start, or
    new. A new one is printed, once. Only the API does this: other commands must not change keys
    or names under a running service."""
    path = settings.data_dir / KEY_FILE
    kept = path.read_text().strip() if path.is_file() else None
    key = settings.api_key or kept or new_key()
    if key != kept:
        _keep_secret(path, key)
    store.tenants.ensure_first(settings.org_name, key)
    if kept is None and settings.api_key is None:
        print(f"Your API key, kept in {path}: {key}", flush=True)


def _keep_secret(path: Path, text: str) -> None:
    """Written under another name first: never half a key, never readable by others. What a crash
    left under that name is overwritten."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    sync(path.parent)
