"""Jobs: what clients ask about them, and how workers move them on.

A worker holds a job by a lease. Every write of a worker is *guarded*: one UPDATE of the job's row
that names the lease's worker and fence, in the same transaction as whatever else it writes. If
the row has another fence by now (the job was cancelled, or given to another worker) nothing is
written and LeaseLost is raised. So a worker that slept through its lease can do no harm, and
learns of a cancel at its next write. Legal moves: `domain/jobs.py`.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from tunesmith.domain import errors
from tunesmith.domain.answered import AnsweredRequest
from tunesmith.domain.eras import Era, job_id_of
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.files import StoredFile
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import (
    LEGAL_MOVES,
    Checkpoint,
    EventLevel,
    Job,
    JobStatus,
    Lease,
    NewEvent,
)
from tunesmith.domain.models import TunedModel
from tunesmith.domain.pages import Page, Place
from tunesmith.domain.plan import TrainingPlan
from tunesmith.domain.tenancy import Scope
from tunesmith.store import tables
from tunesmith.store.answered import write_answered
from tunesmith.store.blobs import Blobs
from tunesmith.store.checkpoints import prune_checkpoints, write_checkpoint
from tunesmith.store.database import Clock, Database
from tunesmith.store.events import write_events
from tunesmith.store.files import UNFINISHED, unused_blobs, write_file
from tunesmith.store.rows import fetch_page, from_row, in_scope, to_row

NEWEST = (tables.jobs.c.created_at, tables.jobs.c.position)
OLDEST_FIRST = (tables.jobs.c.created_at.asc(), tables.jobs.c.position.asc())

# The only published wording of a cancel's event (behaviour reference, section 6.2).
CANCELLED = (
    NewEvent("Fine tuning process stopping due to job cancellation", level=EventLevel.WARN),
    NewEvent("Fine-tune cancelled", era=Era.FINE_TUNES),
)
PAUSED = NewEvent("Fine-tuning job paused", era=None)
RESUMED = NewEvent("Fine-tuning job resumed", era=None)
TOLD_PLACES = 10  # of the queue: who waits there is told when it moves on


class Jobs:
    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        ids: Ids,
        clock: Clock,
        max_active: int | None = None,
    ) -> None:
        self._database = database
        self._max_active = max_active  # of one organisation on one base model
        self._blobs = blobs
        self._ids = ids
        self._clock = clock

    # What clients do

    def create(
        self, job: Job, events: Sequence[NewEvent], answered: AnsweredRequest | None = None
    ) -> None:
        """InvalidRequest if a file of the job was deleted since the caller looked, TooManyJobs if
        too many of its organisation have not ended. Raises AlreadyAnswered for a retry."""
        with self._database.write() as connection:
            write_answered(connection, answered)
            if self._max_active is not None:
                _refuse_too_many(connection, job, self._max_active)
            _hold_file(connection, job, job.training_file_id, "training_file")
            if job.validation_file_id is not None:
                _hold_file(connection, job, job.validation_file_id, "validation_file")
            connection.execute(insert(tables.jobs).values(**to_row(job), fence=0, num_crashes=0))
            pairs = [
                {"job_id": job.id, "key": k, "value": v} for k, v in (job.metadata or {}).items()
            ]
            if pairs:
                connection.execute(insert(tables.job_metadata), pairs)
            # At the job's own time: the answer, made before this, may tell them too.
            write_events(connection, job.id, events, self._ids, job.created_at)

    def find(self, scope: Scope, id: str) -> Job | None:
        with self._database.read() as connection:
            return _find(connection, scope, id)

    def page(
        self,
        scope: Scope,
        *,
        limit: int,
        after: str | Place | None = None,
        metadata: Mapping[str, str] | None = None,
        without_metadata: bool = False,
    ) -> Page[Job]:
        """Newest first; all pairs of `metadata` must match. `after` is an id of either era
        (InvalidRequest if it is no job of this scope), or where another page ended."""
        only = [_has_metadata(key, value) for key, value in (metadata or {}).items()]
        if without_metadata:
            only.append(~exists().where(tables.job_metadata.c.job_id == tables.jobs.c.id))
        with self._database.read() as connection:
            return fetch_page(
                connection,
                Job,
                tables.jobs,
                in_scope(tables.jobs, scope),
                order=NEWEST,
                limit=limit,
                after=job_id_of(after) if isinstance(after, str) else after,
                only=only,
            )

    def cancel(self, scope: Scope, id: str) -> Job | None:
        """The job, cancelled at once; its worker learns of it at its next write. None if there
        is no such job, InvalidRequest if it has ended already."""
        cancelled = (
            update(tables.jobs)
            .where(
                in_scope(tables.jobs, scope),
                tables.jobs.c.id == job_id_of(id),
                tables.jobs.c.status.in_(UNFINISHED),
            )
            .values(
                status=JobStatus.CANCELLED,
                fence=tables.jobs.c.fence + 1,
                **_ended(self._clock()),
            )
            .returning(tables.jobs)
        )
        with self._database.write() as connection:
            row = connection.execute(cancelled).mappings().first()
            if row is None:
                job = _find(connection, scope, id)
                if job is not None:
                    raise errors.InvalidRequest(
                        f'Cannot cancel a job {id} that already has status "{job.status}".'
                    )
                return None
            self._write_events(connection, row["id"], CANCELLED)
            self._tell_places(connection)
            unused = _blobs_let_go(connection, row)
        self._delete_blobs(unused)
        return from_row(Job, row)

    def pause(self, scope: Scope, id: str) -> Job | None:
        """The job, paused; its worker still writes what it has done, up to a snapshot. None if
        there is no such job, InvalidRequest if it isn't running."""
        return self._turn(scope, id, JobStatus.RUNNING, JobStatus.PAUSED, PAUSED)

    def resume(self, scope: Scope, id: str) -> Job | None:
        """The job, queued again. A worker that hasn't let go of it yet has lost it. None if there
        is no such job, InvalidRequest if it isn't paused."""
        fence = tables.jobs.c.fence + 1
        lease = {"fence": fence, "worker": None, "lease_expires_at": None}
        return self._turn(scope, id, JobStatus.PAUSED, JobStatus.QUEUED, RESUMED, **lease)

    def _turn(
        self,
        scope: Scope,
        id: str,
        origin: JobStatus,
        to: JobStatus,
        event: NewEvent,
        **changes: Any,
    ) -> Job | None:
        """A move that a client asks for and that is possible from one status only."""
        ours = tables.jobs.c
        turned = (
            update(tables.jobs)
            .where(in_scope(tables.jobs, scope), ours.id == job_id_of(id), ours.status == origin)
            .values(status=to, estimated_finish=None, num_crashes=0, **changes)
            .returning(tables.jobs)
        )
        with self._database.write() as connection:
            row = connection.execute(turned).mappings().first()
            if row is None:
                job = _find(connection, scope, id)
                if job is not None:
                    verb = "pause" if to is JobStatus.PAUSED else "resume"
                    raise errors.InvalidRequest(
                        f'Cannot {verb} a job {id} that has status "{job.status}": only a '
                        f"{origin} job can be {verb}d."
                    )
                return None
            self._write_events(connection, row["id"], [event])
            self._tell_places(connection)
        return from_row(Job, row)

    # What workers do

    def claim(
        self, worker: str, statuses: Collection[JobStatus], ttl_s: float
    ) -> tuple[Job, Lease] | None:
        """The oldest job in one of `statuses` that nobody holds, and the right to work on it for
        `ttl_s` seconds. None if there is none."""
        assert not any(status.is_terminal for status in statuses), "an ended job has no work left"
        now = self._clock()
        ours = tables.jobs.c
        oldest = (
            select(ours.position, ours.worker)
            .where(
                ours.status.in_(statuses),
                or_(ours.worker.is_(None), ours.lease_expires_at <= now),
            )
            .order_by(*OLDEST_FIRST)
            .limit(1)
        )
        with self._database.read() as connection:  # idle workers ask often and must disturb nobody
            if connection.execute(oldest).first() is None:
                return None
        with self._database.write() as connection:
            # On SQLite the transaction is alone anyway.
            found = connection.execute(oldest.with_for_update(skip_locked=True)).first()
            if found is None:
                return None
            claimed = (
                update(tables.jobs)
                .where(ours.position == found.position)
                .values(
                    worker=worker,
                    fence=ours.fence + 1,
                    lease_expires_at=now + timedelta(seconds=ttl_s),
                    estimated_finish=None,
                    # Whoever gives a job back leaves no name; a name here fell silent.
                    num_crashes=ours.num_crashes + int(found.worker is not None),
                )
                .returning(tables.jobs)
            )
            row = connection.execute(claimed).mappings().one()
        return from_row(Job, row), Lease(row["id"], worker, row["fence"], row["num_crashes"])

    def unfinished(self) -> set[str]:
        """The ids of all jobs that have not ended, of all organisations."""
        query = select(tables.jobs.c.id).where(tables.jobs.c.status.in_(UNFINISHED))
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def renew(self, lease: Lease, ttl_s: float) -> JobStatus:
        """Holds the job for `ttl_s` seconds from now; what its status is. LeaseLost if it is no
        longer ours."""
        until = self._clock() + timedelta(seconds=ttl_s)
        with self._database.write() as connection:
            row = _guarded_update(connection, lease, lease_expires_at=until)
        return JobStatus(row["status"])

    def release(self, lease: Lease) -> None:
        """Gives the job back as it is, for anyone to claim. LeaseLost if it is no longer ours."""
        with self._database.write() as connection:
            _guarded_update(
                connection, lease, worker=None, lease_expires_at=None, estimated_finish=None
            )

    def record(
        self,
        lease: Lease,
        events: Sequence[NewEvent],
        estimated_finish: datetime | None = None,
    ) -> JobStatus:
        """Adds events; what the job's status is. LeaseLost if it is no longer ours."""
        changes: dict[str, Any] = {}
        if estimated_finish is not None:
            changes["estimated_finish"] = estimated_finish
        with self._database.write() as connection:
            row = _guarded_update(connection, lease, **changes)
            if self._write_events(connection, lease.job_id, events):
                _guarded_update(connection, lease, num_crashes=0)  # it gets on after all
        return JobStatus(row["status"])

    def move(
        self,
        lease: Lease,
        to: JobStatus,
        events: Sequence[NewEvent] = (),
        *,
        plan: TrainingPlan | None = None,
        error: ErrorDetail | None = None,
    ) -> None:
        """On to the next status; `FAILED` takes an error and ends the lease. LeaseLost if the job
        is no longer ours."""
        assert to is not JobStatus.SUCCEEDED, "succeed() does that"
        assert to is not JobStatus.CANCELLED, "cancel() does that: only a client asks for it"
        assert (to is JobStatus.FAILED) == (error is not None), "an error goes with FAILED only"
        changes: dict[str, Any] = {"status": to, "num_crashes": 0}
        if plan is not None:
            changes["plan"] = plan
        if error is not None:
            changes |= {"error": error, **_ended(self._clock())}
        with self._database.write() as connection:
            row = _guarded_update(connection, lease, moves_to=to, **changes)
            if to is JobStatus.QUEUED:
                events = [*events, _place_told("enqueued", _place(connection, lease.job_id))]
            self._write_events(connection, lease.job_id, events)
            self._tell_places(connection)
            unused = _blobs_let_go(connection, row)
        self._delete_blobs(unused)

    def add_checkpoint(
        self, lease: Lease, checkpoint: Checkpoint, tuned: TunedModel, keep: int
    ) -> list[Checkpoint]:
        """Lists the checkpoint and makes it callable as `tuned`; the `keep` highest steps stay, the
        others go and are given back, for the caller to remove their adapters. A step that has
        a checkpoint already keeps that one. LeaseLost if the job is no longer ours."""
        assert checkpoint.job_id == tuned.job_id == lease.job_id, "of one job"
        assert keep >= 1, "the newest checkpoint always stays"
        with self._database.write() as connection:
            _guarded_update(connection, lease)
            write_checkpoint(connection, checkpoint, tuned)
            return prune_checkpoints(connection, lease.job_id, keep)

    def succeed(
        self,
        lease: Lease,
        *,
        fine_tuned_model: str,
        trained_tokens: int,
        result_file: StoredFile,
        events: Sequence[NewEvent] = (),
    ) -> None:
        """The end of a job, in one transaction; the result file's blob must be there already.
        JobPaused if its owner paused it, LeaseLost if it is no longer ours."""
        with self._database.write() as connection:
            row = _guarded_update(
                connection,
                lease,
                moves_to=JobStatus.SUCCEEDED,
                status=JobStatus.SUCCEEDED,
                fine_tuned_model=fine_tuned_model,
                trained_tokens=trained_tokens,
                result_file_id=result_file.id,
                **_ended(self._clock()),
            )
            write_file(connection, result_file)
            self._write_events(connection, lease.job_id, events)
            unused = _blobs_let_go(connection, row)
        self._delete_blobs(unused)

    def _write_events(self, connection: Connection, job_id: str, events: Sequence[NewEvent]) -> int:
        return write_events(connection, job_id, events, self._ids, self._clock())

    def _tell_places(self, connection: Connection) -> None:
        """Whoever's turn is near learns how near, whenever that changes."""
        ours = tables.jobs.c
        first = (
            select(ours.id)
            .where(ours.status == JobStatus.QUEUED)
            .order_by(*OLDEST_FIRST)
            .limit(TOLD_PLACES)
            .with_for_update(skip_locked=True)
        )
        for place, id in enumerate(connection.execute(first).scalars().all()):
            self._write_events(connection, id, [_place_told("is in the queue", place)])

    def _delete_blobs(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._blobs.delete(key)


def _guarded_update(
    connection: Connection, lease: Lease, *, moves_to: JobStatus | None = None, **changes: Any
) -> RowMapping:
    """The job's status and blobs after `changes`, which happen only if the lease still holds. The
    row stays locked until the transaction ends, also when nothing changes."""
    ours = tables.jobs.c
    held = (ours.id == lease.job_id) & (ours.worker == lease.worker) & (ours.fence == lease.fence)
    guard = held if moves_to is None else held & ours.status.in_(_origins(moves_to))
    guarded = (
        update(tables.jobs)
        .where(guard)
        .values(fence=lease.fence, **changes)
        .returning(ours.status, ours.training_blob, ours.validation_blob)
    )
    row = connection.execute(guarded).mappings().first()
    if row is not None:
        return row
    status = connection.execute(select(ours.status).where(held)).scalar_one_or_none()
    if (status, moves_to) == (JobStatus.PAUSED, JobStatus.SUCCEEDED):
        raise errors.JobPaused(f"{lease.job_id} was paused")
    assert status is None, f"{lease.job_id} can't move from {status} to {moves_to}"
    raise errors.LeaseLost(
        f"Worker {lease.worker} no longer holds {lease.job_id}: "
        "it has ended, or was given to another worker."
    )


def _origins(to: JobStatus) -> list[JobStatus]:
    return [status for status, targets in LEGAL_MOVES.items() if to in targets]


def _ended(now: datetime) -> dict[str, datetime | None]:
    """What changes whenever a job ends, however it ends: also, nobody holds it any more."""
    return {
        "finished_at": now,
        "estimated_finish": None,
        "worker": None,
        "lease_expires_at": None,
    }


def _blobs_let_go(connection: Connection, row: RowMapping) -> list[str]:
    """If the job has ended: its blobs that nothing else needs."""
    if row["status"] in UNFINISHED:
        return []
    return unused_blobs(connection, [row["training_blob"], row["validation_blob"]])


def _refuse_too_many(connection: Connection, job: Job, max_active: int) -> None:
    """Raises TooManyJobs."""
    query = (
        select(tables.jobs.c.status, func.count())
        .where(
            tables.jobs.c.organization_id == job.organization_id,
            tables.jobs.c.base_model == job.base_model,
            tables.jobs.c.status.in_(UNFINISHED),
        )
        .group_by(tables.jobs.c.status)
    )
    counts: dict[JobStatus, int] = {row[0]: row[1] for row in connection.execute(query)}
    num_active, num_running = sum(counts.values()), counts.get(JobStatus.RUNNING, 0)
    if num_active >= max_active:
        raise errors.TooManyJobs(
            "This fine-tune request has been rate-limited. Your organization has reached the "
            f"maximum of {max_active} active requests ({num_running} running, "
            f"{num_active - num_running} pending) for the model '{job.base_model}'."
        )


def _hold_file(connection: Connection, job: Job, file_id: str, param: str) -> None:
    """The file's row is locked until the transaction ends, so that its deletion sees the job."""
    query = (
        select(tables.files.c.id)
        .where(
            tables.files.c.id == file_id,
            tables.files.c.organization_id == job.organization_id,
            tables.files.c.project_id == job.project_id,
        )
        .with_for_update(read=True)
    )
    if connection.execute(query).first() is None:
        raise errors.InvalidRequest(f"invalid {param}: {file_id}", param=param)


def _find(connection: Connection, scope: Scope, id: str) -> Job | None:
    ours = tables.jobs.c
    query = select(tables.jobs).where(in_scope(tables.jobs, scope), ours.id == job_id_of(id))
    row = connection.execute(query).mappings().first()
    return from_row(Job, row) if row else None


def _place(connection: Connection, job_id: str) -> int:
    """How many jobs are queued before it."""
    ours, others = tables.jobs.c, tables.jobs.alias("others")
    is_before = tuple_(others.c.created_at, others.c.position) < tuple_(
        ours.created_at, ours.position
    )
    query = (
        select(func.count(others.c.id))
        .select_from(tables.jobs.join(others, is_before))
        .where(ours.id == job_id, others.c.status == JobStatus.QUEUED)
    )
    return connection.execute(query).scalar_one()


def _place_told(how: str, place: int) -> NewEvent:
    text = f"Fine-tune {how}. Queue number: {place}"
    return NewEvent(text, once=f"place {place}", era=Era.FINE_TUNES)


def _has_metadata(key: str, value: str) -> ColumnElement[bool]:
    pairs = tables.job_metadata.c
    return exists().where(pairs.job_id == tables.jobs.c.id, pairs.key == key, pairs.value == value)
