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
from tunesmith.inference.grammar import Form, Refused, refused, schemas_of, usable
from tunesmith.inference.grammar_trial import try_out

MAX_KNOWN = 256  # schemas that are remembered
MAX_WAITING = 64
NUM_TRIALS = 2  # at once: each is a process


class SchemaTrials:
    def __init__(self) -> None:
        self._places = asyncio.Semaphore(NUM_TRIALS)
        self._num_waiting = 0
        self._known: OrderedDict[Form, Refused | None] = OrderedDict()

    async def check(self, form: Form) -> None:
        """Raises InvalidRequest for a form whose schemas can't be enforced, Unavailable if there
        are too many new ones."""
        if form not in self._known:
            await self._try_out(form)
        self._known.move_to_end(form)
        if (known := self._known[form]) is not None:
            usable(known)

    async def _try_out(self, form: Form) -> None:
        if self._num_waiting >= MAX_WAITING:
            raise errors.Unavailable(
                "There are too many new schemas to try out. Try again in a moment."
            )
        self._num_waiting += 1
        try:
            async with self._places:
                if form not in self._known:
                    self._remember(form, await run_in_threadpool(partial(_trial, form)))
        finally:
            self._num_waiting -= 1

    def _remember(self, form: Form, outcome: Refused | None) -> None:
        self._known[form] = outcome
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _trial(form: Form) -> Refused | None:
    try:
        try_out(schemas_of(form))
    except ValueError as error:
        return refused(form, error)
    return None
