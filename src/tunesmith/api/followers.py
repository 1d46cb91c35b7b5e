"""Live events: told as they happen, to whoever stays on the line (behaviour reference, 20.5).

The trainer is another process and the store is where the two meet, so a follower looks there now
and then. In between it takes no thread, only its connection; so there may be some dozens, and not
thousands. It ends when everything is told and the job has ended. If it breaks off before that, with
the server or the caller's key say, the client is not told `[DONE]` and knows that there was more.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi.concurrency import run_in_threadpool

from tunesmith.api.errors import envelope
from tunesmith.domain import errors
from tunesmith.domain.jobs import Event
from tunesmith.wire.base import Reply
from tunesmith.wire.generation import END_OF_STREAM, server_sent

KEEP_ALIVE = b": keep-alive\n\n"  # a comment: no client takes it for an event


@dataclass(frozen=True)
class News:
    events: Sequence[Event]
    position: int  # to look from the next time
    has_ended: bool  # the job: these events are the last


Look = Callable[[int], News]  # what is new behind a position


@dataclass(frozen=True)
class FollowerLimits:
    most: int = 64  # at once; with the interval below, 128 looks a second
    most_of_project: int = 16
    look_interval_s: float = 0.5
    keep_alive_s: float = 15.0  # proxies give up on silence, most of them after a minute


class Followers:
    """Whoever follows a job at the moment."""

    def __init__(self, limits: FollowerLimits) -> None:
        self._limits = limits
        self._counts: Counter[str] = Counter()  # by project

    @property
    def count(self) -> int:
        return self._counts.total()

    async def follow(
        self, project_id: str, look: Look, write: Callable[[Event], Reply]
    ) -> AsyncGenerator[bytes]:
        """The stream's bytes. Raises RateLimited, or what `look` raises, before the first; what it
        raises later is told."""
        with self._place(project_id):
            position = 0
            told_at = -math.inf  # so that the answer begins at once, whatever there is to tell
            while True:
                try:
                    news = await run_in_threadpool(look, position)
                except errors.TunesmithError as error:
                    if told_at == -math.inf:
                        raise
                    yield server_sent(envelope(error).model_dump())
                    return
                position = news.position
                if news.events:
                    yield b"".join(server_sent(write(event).model_dump()) for event in news.events)
                    told_at = time.monotonic()
                if news.has_ended:
                    yield END_OF_STREAM
                    return
                if time.monotonic() - told_at >= self._limits.keep_alive_s:
                    yield KEEP_ALIVE
                    told_at = time.monotonic()
                await asyncio.sleep(self._limits.look_interval_s)

    @contextmanager
    def _place(self, project_id: str) -> Iterator[None]:
        if self._counts[project_id] >= self._limits.most_of_project:
            raise _too_many("This project's", self._limits.most_of_project)
        if self.count >= self._limits.most:
            raise _too_many("This service's", self._limits.most)
        self._counts[project_id] += 1
        try:
            yield
        finally:
            self._counts[project_id] -= 1
            if not self._counts[project_id]:
                del self._counts[project_id]


def _too_many(whose: str, most: int) -> errors.RateLimited:
    return errors.RateLimited(
        f"{whose} open streams of events are as many as there may be at once, {most}. Close one, "
        "or ask for the events without 'stream' now and then."
    )
