"""Reports on files, made by processes of their own: a few at a time, the others wait.

Those of one organisation are made one after the other, and organisations take turns: whoever asks
for one waits for its own, and for at most one of each other organisation.

A survey takes a minute of a processor for a file of 50 MB. In a thread of this process it would
hold up every other request; in a process it can also be ended. What was asked for is finished
and kept even if the client has gone, so that asking again gets it at once.
"""

import asyncio
import logging
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread

from tunesmith.domain import errors
from tunesmith.domain.examples import Format
from tunesmith.domain.files import StoredFile
from tunesmith.domain.models import BaseModel
from tunesmith.domain.pages import Page
from tunesmith.domain.surveys import ExampleNote, Survey
from tunesmith.store.blobs import Blobs

if TYPE_CHECKING:
    from tunesmith.jobs.surveys import SurveyTask

log = logging.getLogger("tunesmith.api")

PROCESSES = 2
MAX_WAITING = 4  # reports of one organisation, in work or waiting
MAX_WAITING_IN_ALL = 128
MAX_PROBLEMS = 1000  # told one by one


class ReportDesk:
    def __init__(self, folder: Path, blobs: Blobs, timeout_s: float) -> None:
        """Reports are kept in `folder`, one folder a file; `jobs/janitor.py` clears up there."""
        self._folder = folder
        self._blobs = blobs
        self._timeout_s = timeout_s
        self._processes = CapacityLimiter(PROCESSES)
        self._under_way: dict[Path, asyncio.Task[Survey]] = {}
        self._waiting: Counter[str] = Counter()  # by organisation
        self._turns: dict[str, asyncio.Lock] = {}  # of organisations that have any
        self._is_closed = False

    async def survey(self, file: StoredFile, base: BaseModel) -> Survey:
        """The survey of a file for a base model.

        Raises RateLimited, Unavailable if too many wait, InvalidRequest if it takes too long,
        UnsupportedModel, NotFound.
        """
        survey, _ = await self._survey(file, base)
        return survey

    async def examples(
        self, file: StoredFile, base: BaseModel, limit: int, after_line: int | None
    ) -> Page[ExampleNote]:
        """Some of its examples, from behind a line on. Raises what `survey` does."""
        from tunesmith.datasets.survey import page_of_notes

        _, folder = await self._survey(file, base)
        try:
            return await to_thread.run_sync(page_of_notes, folder, limit, after_line)
        except FileNotFoundError:  # cleared up a moment ago
            raise _broken() from None

    async def _survey(self, file: StoredFile, base: BaseModel) -> tuple[Survey, Path]:
        # Here and not above, as everywhere in this file: the API starts without numpy and the
        # tokenizers.
        from tunesmith.datasets.survey import read_survey
        from tunesmith.jobs.surveys import SurveyTask

        formats = base.formats
        if base.takes_preferences:  # a job's method isn't known yet
            formats += (Format.PREFERENCES,)
        task = SurveyTask.of(
            file.blob_key, base, formats, max_problems=MAX_PROBLEMS, keeps_rows=False
        )
        folder = self._folder / file.id / await to_thread.run_sync(task.key)
        found = await to_thread.run_sync(read_survey, folder)
        if found is None:
            found = await asyncio.shield(self._made(task, folder, file.organization_id))
        return found, folder

    async def close(self) -> None:
        """Ends what is under way."""
        self._is_closed = True
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _made(self, task: "SurveyTask", folder: Path, organization_id: str) -> asyncio.Task[Survey]:
        if folder in self._under_way:
            return self._under_way[folder]
        if self._waiting[organization_id] >= MAX_WAITING:
            raise errors.RateLimited(
                f"{MAX_WAITING} reports of your organization are being made. Ask again when one of "
                "them is ready."
            )
        if self._waiting.total() >= MAX_WAITING_IN_ALL:
            raise errors.Unavailable("Too many reports are being made. Ask again in a while.")
        making = asyncio.create_task(self._make(task, folder, organization_id))
        self._under_way[folder] = making
        self._waiting[organization_id] += 1

        def forget(done: asyncio.Task[Survey]) -> None:
            del self._under_way[folder]
            self._waiting[organization_id] -= 1
            if self._waiting[organization_id] == 0:
                del self._waiting[organization_id]
                self._turns.pop(organization_id, None)
            if not done.cancelled():
                done.exception()  # seen, even if nobody waits for it any more

        making.add_done_callback(forget)
        return making

    async def _make(self, task: "SurveyTask", folder: Path, organization_id: str) -> Survey:
        # With one place each in the queue for processes, which is fair, they take turns there.
        async with self._turns.setdefault(organization_id, asyncio.Lock()):
            return await to_thread.run_sync(self._run, task, folder, limiter=self._processes)

    def _run(self, task: "SurveyTask", folder: Path) -> Survey:
        """Blocks until the process has ended, one way or another."""
        from tunesmith.jobs.survey_process import survey_apart

        deadline = time.monotonic() + self._timeout_s

        def watch() -> None:
            if self._is_closed:
                raise _broken()
            if time.monotonic() > deadline:
                raise errors.InvalidRequest(
                    f"A report on this file takes longer than {self._timeout_s:g} s, the limit "
                    "here. A job validates it without a limit."
                )

        try:
            return survey_apart(task, self._blobs, folder, watch)
        except ChildProcessError as error:
            log.error("%s", error)
            raise _broken() from error


def _broken() -> errors.Unavailable:
    return errors.Unavailable("The report could not be made just now; ask for it again.")
