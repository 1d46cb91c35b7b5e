"""The trainer process: takes jobs and walks them through their stages.

Two threads, so that a new job's files are judged at once while another job trains:

    desk   validating_files → queued      (no torch)
    bench  queued → running → succeeded   (one job at a time on the resident base model)

Begin with `Worker.run`; what a stage does is in `stages.py`. Around a job is one of the two
places where every exception is caught. What we have a text for fails the job. A full disk makes it
wait for room, for as long as it takes. Anything else (a bug, a database that is gone for a while)
ends the attempt like a crash: the lease runs out, the job is taken up again from its last snapshot,
and only if that happens again and again does it fail. A night's training isn't thrown away for a
hiccup.
"""

import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tunesmith.domain import errors
from tunesmith.domain.eras import Era
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.jobs import EventLevel, Job, JobStatus, Lease, NewEvent
from tunesmith.jobs import stages
from tunesmith.jobs.janitor import Janitor
from tunesmith.jobs.leases import HeldLease
from tunesmith.jobs.stages import Workshop
from tunesmith.store.room import is_full

log = logging.getLogger("tunesmith.worker")

POLL_S = 0.1
ROOM_PAUSE_S = 10.0  # between looks at a disk that is full
MAX_CRASHES = 3  # of workers on one job, without progress in between

NO_ROOM = NewEvent(
    "The service's disk is full: the job waits and goes on when there is room again",
    level=EventLevel.WARN,
    once="no room",
    era=None,
)


class Worker:
    def __init__(self, workshop: Workshop, name: str, lease_s: float) -> None:
        self._workshop = workshop
        self._name = name
        self._lease_s = lease_s
        self._janitor = Janitor(
            workshop.store, workshop.shelf, workshop.runs_folder, workshop.reports_folder
        )
        # A plain flag: a signal handler may set it while this thread is anywhere.
        self._is_stopping = False

    def stop(self) -> None:
        """Asks `run` to return: the job in hand is put back, with a snapshot."""
        self._is_stopping = True

    def run(self) -> None:
        """Works until `stop`. Raises what broke one of the threads, a lost database say: then it
        is for the supervisor to start anew."""
        with ThreadPoolExecutor(1, thread_name_prefix="desk") as threads:
            desk = threads.submit(self._desk)
            desk.add_done_callback(lambda _: self.stop())
            try:
                self._bench()
            finally:
                self.stop()
            desk.result()

    def _desk(self) -> None:
        self._serve({JobStatus.VALIDATING_FILES}, self._validate, self._janitor.tidy)

    def _bench(self) -> None:
        self._serve({JobStatus.QUEUED, JobStatus.RUNNING}, self._train, self._workshop.bench.tidy)

    def _validate(self, held: HeldLease, job: Job) -> None:
        stages.validate(self._workshop, held, job, lambda: self._is_stopping)

    def _train(self, held: HeldLease, job: Job) -> None:
        try:
            stages.run(self._workshop, held, job, lambda: self._is_stopping)
        finally:
            self._workshop.bench.rest()

    def _serve(
        self,
        statuses: Collection[JobStatus],
        stage: Callable[[HeldLease, Job], None],
        when_idle: Callable[[], None],
    ) -> None:
        while not self._is_stopping:
            try:
                if not self._serve_one(statuses, stage):
                    when_idle()
                    time.sleep(POLL_S)
            except errors.StorageFull:
                log.error("the disk is full: no job can go on until there is room")
                self._pause(ROOM_PAUSE_S)

    def _serve_one(
        self, statuses: Collection[JobStatus], stage: Callable[[HeldLease, Job], None]
    ) -> bool:
        """False if there is nothing to do. Raises StorageFull if the database can't grow."""
        claimed = self._workshop.store.jobs.claim(self._name, statuses, self._lease_s)
        if claimed is None:
            return False
        job, lease = claimed
        with HeldLease(self._workshop.store, lease, self._lease_s) as held:
            self._attempt(stage, held, job)
        return True

    def _attempt(self, stage: Callable[[HeldLease, Job], None], held: HeldLease, job: Job) -> None:
        """One stage of one job, whatever may happen in it."""
        log.info("%s: %s", job.id, job.status)
        try:
            self._stage_or_fail(stage, held, job)
        except stages.PutBack:
            with suppress(errors.LeaseLost):  # cancelled just now: it isn't ours to give back
                self._workshop.store.jobs.release(held.lease)
        except errors.LeaseLost:
            log.info("%s was taken from this worker; leaving it", job.id)
        except Exception as error:
            if is_full(error):
                self._wait_for_room(held)
            else:
                log.exception("%s: this attempt broke off; the job is taken up again", job.id)

    def _wait_for_room(self, held: HeldLease) -> None:
        """The job is held for a while and then given back as it is, to be taken up again from its
        last snapshot. Raises StorageFull if there isn't even room for that."""
        log.error("%s: the disk is full; trying again in %g s", held.lease.job_id, ROOM_PAUSE_S)
        with suppress(errors.LeaseLost, errors.StorageFull):
            self._workshop.store.jobs.record(held.lease, [NO_ROOM])
        self._pause(ROOM_PAUSE_S)
        with suppress(errors.LeaseLost):
            self._workshop.store.jobs.release(held.lease)

    def _pause(self, seconds: float) -> None:
        """Less if the worker is to stop."""
        until = time.monotonic() + seconds
        while not self._is_stopping and time.monotonic() < until:
            time.sleep(POLL_S)

    def _stage_or_fail(
        self, stage: Callable[[HeldLease, Job], None], held: HeldLease, job: Job
    ) -> None:
        try:
            _refuse_killer(held.lease)
            stage(held, job)
        except (errors.LeaseLost, errors.StorageFull):
            raise
        except errors.TunesmithError as error:
            log.info("%s failed: %s", job.id, error)
            self._fail(held, error.detail(), getattr(error, "notes", ()))

    def _fail(self, held: HeldLease, error: ErrorDetail, notes: Collection[str] = ()) -> None:
        """The job's owner sees the error first, newest event that it is, then the notes."""
        level = EventLevel.ERROR
        events = [NewEvent(note, level=level, era=None) for note in reversed(tuple(notes))]
        data = {"error_code": error.code, "error_param": error.param}
        events.append(NewEvent(error.message, level=level, data=data))
        failed = f"Fine-tune failed. {error.message}"
        events.append(NewEvent(failed, level=level, era=Era.FINE_TUNES))
        self._workshop.store.jobs.move(held.lease, JobStatus.FAILED, events, error=error)


def _refuse_killer(lease: Lease) -> None:
    """Keeps a job that ends its trainer, by using up the memory say, from doing so for ever."""
    if lease.num_crashes >= MAX_CRASHES:
        raise errors.JobFailed(
            f"The trainer ended unexpectedly {lease.num_crashes} times while it worked on this "
            "job, perhaps for lack of memory. Create the job again with a smaller batch_size or "
            "shorter examples; the service's operator finds the cause in its log under the job's "
            "id.",
            code="trainer_crashed",
        )
