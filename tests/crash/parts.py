"""The test's side of `launcher.py`: parts of the service that die when and where a test says."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tests import processes
from tests.crash.strikes import Point

REPOSITORY = Path(__file__).parents[2]
WAIT_S = 120.0


@dataclass(frozen=True)
class Part:
    """A worker or an API that was started."""

    process_id: int
    trace: Path

    @property
    def is_alive(self) -> bool:
        return processes.is_alive(self.process_id)

    def labels(self) -> list[str]:
        """Of its durable writes so far, in their order."""
        lines = self.trace.read_text().splitlines() if self.trace.exists() else []
        return [line for line in lines if line != "STRUCK"]

    @property
    def was_struck(self) -> bool:
        return self.trace.exists() and self.trace.read_text().endswith("STRUCK\n")

    def wait(self) -> None:
        """Until it has died."""
        processes.wait_until_gone([self.process_id], WAIT_S)

    def stop(self) -> None:
        """As a supervisor does it."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.is_alive:
            os.kill(self.process_id, number)
        self.wait()


@dataclass(frozen=True)
class Launcher:
    data_dir: Path
    process: subprocess.Popen[str]
    log: Path  # of all parts together
    settings: Mapping[str, Any]
    listener: socket.socket  # of APIs
    started: list[Part] = field(default_factory=list)

    def on(self, data_dir: Path) -> "Launcher":
        """The same, for another data folder."""
        return replace(self, data_dir=data_dir)

    def start(
        self,
        part: str,
        point: Point | None = None,
        *,
        after_s: float | None = None,
        cut: bool = False,
    ) -> Part:
        """`worker` or `api`; it dies at `point`, or after some seconds, or when it is told."""
        trace = self.log.with_name(f"trace-{len(self.started)}")
        order = {
            "part": part,
            "data_dir": str(self.data_dir),
            "trace": str(trace),
            "point": point and asdict(point),
            "after_s": after_s,
            "cut": cut,
            "settings": dict(self.settings),
            "listener": self.listener.fileno(),
        }
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the launcher has ended: {self.log.read_text()[-4000:]}"
        self.started.append(Part(int(line), trace))
        return self.started[-1]


@contextmanager
def launcher(
    folder: Path, listener: socket.socket, settings: Mapping[str, Any]
) -> Iterator[Launcher]:
    """Log, traces and, until `on` says otherwise, the data go into `folder`. Nothing outlives the
    block."""
    log = folder / "parts.log"
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.launcher"],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            pass_fds=[listener.fileno()],
        )
    ours = Launcher(folder, process, log, settings, listener)
    try:
        yield ours
    finally:
        for part in ours.started:
            part.kill()
        with process:
            assert process.stdin
            process.stdin.close()


def wait_until(condition: Any, what: str, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not after {timeout_s:.0f} s"
        time.sleep(0.01)
