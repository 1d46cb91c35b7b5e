"""Schemas on their way to a remote engine, tried out before.

A remote engine may take keywords that it then doesn't enforce, and some schemas take minutes or
gigabytes to compile. So what our own engines refuse is refused for it too, and what they say of it
is remembered.
"""

import asyncio
from collections import OrderedDict
from functools import partial

from fastapi.concurrency import run_in_threadpool

from tunesmith.domain import errors
from tunesmith.inference.grammar import Refused, usable
from tunesmith.inference.grammar_trial import try_out

MAX_KNOWN = 256  # schemas that are remembered
MAX_WAITING = 64
NUM_TRIALS = 2  # at once: each is a process


class SchemaTrials:
    def __init__(self) -> None:
        self._places = asyncio.Semaphore(NUM_TRIALS)
        self._num_waiting = 0
        self._known: OrderedDict[str, Refused | None] = OrderedDict()

    async def check(self, schema: str) -> None:
        """Raises InvalidRequest for a schema that can't be enforced, Unavailable if there are too
        many new ones."""
        if schema not in self._known:
            await self._try_out(schema)
        self._known.move_to_end(schema)
        refused = self._known[schema]
        if refused is not None:
            usable(refused)

    async def _try_out(self, schema: str) -> None:
        if self._num_waiting >= MAX_WAITING:
            raise errors.Unavailable(
                "There are too many new schemas to try out. Try again in a moment."
            )
        self._num_waiting += 1
        try:
            async with self._places:
                if schema not in self._known:
                    self._remember(schema, await run_in_threadpool(partial(_trial, schema)))
        finally:
            self._num_waiting -= 1

    def _remember(self, schema: str, refused: Refused | None) -> None:
        self._known[schema] = refused
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _trial(schema: str) -> Refused | None:
    try:
        try_out(schema)
    except ValueError as error:
        return Refused(str(error))
    return None
