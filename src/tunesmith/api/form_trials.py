"""Forms of answers on their way to a remote engine, tried out before: schemas, and tags with them.

A remote engine may take keywords that it then doesn't enforce, and some schemas take minutes or
gigabytes to compile. So what our own engines refuse is refused for it too, and what they say of it
is remembered.
"""

import asyncio
from collections import OrderedDict

from fastapi.concurrency import run_in_threadpool

from tunesmith.domain import errors
from tunesmith.inference.grammar import Form, Refused, try_form
from tunesmith.inference.tag_grammar import FindControl

MAX_KNOWN = 256  # forms that are remembered
MAX_WAITING = 64
NUM_TRIALS = 2  # at once: each is a process


class FormTrials:
    def __init__(self) -> None:
        self._places = asyncio.Semaphore(NUM_TRIALS)
        self._num_waiting = 0
        self._known: OrderedDict[Form, Refused | None] = OrderedDict()

    async def check(self, form: Form, control_tokens: FindControl) -> None:
        """Raises InvalidRequest for a form that can't be enforced, Unavailable if there are too
        many new ones."""
        if form not in self._known:
            await self._try_out(form, control_tokens)
        self._known.move_to_end(form)
        if (refused := self._known[form]) is not None:
            raise refused.error()

    async def _try_out(self, form: Form, control_tokens: FindControl) -> None:
        if self._num_waiting >= MAX_WAITING:
            raise errors.Unavailable(
                "There are too many new schemas to try out. Try again in a moment."
            )
        self._num_waiting += 1
        try:
            async with self._places:
                if form not in self._known:
                    refused = await run_in_threadpool(try_form, form, control_tokens)
                    self._remember(form, refused)
        finally:
            self._num_waiting -= 1

    def _remember(self, form: Form, refused: Refused | None) -> None:
        self._known[form] = refused
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
