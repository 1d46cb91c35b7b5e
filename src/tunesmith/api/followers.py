"""Live events: told as they happen, to whoever stays on the line (behaviour reference, 20.5).

The trainer is another process and the store is where the two meet, so a follower looks there now
and then. In between it takes no thread, only its connection; so there may be some dozens, and not
thousands. It ends when everything is told and the job has ended. If it breaks off before that, with
the server say, the client is not told `[DONE]` and knows that there was more.
"""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio
from fastapi.concurrency import run_in_threadpool

from tunesmith.domain import errors
from tunesmith.domain.jobs import Event
from tunesmith.wire.base import Reply
from tunesmith.wire.generation import END_OF_STREAM, server_sent

LOOK_INTERVAL_S = 0.5
KEEP_ALIVE_INTERVAL_S = 15.0  # proxies give up on silence, most of them after a minute
KEEP_ALIVE = b": keep-alive\n\n"  # a comment: no client takes it for an event

# The events since the one with this id (None: all), and whether the job had ended before.
Look = Callable[[str | None], tuple[Sequence[Event], bool]]


class FollowerRoom:
    """How many there may be at once, in all and of one project."""

    def __init__(self, most: int, most_of_project: int) -> None:
        self._most = most
        self._most_of_project = most_of_project
        self._followers: Counter[str] = Counter()

    @contextmanager
    def place(self, project_id: str) -> Iterator[None]:
        """Raises RateLimited."""
        if self._followers[project_id] >= self._most_of_project:
            raise self._full(f"{self._most_of_project} streams of this project's events are open")
        if self._followers.total() >= self._most:
            raise self._full(f"{self._most} streams of events are open on this service")
        self._followers[project_id] += 1
        try:
            yield
        finally:
            self._followers[project_id] -= 1
            if not self._followers[project_id]:
                del self._followers[project_id]

    @staticmethod
    def _full(what: str) -> errors.RateLimited:
        return errors.RateLimited(
            f"{what}, as many as there may be. Close one, or ask for the events without "
            "'stream' now and then."
        )


async def follow(
    room: FollowerRoom, project_id: str, look: Look, write: Callable[[Event], Reply]
) -> AsyncGenerator[bytes]:
    """The stream's bytes. Raises RateLimited before the first."""
    with room.place(project_id):
        last: str | None = None
        told_at = -KEEP_ALIVE_INTERVAL_S  # so that the answer begins at once, whatever there is
        while True:
            events, has_ended = await run_in_threadpool(look, last)
            if events:
                last = events[-1].id
                yield b"".join(server_sent(write(event).model_dump()) for event in events)
                told_at = time.monotonic()
            elif has_ended:
                yield END_OF_STREAM
                return
            elif time.monotonic() - told_at >= KEEP_ALIVE_INTERVAL_S:
                yield KEEP_ALIVE
                told_at = time.monotonic()
            if not has_ended:
                await anyio.sleep(LOOK_INTERVAL_S)
