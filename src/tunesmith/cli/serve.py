"""`tunesmith serve`: which processes there are, and what each is told."""

import fcntl
import logging
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tunesmith.catalog import read_catalog, source_of
from tunesmith.cli.supervisor import LIFELINE, LISTENER, Child, Supervisor, listen
from tunesmith.domain.errors import TunesmithError
from tunesmith.domain.models import Catalog
from tunesmith.settings import ENV_PREFIX, Settings

log = logging.getLogger("tunesmith.supervisor")

LOCK_FILE = "supervisor.lock"
ENGINE_DELAY_S = 1.0  # API and trainer first: on two cores a third start would slow down both


def serve(flags: Mapping[str, Any], settings: Settings) -> None:
    """Runs API, trainer and one engine per base model until told to stop.

    Raises TunesmithError if the port is taken or another supervisor has the data folder.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    catalog = read_catalog(settings.data_dir)
    with _sole_supervisor(settings) as lock:
        try:
            listener = listen(settings.host, settings.port)
        except OSError as error:
            raise TunesmithError(
                f"Can't listen on {settings.host} port {settings.port}: {error.strerror}. "
                "Choose another with --port."
            ) from error
        url = f"http://{settings.host}:{listener.getsockname()[1]}"
        lock.write(url)
        lock.flush()
        log.info("listening on %s", url)
        engines = _engines(flags, settings, catalog)
        urls = [word for child in engines for word in ("--engine", _address(child))]
        common = _flags(flags, "data_dir", "device", "num_threads")
        children = [
            _child(settings, "api", [*_flags(flags, "data_dir", "org_name"), *urls], listener),
            *engines,
            _child(settings, "worker", common),
        ]
        try:
            Supervisor(children).run()
        finally:
            for child in children:
                if child.listener is not None:
                    child.listener.close()


def _engines(flags: Mapping[str, Any], settings: Settings, catalog: Catalog) -> list[Child]:
    """One engine per folder of weights. The default model's starts at once, others on demand."""
    default = source_of(catalog, settings.default_model)
    children = []
    for source in catalog.sources():
        words = ["--source", source, *_flags(flags, "data_dir", "device", "num_threads")]
        child = _child(settings, "engine", words, listen("127.0.0.1", 0))
        child.starts_on_demand = source != default
        child.start_after = time.monotonic() + ENGINE_DELAY_S
        children.append(child)
    return children


def _address(engine: Child) -> str:
    assert engine.listener is not None, "every engine listens"
    source = engine.command[engine.command.index("--source") + 1]
    return f"{source}=http://127.0.0.1:{engine.listener.getsockname()[1]}"


def _child(settings: Settings, part: str, words: list[str], listener: Any = None) -> Child:
    command = [sys.executable, "-m", "tunesmith", part, *words, "--lifeline", LIFELINE]
    if listener is not None:
        command += ["--fd", LISTENER]
    return Child(part, command, _environment(settings), listener)


def _environment(settings: Settings) -> dict[str, str]:
    """The children share a secret, so that only this API can drive these engines."""
    name = ENV_PREFIX + "ENGINE_TOKEN"
    if name not in os.environ:
        os.environ[name] = settings.engine_token or secrets.token_urlsafe(32)
    return dict(os.environ)


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
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TunesmithError(
                f"Another `tunesmith serve` is running on {settings.data_dir}. Stop it first, or "
                "choose another folder with --data-dir."
            ) from error
        file.truncate(0)
        yield file


def running_at(data_dir: Path) -> str | None:
    """The address of the service that runs on `data_dir`, if one does."""
    path = data_dir / LOCK_FILE
    if not path.is_file():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or None
    return None
