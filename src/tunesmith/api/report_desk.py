"""Reports on files, made by processes of their own: a few at a time, the others wait.

A survey takes a minute of a processor for a file of 50 MB. In a thread of this process it would
hold up every other request; in a process it can also be ended. What was asked for is finished
and kept even if the client has gone, so that asking again gets it at once.
"""

import asyncio
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread

from tunesmith.domain import errors
from tunesmith.domain.files import StoredFile
from tunesmith.domain.models import BaseModel
from tunesmith.domain.pages import Page
from tunesmith.domain.surveys import ExampleNote, Survey

if TYPE_CHECKING:
    from tunesmith.jobs.data import SurveyTask

log = logging.getLogger("tunesmith.api")

PROCESSES = 2
MAX_WAITING = 4  # reports of one project, in work or waiting
MAX_PROBLEMS = 1000  # told one by one


class ReportDesk:
    def __init__(self, folder: Path, blobs_root: Path, timeout_s: float) -> None:
        """Reports are kept in `folder`, one folder a file; `jobs/janitor.py` clears up there."""
        self._folder = folder
        self._blobs_root = blobs_root
        self._timeout_s = timeout_s
        self._processes = CapacityLimiter(PROCESSES)
        self._under_way: dict[Path, asyncio.Task[Survey]] = {}
        self._waiting: Counter[str] = Counter()  # by project
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    async def survey(self, file: StoredFile, base: BaseModel) -> Survey:
        """The survey of a file for a base model.

        Raises RateLimited, InvalidRequest if it takes too long, UnsupportedModel, NotFound.
        """
        survey, _ = await self._survey(file, base)
        return survey

    async def examples(
        self, file: StoredFile, base: BaseModel, limit: int, after_line: int | None
    ) -> Page[ExampleNote]:
        """Some of its examples, from behind a line on. Raises what `survey` does."""
        from tunesmith.jobs import report

        _, folder = await self._survey(file, base)
        try:
            return await to_thread.run_sync(report.page, folder, limit, after_line)
        except FileNotFoundError:  # cleared up a moment ago
            raise _broken() from None

    async def _survey(self, file: StoredFile, base: BaseModel) -> tuple[Survey, Path]:
        # Here and not above, as everywhere in this file: the API starts without numpy and the
        # tokenizers.
        from tunesmith.datasets.survey import read_survey
        from tunesmith.jobs.data import SurveyTask

        task = SurveyTask(file.blob_key, base, MAX_PROBLEMS, keeps_rows=False)
        folder = self._folder / file.id / await to_thread.run_sync(task.key)
        found = await to_thread.run_sync(read_survey, folder)
        if found is None:
            found = await asyncio.shield(self._made(task, folder, file.project_id))
        return found, folder

    async def close(self) -> None:
        """Ends what is under way."""
        self._is_closed = True
        for process in list(self._running):
            process.kill()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _made(self, task: "SurveyTask", folder: Path, project_id: str) -> asyncio.Task[Survey]:
        if folder in self._under_way:
            return self._under_way[folder]
        if self._waiting[project_id] >= MAX_WAITING:
            raise errors.RateLimited(
                f"{MAX_WAITING} reports of this project are being made. Ask again when one of them "
                "is ready."
            )
        making = asyncio.create_task(self._make(task, folder))
        self._under_way[folder] = making
        self._waiting[project_id] += 1

        def forget(done: asyncio.Task[Survey]) -> None:
            del self._under_way[folder]
            self._waiting[project_id] -= 1
            if not done.cancelled():
                done.exception()  # seen, even if nobody waits for it any more

        making.add_done_callback(forget)
        return making

    async def _make(self, task: "SurveyTask", folder: Path) -> Survey:
        return await to_thread.run_sync(self._run, task, folder, limiter=self._processes)

    def _run(self, task: "SurveyTask", folder: Path) -> Survey:
        """Blocks until the process has ended, one way or another."""
        from tunesmith.datasets.survey import read_survey
        from tunesmith.jobs import report

        command = [sys.executable, "-m", report.__name__]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            self._running.add(process)
            try:
                self._await(process, report.encoded(task, self._blobs_root, folder))
            finally:
                process.kill()
                self._running.discard(process)
        survey = read_survey(folder)
        if survey is None:
            log.error("the report in %s is not whole", folder)
            raise _broken()
        return survey

    def _await(self, process: subprocess.Popen[bytes], order: bytes) -> None:
        from tunesmith.jobs import report

        assert process.stdin is not None, "it has a pipe"
        assert process.stdout is not None, "it has a pipe"
        if self._is_closed:
            raise _broken()
        try:
            process.stdin.write(order)  # and stays open: its end would be ours
            process.stdin.flush()
            status = process.wait(self._timeout_s)
        except BrokenPipeError:
            raise _broken() from None
        except subprocess.TimeoutExpired:
            raise errors.InvalidRequest(
                f"A report on this file takes longer than {self._timeout_s:g} s, the limit here. "
                "A job validates it without a limit."
            ) from None
        if status == report.REFUSED:
            raise report.refusal(process.stdout.read())
        if status != 0:
            log.error("a report's process ended with status %d", status)
            raise _broken()


def _broken() -> errors.Unavailable:
    return errors.Unavailable("The report could not be made just now; ask for it again.")
