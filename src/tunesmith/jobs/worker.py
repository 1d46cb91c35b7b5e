"""The trainer process: takes jobs and walks them through their stages.

Two threads, so that a new job's files are judged at once while another job trains:

    desk   validating_files → queued      (no torch)
    bench  queued → running → succeeded   (one job at a time on the resident base model)

Begin with `Worker.run`; what a stage does is in `stages.py`. Around a job is one of the two
places where every exception is caught: the job fails with a calm text, the worker lives on.
"""

import logging
import threading
from collections.abc import Callable, Collection

from tunesmith.domain import errors
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.jobs import EventLevel, Job, JobStatus, NewEvent
from tunesmith.jobs import stages
from tunesmith.jobs.leases import HeldLease
from tunesmith.jobs.stages import Workshop

log = logging.getLogger("tunesmith.worker")

POLL_S = 0.1
INTERNAL_ERROR = ErrorDetail(
    "server_error",
    "The job failed because of an internal error of this service; its operator finds the cause in "
    "the log under the job's id. Creating the job again may help.",
)


class Worker:
    def __init__(self, workshop: Workshop, name: str, lease_s: float) -> None:
        self._workshop = workshop
        self._name = name
        self._lease_s = lease_s
        self._stop = threading.Event()

    def stop(self) -> None:
        """Asks `run` to return: the job in hand is put back, with a snapshot."""
        self._stop.set()

    def run(self) -> None:
        """Works until `stop`."""
        desk = threading.Thread(target=self._desk, name="desk")
        desk.start()
        try:
            self._bench()
        finally:
            self._stop.set()
            desk.join()

    def _desk(self) -> None:
        self._serve({JobStatus.VALIDATING_FILES}, self._validate, when_idle=lambda: None)

    def _bench(self) -> None:
        self._serve(
            {JobStatus.QUEUED, JobStatus.RUNNING}, self._train, when_idle=self._workshop.bench.tidy
        )

    def _validate(self, held: HeldLease, job: Job) -> None:
        stages.validate(self._workshop, held, job)

    def _train(self, held: HeldLease, job: Job) -> None:
        stages.run(self._workshop, held, job, self._stop.is_set)

    def _serve(
        self,
        statuses: Collection[JobStatus],
        stage: Callable[[HeldLease, Job], None],
        when_idle: Callable[[], None],
    ) -> None:
        while not self._stop.is_set():
            claimed = self._workshop.store.jobs.claim(self._name, statuses, self._lease_s)
            if claimed is None:
                when_idle()
                self._stop.wait(POLL_S)
                continue
            job, lease = claimed
            with HeldLease(self._workshop.store, lease, self._lease_s) as held:
                self._attempt(stage, held, job)

    def _attempt(self, stage: Callable[[HeldLease, Job], None], held: HeldLease, job: Job) -> None:
        """One stage of one job, whatever may happen in it."""
        log.info("%s: %s", job.id, job.status)
        try:
            try:
                stage(held, job)
            except errors.LeaseLost:
                raise
            except errors.TunesmithError as error:
                log.info("%s failed: %s", job.id, error)
                self._fail(held, error.detail(), getattr(error, "notes", ()))
            except Exception:
                log.exception("%s failed", job.id)
                self._fail(held, INTERNAL_ERROR)
        except errors.LeaseLost:
            log.info("%s was taken from this worker; leaving it", job.id)

    def _fail(self, held: HeldLease, error: ErrorDetail, notes: Collection[str] = ()) -> None:
        """The job's owner sees the error first, newest event that it is, then the notes."""
        events = [NewEvent(note, level=EventLevel.ERROR) for note in reversed(tuple(notes))]
        data = {"error_code": error.code, "error_param": error.param}
        events.append(NewEvent(error.message, level=EventLevel.ERROR, data=data))
        self._workshop.store.jobs.move(held.lease, JobStatus.FAILED, events, error=error)
