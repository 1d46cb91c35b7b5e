"""Base models of a hub on this machine: fetched once, whole or not at all.

    <data-dir>/models/Qwen--Qwen3-0.6B--main/         a model, as any other folder of weights
    <data-dir>/models/Qwen--Qwen3-0.6B--main.part/    one that is being fetched
    <data-dir>/models/Qwen--Qwen3-0.6B--main.lock     held by the process that does it

API, engine, trainer and command line may all want a model at once. Whoever has the lock fetches it,
the others wait; the kernel frees the lock of a process that ends, however it ends.
"""

import fcntl
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunesmith.disk import sync
from tunesmith.domain import errors
from tunesmith.domain.models import BaseModel, HubRepository
from tunesmith.modeling import hub
from tunesmith.modeling.hub import MB

log = logging.getLogger("tunesmith.downloads")

LOG_INTERVAL_S = 3.0
FAILURE_KEPT_S = 5.0  # so long a failure is the answer to all who ask, before it is tried again


class Download:
    """One model on its way, in a thread that ends with the process."""

    def __init__(self, repository: HubRepository, folder: Path) -> None:
        self.repository = repository
        self._folder = folder
        self._part = folder.with_name(folder.name + ".part")
        self._file = ""  # that is being fetched
        self._done = threading.Event()
        self._error: errors.TunesmithError | None = None
        self._ended_at = 0.0
        self._thread = threading.Thread(target=self._run, name=f"fetch-{folder.name}", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether the model is there, after waiting for it. Raises what stands in the way:
        Unavailable, UnsupportedModel."""
        is_done = self._done.wait(timeout_s)
        if self._error:
            raise type(self._error)(
                self._error.message, param=self._error.param, code=self._error.code
            )
        return is_done

    def state(self) -> str:
        """How far it is, in words."""
        measured = hub.progress(self._part)
        if measured is None:
            return "it has just begun"
        done, total = measured
        return f"{done / MB:.0f} of {total / MB:.0f} MB are there"

    @property
    def is_settled(self) -> bool:
        """Whether asking again is in vain: it goes on, or failed only a moment ago."""
        return not self._done.is_set() or (
            self._error is not None and time.monotonic() - self._ended_at < FAILURE_KEPT_S
        )

    def _run(self) -> None:
        try:
            with _locked(self._folder.with_name(self._folder.name + ".lock")):
                if not is_here(self._folder):  # whoever had the lock before may have fetched it
                    self._fetch()
        except errors.TunesmithError as error:
            log.error("%s", error)
            self._error = error
        except Exception:  # whoever waits must hear of it
            log.exception("the download of %s broke off", self.repository.id)
            self._error = hub.unavailable(
                self.repository, "the service's operator finds the cause in its log."
            )
        self._ended_at = time.monotonic()
        self._done.set()

    def _fetch(self) -> None:
        log.info("downloading %s (%s)", self.repository.id, self.repository.revision)
        started = time.monotonic()
        fetched = threading.Event()
        teller = threading.Thread(target=self._tell, args=[fetched], daemon=True)
        teller.start()
        try:
            hub.fetch(self.repository, self._part, self._note)
        finally:
            fetched.set()
            teller.join()
        self._part.rename(self._folder)
        sync(self._folder.parent)
        log.info("%s is there, after %.1f s", self.repository.id, time.monotonic() - started)

    def _note(self, file: str) -> None:
        self._file = file

    def _tell(self, fetched: threading.Event) -> None:
        """Says in the log how it goes, every few seconds."""
        before = hub.progress(self._part)
        while not fetched.wait(LOG_INTERVAL_S):
            now = hub.progress(self._part)
            if now is not None:
                speed = (now[0] - (before or now)[0]) / LOG_INTERVAL_S
                log.info(
                    "%s: %s, %.1f of %.1f MB, %.1f MB/s",
                    self.repository.id,
                    self._file,
                    now[0] / MB,
                    now[1] / MB,
                    speed / MB,
                )
            before = now


class Downloads:
    """Those of this process, one a folder."""

    def __init__(self) -> None:
        self._by_folder: dict[str, Download] = {}
        self._lock = threading.Lock()

    def start(self, base: BaseModel) -> Download | None:
        """None if the model is here; else its download, begun if need be."""
        if base.hub is None or is_here(Path(base.source)):
            return None
        with self._lock:
            download = self._by_folder.get(base.source)
            if download is None or not download.is_settled:
                download = Download(base.hub, Path(base.source))
                self._by_folder[base.source] = download
        return download

    def fetch(self, base: BaseModel) -> None:
        """Returns when the model is here. Raises what stands in the way."""
        download = self.start(base)
        if download is not None:
            download.wait()


def is_here(folder: Path) -> bool:
    return (folder / "config.json").is_file()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
