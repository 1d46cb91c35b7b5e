"""Keeps the parts running: starts them, restarts those that die, stops them together.

The supervisor opens the listening sockets itself and hands them down. So a port that is taken
is known before anything starts, a request that arrives while its process is still loading (or
being restarted) waits in the socket's queue, and an engine that nobody asks for is not started
at all: its socket is watched here until the first connection knocks.

Little more than the standard library: this process stays small and has little to crash on.
"""

import logging
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tunesmith.domain.errors import TunesmithError

log = logging.getLogger("tunesmith.supervisor")

TICK_S = 0.1
STOP_GRACE_S = 15.0
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
STEADY_S = 60.0  # a child that lived this long is forgiven its earlier deaths

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Words of a child's command that become the numbers of what is handed down.
LIFELINE = "{lifeline}"
LISTENER = "{listener}"


@dataclass
class Child:
    """One part: how to start it, and how it fares."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    listener: socket.socket | None = None  # handed down
    starts_on_demand: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_after: float = 0.0
    num_deaths: int = 0

    def backoff_s(self) -> float:
        return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (self.num_deaths - 1))


@dataclass
class Supervisor:
    """`run()` returns when everything has stopped."""

    children: list[Child]
    _is_stopping: bool = False
    _knocks: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _lifeline: tuple[int, int] = field(default_factory=os.pipe)

    def run(self) -> None:
        """Runs the children until one of `STOP_SIGNALS`; leaves no process behind."""
        with self._signals_handled():
            try:
                self._watch()
            finally:
                self._stop_all()
                self._knocks.close()
                for end in self._lifeline:
                    os.close(end)

    def _watch(self) -> None:
        for child in self.children:
            if child.starts_on_demand and child.listener:
                self._knocks.register(child.listener, selectors.EVENT_READ, child)
        while not self._is_stopping:
            for child in self.children:
                self._look_after(child)
            self._answer_knocks()
        log.info("stopping")

    def _look_after(self, child: Child) -> None:
        if child.process is None:
            if not child.starts_on_demand and time.monotonic() >= child.start_after:
                self._start(child)
        elif child.process.poll() is not None:
            self._bury(child)

    def _start(self, child: Child) -> None:
        fds = [self._lifeline[0]]
        words = {LIFELINE: str(self._lifeline[0])}
        if child.listener is not None:
            fds.append(child.listener.fileno())
            words[LISTENER] = str(child.listener.fileno())
        command = [words.get(word, word) for word in child.command]
        child.started_at = time.monotonic()
        try:
            child.process = subprocess.Popen(command, env=child.environment, pass_fds=fds)
        except OSError as error:  # no memory for another process, say
            self._note_death(child, f"could not start: {error}")
            return
        log.info("%s started (process %d)", child.name, child.process.pid)

    def _bury(self, child: Child) -> None:
        """A child died on its own: say so, and set the time of its next start."""
        assert child.process is not None, "only a process that ran can have died"
        code, child.process = child.process.returncode, None
        self._note_death(child, f"signal {-code}" if code < 0 else f"exit code {code}")

    def _note_death(self, child: Child, cause: str) -> None:
        if time.monotonic() - child.started_at > STEADY_S:
            child.num_deaths = 0
        child.num_deaths += 1
        child.start_after = time.monotonic() + child.backoff_s()
        log.warning(
            "%s ended (%s); starting it again in %.1f s",
            child.name,
            cause,
            child.backoff_s(),
        )

    def _answer_knocks(self) -> None:
        """Waits one tick; a first connection to a sleeping engine wakes it."""
        if not self._knocks.get_map():
            time.sleep(TICK_S)
            return
        for key, _ in self._knocks.select(TICK_S):
            child: Child = key.data
            child.starts_on_demand = False
            self._knocks.unregister(key.fileobj)

    def _stop_all(self) -> None:
        for child in self.children:
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + STOP_GRACE_S
        for child in self.children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop in time and is killed", child.name)
                child.process.kill()
                child.process.wait()

    @contextmanager
    def _signals_handled(self) -> Iterator[None]:
        def stop(_number: int, _frame: object) -> None:
            self._is_stopping = True

        before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that can be handed to a child. Port 0 takes a free one.

    Raises TunesmithError if the port is taken, or the address isn't this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        cause = error.strerror if isinstance(error, OSError) else str(error)
        raise TunesmithError(
            f"Can't listen on {host} port {port}: {cause}. Choose another with --port."
        ) from error
    return listener
