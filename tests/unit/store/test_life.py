"""A job's whole life in any order, beside a plain model of what its owner must see.

Two workers, lost leases, pauses, cancels and deletions in any order. Whatever happens, the owner
sees: legal moves only, ended jobs that never change again, every event once and in order,
checkpoints and models that come and go together, and lists whose pages add up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.unit.store.builders import (
    ERROR,
    OURS,
    PLAN,
    FixedClock,
    a_checkpoint,
    a_job,
    add_file,
    stored_file,
    tuned_by,
)
from tunesmith.domain import errors
from tunesmith.domain.files import StoredFile
from tunesmith.domain.jobs import LEGAL_MOVES, Job, JobStatus, Lease, NewEvent
from tunesmith.domain.pages import Page
from tunesmith.domain.tenancy import Scope
from tunesmith.store.jobs import CANCELLED, PAUSED, RESUMED
from tunesmith.store.store import Store

STEPS = st.integers(1, 6)
WORKERS = st.sampled_from(["worker-1", "worker-2"])
KEPT = 2
WITH_WORK = (JobStatus.VALIDATING_FILES, JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass
class Seen:
    """What the owner must see of a job."""

    status: JobStatus = JobStatus.VALIDATING_FILES
    told: list[str] = field(default_factory=lambda: ["created"])
    steps: set[int] = field(default_factory=set)  # with a checkpoint
    at_the_end: Job | None = None
    lease: Lease | None = None  # the newest one, while it can write


class Life(RuleBasedStateMachine):
    # Set by the test below: hypothesis makes the machine, pytest the store.
    store: Store
    clock: FixedClock
    num_made = 0

    files = Bundle("files")
    jobs = Bundle("jobs")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.scope = Scope(OURS.organization_id, self.new_id("proj"))
        self.seen: dict[str, Seen] = {}
        self.file_ids: list[str] = []
        self.models: list[str] = []
        self.blobs: dict[str, str] = {}

    # The owner

    @rule(target=files)
    def upload(self) -> str:
        id = self.new_id("file")
        add_file(self.store, stored_file(id, self.scope, created_at=self.clock.now))
        self.file_ids.append(id)
        return id

    @rule(id=files)
    def delete_file(self, id: str) -> None:
        assert self.store.files.delete(self.scope, id) == (id in self.file_ids)
        self.file_ids = [other for other in self.file_ids if other != id]

    @rule(target=jobs, file_id=files)
    def create(self, file_id: str) -> str:
        job = a_job(self.new_id("ftjob"), file_id, self.scope, created_at=self.clock.now)
        try:
            self.store.jobs.create(job, [NewEvent("created")])
        except errors.InvalidRequest:
            assert file_id not in self.file_ids
            return ""
        assert file_id in self.file_ids
        self.seen[job.id] = Seen()
        self.blobs[job.id] = job.training_blob
        return job.id

    @rule(id=jobs)
    def cancel(self, id: str) -> None:
        seen = self.seen.get(id)
        try:
            cancelled = self.store.jobs.cancel(self.scope, id)
        except errors.InvalidRequest:
            assert seen
            assert seen.status.is_terminal
            return
        assert (cancelled is None) == (seen is None)
        if seen is not None:
            assert not seen.status.is_terminal
            self.ended(id, JobStatus.CANCELLED, CANCELLED[0].message)

    @rule(id=jobs)
    def pause(self, id: str) -> None:
        if self.turns(id, JobStatus.RUNNING, self.store.jobs.pause):
            self.seen[id].status = JobStatus.PAUSED
            self.seen[id].told.append(PAUSED.message)

    @rule(id=jobs)
    def resume(self, id: str) -> None:
        """Whoever still held the job has lost it."""
        if self.turns(id, JobStatus.PAUSED, self.store.jobs.resume):
            self.seen[id].status, self.seen[id].lease = JobStatus.QUEUED, None
            self.seen[id].told.append(RESUMED.message)

    @rule(data=st.data())
    def delete_model(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([*self.models, "ft:base:ours::none"]))
        assert self.store.tuned_models.delete(self.scope, name) == (name in self.models)
        self.models = [other for other in self.models if other != name]

    # Workers

    @rule(target=leases, worker=WORKERS)
    def claim(self, worker: str) -> Lease | None:
        claimed = self.store.jobs.claim(worker, WITH_WORK, ttl_s=60)
        if claimed is None:
            return None
        job, lease = claimed
        seen = self.seen[job.id]
        assert not seen.status.is_terminal
        assert job.status is seen.status
        seen.lease = lease
        return lease

    @rule()
    def all_workers_die(self) -> None:
        """And others take their jobs up."""
        self.clock.advance(60)

    @rule(lease=leases)
    def release(self, lease: Lease | None) -> None:
        if self.passes(lease, lambda lease: self.store.jobs.release(lease)):
            self.seen[lease.job_id].lease = None

    @rule(lease=leases, step=STEPS)
    def record(self, lease: Lease | None, step: int) -> None:
        event = NewEvent(f"step {step}", once=f"step {step}")
        if self.passes(lease, lambda lease: self.store.jobs.record(lease, [event])):
            told = self.seen[lease.job_id].told
            told += [event.message] if event.message not in told else []

    @rule(lease=leases, step=STEPS)
    def checkpoint(self, lease: Lease | None, step: int) -> None:
        if lease is None:
            return
        checkpoint = a_checkpoint(step, lease.job_id)
        tuned = tuned_by(checkpoint, self.scope)
        write = self.store.jobs.add_checkpoint
        if self.passes(lease, lambda lease: write(lease, checkpoint, tuned, keep=KEPT)):
            steps = self.seen[lease.job_id].steps
            if step not in steps:
                steps.add(step)
                self.models.append(tuned.name)
            for old in sorted(steps)[:-KEPT]:
                steps.remove(old)
                name = a_checkpoint(old, lease.job_id).model_name
                self.models = [other for other in self.models if other != name]

    @rule(lease=leases)
    def go_on(self, lease: Lease | None) -> None:
        """To the next status, if there is one that a worker sets."""
        moves = {
            JobStatus.VALIDATING_FILES: JobStatus.QUEUED,
            JobStatus.QUEUED: JobStatus.RUNNING,
        }
        to = moves.get(self.status(lease), JobStatus.RUNNING)
        if not self.is_held(lease) or to in LEGAL_MOVES[self.status(lease)]:
            plan = PLAN if to is JobStatus.RUNNING else None
            event = NewEvent(f"now {to}")
            move = self.store.jobs.move
            if self.passes(lease, lambda lease: move(lease, to, [event], plan=plan)):
                self.seen[lease.job_id].status = to
                self.seen[lease.job_id].told.append(event.message)

    @rule(lease=leases)
    def fail(self, lease: Lease | None) -> None:
        event = NewEvent("failed")
        move = self.store.jobs.move
        if self.passes(lease, lambda lease: move(lease, JobStatus.FAILED, [event], error=ERROR)):
            self.ended(lease.job_id, JobStatus.FAILED, event.message)

    @rule(lease=leases)
    def succeed(self, lease: Lease | None) -> None:
        if self.is_held(lease) and self.status(lease) not in (JobStatus.RUNNING, JobStatus.PAUSED):
            return
        result = stored_file(self.new_id("file"), self.scope, created_at=self.clock.now)
        self.store.blobs.put_bytes(result.blob_key, b"step\n")
        if self.is_held(lease) and self.status(lease) is JobStatus.PAUSED:
            with pytest.raises(errors.JobPaused):
                self.succeeds(lease, result)
        elif self.passes(lease, lambda lease: self.succeeds(lease, result)):
            self.file_ids.append(result.id)
            self.ended(lease.job_id, JobStatus.SUCCEEDED, "succeeded")

    # What must hold

    @invariant()
    def owner_sees_what_the_model_says(self) -> None:
        for id, seen in self.seen.items():
            job = self.store.jobs.find(self.scope, id)
            assert job is not None
            assert job.status is seen.status
            assert seen.at_the_end in (None, job), "an ended job has changed"
            told = self.all_of(partial(self.store.events.page, id))
            assert [event.message for event in reversed(told)] == seen.told
            listed = self.all_of(partial(self.store.checkpoints.page, id))
            assert [one.step for one in listed] == sorted(seen.steps, reverse=True)
        assert [model.name for model in self.store.tuned_models.all(self.scope)] == self.models
        jobs = self.all_of(partial(self.store.jobs.page, self.scope))
        assert [job.id for job in reversed(jobs)] == list(self.seen)
        files = self.all_of(partial(self.store.files.page, self.scope))
        assert [file.id for file in reversed(files)] == self.file_ids

    @invariant()
    def unfinished_jobs_have_their_data(self) -> None:
        for id, seen in self.seen.items():
            if not seen.status.is_terminal:
                assert self.store.blobs.exists(self.blobs[id])

    def teardown(self) -> None:
        """Other lives must not find work here."""
        for id, seen in self.seen.items():
            if not seen.status.is_terminal:
                self.store.jobs.cancel(self.scope, id)

    # How the rules above say it

    def turns(self, id: str, origin: JobStatus, turn: Callable[[Scope, str], Job | None]) -> bool:
        """Whether a client's move happened, which it must exactly from `origin`."""
        seen = self.seen.get(id)
        try:
            job = turn(self.scope, id)
        except errors.InvalidRequest:
            assert seen
            assert seen.status is not origin
            return False
        assert (job is None) == (seen is None)
        assert seen is None or seen.status is origin
        return job is not None

    def succeeds(self, lease: Lease | None, result: StoredFile) -> None:
        assert lease is not None
        self.store.jobs.succeed(
            lease,
            fine_tuned_model="ft:base:ours::Ab3dEf9h",
            trained_tokens=100,
            result_file=result,
            events=[NewEvent("succeeded")],
        )

    def new_id(self, kind: str) -> str:
        Life.num_made += 1
        return f"{kind}-{Life.num_made}"

    def status(self, lease: Lease | None) -> JobStatus:
        return self.seen[lease.job_id].status if lease else JobStatus.RUNNING

    def is_held(self, lease: Lease | None) -> bool:
        return lease is not None and self.seen[lease.job_id].lease == lease

    def passes(self, lease: Lease | None, write: Callable[[Lease], object]) -> bool:
        """Whether a guarded write happened, which it must exactly if its lease is held."""
        if lease is None:
            return False
        try:
            write(lease)
        except errors.LeaseLost:
            assert not self.is_held(lease)
            return False
        assert self.is_held(lease), "a write without a lease has passed"
        return True

    def ended(self, id: str, status: JobStatus, message: str) -> None:
        seen = self.seen[id]
        seen.status, seen.lease = status, None
        seen.told.append(message)
        seen.at_the_end = self.store.jobs.find(self.scope, id)

    def all_of(self, page: Callable[..., Page[Any]]) -> list[Any]:
        """By pages of two, as a client walks them; `has_more` must be the truth each time."""
        whole = page(limit=1000)
        assert not whole.has_more
        walked: list[Any] = []
        while True:
            after = walked[-1].id if walked else None
            part = page(limit=2, after=after)
            walked += part.items
            assert part.has_more == (len(walked) < len(whole.items))
            if not part.has_more:
                return walked


def test_owner_sees_a_sound_life_whatever_happens(store: Store, clock: FixedClock) -> None:
    Life.store, Life.clock = store, clock
    run_state_machine_as_test(
        Life, settings=settings(max_examples=12, stateful_step_count=40, deadline=None)
    )
