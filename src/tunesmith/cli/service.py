"""Finding the service of a data folder, or starting one: for the demo, tests and benchmarks."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tunesmith.cli.serve import running_at
from tunesmith.domain.errors import TunesmithError

START_TIMEOUT_S = 60.0
POLL_S = 0.02


@dataclass(frozen=True)
class Service:
    """A service that answers."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes] | None  # None: it was running before we came

    @property
    def key(self) -> str:
        """The first admin key."""
        return (self.data_dir / "api-key").read_text().strip()


@contextmanager
def running_service(
    data_dir: Path, log_path: Path, port: int = 0, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """The service of `data_dir`: the one that runs, or one that is started and stopped again.

    Raises TunesmithError if it doesn't come up; its log is in `log_path`.
    """
    url = running_at(data_dir)
    if url:
        yield Service(url, data_dir, None)
        return
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tunesmith", "serve", "--port", str(port)]
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir)], stdout=log, stderr=log, env=environment
        )
    try:
        yield Service(_healthy_url(data_dir, process, log_path), data_dir, process)
    finally:
        process.terminate()
        process.wait()


def _healthy_url(data_dir: Path, process: subprocess.Popen[bytes], log_path: Path) -> str:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        url = running_at(data_dir)
        if url and _is_healthy(url):
            return url
        time.sleep(POLL_S)
    raise TunesmithError(f"The service did not start; its log is {log_path}.")


def _is_healthy(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", timeout=START_TIMEOUT_S).status_code == 200
    except httpx2.TransportError:
        return False
