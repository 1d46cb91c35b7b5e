"""Gives an engine its thread, and an event loop a way to talk to it.

The engine belongs to its thread alone. What others want of it is put into a queue as a command
and done between two steps; what it tells goes back to the event loop, once a step. A slow client
never holds the engine up: what it hasn't fetched waits for it, joined.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from tunesmith.domain import errors
from tunesmith.inference.adapter_slots import KnownAdapter
from tunesmith.inference.engine import Delta, Engine, Request, join
from tunesmith.inference.grammar import usable
from tunesmith.inference.sequence import Sequence
from tunesmith.modeling.lora import LoraAdapter

log = logging.getLogger("tunesmith.engine")

T = TypeVar("T")
LoadAdapter = Callable[[Path], LoraAdapter]


class EngineThread:
    """Its async methods and its completions belong to the event loop that called `start`."""

    def __init__(
        self, engine: Engine, load_adapter: LoadAdapter, on_death: Callable[[], None] = lambda: None
    ) -> None:
        """`load_adapter` raises TunesmithError for a folder that can't be used; `on_death` is
        called, in the engine's thread, if that ends other than by `stop`."""
        self.limits = engine.limits
        self._engine = engine
        self._load_adapter = load_adapter
        self._on_death = on_death
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._completions: dict[Sequence, Completion] = {}
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        # Weights are read here, so that no stream falters meanwhile.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="adapters")

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Ends after the step that is under way; blocks until then."""
        self._commands.put(partial(setattr, self, "_is_stopping", True))
        self._thread.join()
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def submit(self, request: Request) -> "Completion":
        """Raises what `Engine.submit` raises. The caller cancels the completion, or sees to
        it that its deltas are fetched to the end."""
        request = await self._with_grammar(request)
        completion = Completion(self._end)
        try:
            await self._call(partial(self._begin, request, completion))
        except asyncio.CancelledError:
            completion.cancel()
            raise
        return completion

    async def adapters(self) -> list[KnownAdapter]:
        return await self._call(lambda: self._engine.adapters)

    async def add_adapter(self, name: str, folder: Path) -> None:
        """Raises InvalidRequest if the name is taken, UnsupportedModel if the files in the
        folder can't be used."""
        adapter = KnownAdapter(name, folder)
        weights = await asyncio.wrap_future(self._reader.submit(self._load_adapter, folder))
        await self._call(partial(self._engine.add_adapter, adapter, weights))

    async def remove_adapter(self, name: str) -> None:
        """Raises NotFound."""
        await self._call(partial(self._engine.remove_adapter, name))

    async def _with_grammar(self, request: Request) -> Request:
        """With its form compiled, elsewhere than in the engine's thread."""
        form = request.params.form
        if form is None:
            return request
        compiling = asyncio.wrap_future(self._engine.grammars.start(form))
        # Others may wait for the same one: who leaves doesn't cancel it.
        return replace(request, grammar=usable(await asyncio.shield(compiling)))

    async def _call(self, command: Callable[[], T]) -> T:
        """Has the engine's thread do it, and gives back what comes of it."""
        future: Future[T] = Future()
        self._commands.put(partial(_fulfil, future, command))
        return await asyncio.wrap_future(future)

    # What follows runs in the engine's thread.

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                deltas = self._engine.step()
                self._tell(deltas or ())
                for adapter in self._engine.missing_adapters():
                    self._reader.submit(self._read, adapter)
                self._do_commands(must_wait=deltas is None)
        finally:
            if not self._is_stopping:
                log.critical("the engine's bookkeeping broke; its thread ends", exc_info=True)
                self._on_death()

    def _do_commands(self, must_wait: bool) -> None:
        if must_wait:
            self._commands.get()()
        while not self._commands.empty():
            self._commands.get()()

    def _begin(self, request: Request, completion: "Completion") -> None:
        completion.sequences = self._engine.submit(request)
        completion.num_running = len(completion.sequences)
        for sequence in completion.sequences:
            self._completions[sequence] = completion

    def _end(self, completion: "Completion") -> None:
        """Called from the event loop; takes effect within a step."""

        def cancel() -> None:
            for sequence in completion.sequences:
                if self._completions.pop(sequence, None):
                    self._engine.cancel(sequence)

        self._commands.put(cancel)

    def _tell(self, deltas: Iterable[Delta]) -> None:
        news = [
            (self._completions[delta.sequence], delta)
            for delta in deltas
            if delta.sequence in self._completions
        ]
        for _, delta in news:
            if delta.is_end:
                del self._completions[delta.sequence]
        if news:
            self._loop.call_soon_threadsafe(_deliver, news)

    # This one runs in the reader's thread.

    def _read(self, adapter: KnownAdapter) -> None:
        try:
            weights = self._load_adapter(adapter.folder)
        except errors.TunesmithError as error:
            log.error("adapter %s can't be read any more: %s", adapter.name, error.message)
            # For its clients it is gone; they may load it again.
            gone = errors.NotFound(
                f"The model `{adapter.name}` does not exist.",
                param="model",
                code="model_not_found",
            )
            self._commands.put(lambda: self._tell(self._engine.fail_adapter(adapter, gone)))
        else:
            self._commands.put(partial(self._engine.place_adapter, adapter, weights))


class Completion:
    """A request under way, as the event loop sees it."""

    def __init__(self, end: Callable[["Completion"], None]) -> None:
        self.sequences: list[Sequence] = []
        self.num_running = 0
        self.news: asyncio.Queue[Delta] = asyncio.Queue()
        self._end = end

    async def deltas(self) -> AsyncIterator[list[Delta]]:
        """What is new each time one asks, at most one delta a sequence, until all have ended."""
        while self.num_running > 0:
            news: dict[Sequence, Delta] = {}
            delta = await self.news.get()
            while True:
                earlier = news.get(delta.sequence)
                news[delta.sequence] = join(earlier, delta) if earlier else delta
                self.num_running -= delta.is_end
                if self.news.empty():
                    break
                delta = self.news.get_nowait()
            yield list(news.values())

    def cancel(self) -> None:
        """Stops what is still running; nothing, if all has ended."""
        if self.num_running > 0 or not self.sequences:
            self._end(self)


def _deliver(news: list[tuple[Completion, Delta]]) -> None:
    for completion, delta in news:
        completion.news.put_nowait(delta)


def _fulfil(future: Future[T], command: Callable[[], T]) -> None:
    """As an executor does it: whatever the command raises is its caller's."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = command()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)
