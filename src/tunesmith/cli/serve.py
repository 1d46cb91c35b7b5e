"""`tunesmith serve`: which processes there are, and what each is told."""

import fcntl
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tunesmith.catalog import base_of, engine_key, read_catalog
from tunesmith.cli.supervisor import LIFELINE, LISTENER, Child, Supervisor, listen
from tunesmith.domain.errors import TunesmithError
from tunesmith.domain.models import Catalog
from tunesmith.settings import ENV_PREFIX, Settings

log = logging.getLogger("tunesmith.supervisor")

LOCK_FILE = "supervisor.lock"
LOCK_PATIENCE_S = 1.0  # whoever only looks if a service runs holds the lock for a moment
ENGINE_DELAY_S = 1.0  # API and trainer first: on two cores a third start would slow down both


def serve(flags: Mapping[str, Any], settings: Settings) -> None:
    """Runs API, trainer and one engine per base model that has no remote one, until told to stop.

    Raises TunesmithError if the port is taken, if another supervisor has the data folder, or if
    the key of a remote engine isn't there.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    catalog = read_catalog(settings.data_dir)
    for place in catalog.engine_places():
        if place.remote is not None:
            engine_key(place.remote, os.environ)  # better said now than by an API that can't start
    with _sole_supervisor(settings) as lock:
        listener = listen(settings.host, settings.port)
        url = _url(settings.host, listener.getsockname()[1])
        lock.write(url)
        lock.flush()
        log.info("listening on %s", url)
        environment = _environment(settings.engine_token or secrets.token_urlsafe(32))
        engines = _engines(flags, settings, catalog, environment)
        urls = [word for child in engines for word in ("--engine", _address(child))]
        common = _flags(flags, "data_dir", "device", "num_threads")
        children = [
            _child("api", [*_flags(flags, "data_dir", "org_name"), *urls], environment, listener),
            *engines,
            _child("worker", common, environment),
        ]
        try:
            Supervisor(children).run()
        finally:
            for child in children:
                if child.listener is not None:
                    child.listener.close()


def _engines(
    flags: Mapping[str, Any],
    settings: Settings,
    catalog: Catalog,
    environment: dict[str, str],
) -> list[Child]:
    """One engine per folder of weights. The default model's starts at once, others on demand."""
    default = base_of(catalog, settings.default_model).engine_place
    children = []
    for place in catalog.engine_places():
        source, remote = place
        if remote is not None:
            continue
        words = ["--source", source, *_flags(flags, "data_dir", "device", "num_threads")]
        child = _child("engine", words, environment, listen("127.0.0.1", 0))
        child.starts_on_demand = place != default
        child.start_after = time.monotonic() + ENGINE_DELAY_S
        children.append(child)
    return children


def _address(engine: Child) -> str:
    assert engine.listener is not None, "every engine listens"
    source = engine.command[engine.command.index("--source") + 1]
    return f"{source}=http://127.0.0.1:{engine.listener.getsockname()[1]}"


def _child(
    part: str,
    words: list[str],
    environment: dict[str, str],
    listener: socket.socket | None = None,
) -> Child:
    command = [sys.executable, "-m", "tunesmith", part, *words, "--lifeline", LIFELINE]
    if listener is not None:
        command += ["--fd", LISTENER]
    return Child(part, command, environment, listener)


def _environment(token: str) -> dict[str, str]:
    """The children share a secret, so that only this API can drive these engines."""
    return {**os.environ, ENV_PREFIX + "ENGINE_TOKEN": token}


def _flags(flags: Mapping[str, Any], *names: str) -> list[str]:
    """Those of the given flags, as words of a child's command line."""
    words = []
    for name in names:
        if flags.get(name) is not None:
            words += ["--" + name.replace("_", "-"), str(flags[name])]
    return words


@contextmanager
def _sole_supervisor(settings: Settings) -> Iterator[TextIO]:
    """Holds the data folder's lock; the kernel frees it when this process ends, however.

    The lock file holds the service's address, for commands on the same machine.
    """
    with (settings.data_dir / LOCK_FILE).open("a") as file:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while not _try_lock(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise TunesmithError(
                    f"Another `tunesmith serve` is running on {settings.data_dir}. Stop it first, "
                    "or choose another folder with --data-dir."
                )
            time.sleep(0.05)
        file.truncate(0)
        yield file


def running_at(data_dir: Path) -> str | None:
    """The address of the service that runs on `data_dir`, if one does."""
    path = data_dir / LOCK_FILE
    if not path.is_file():
        return None
    with path.open() as file:
        is_free = _try_lock(file, fcntl.LOCK_SH)
        return None if is_free else file.read().strip() or None


def _try_lock(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
