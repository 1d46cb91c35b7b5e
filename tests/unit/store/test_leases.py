"""Who may write to a job, and when: the heart of surviving crashes."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.exc import IntegrityError

from tests.unit.store.builders import (
    ERROR,
    OURS,
    PLAN,
    START,
    FixedClock,
    a_checkpoint,
    a_job,
    add_file,
    add_job,
    running_job,
    stored_file,
    tuned_by,
)
from tunesmith.domain import errors
from tunesmith.domain.jobs import LEGAL_MOVES, JobStatus, Lease, NewEvent
from tunesmith.store.store import Store

VALIDATING = [JobStatus.VALIDATING_FILES]
UNFINISHED = [status for status in JobStatus if not status.is_terminal]


def succeed(store: Store, lease: Lease) -> None:
    store.blobs.put_bytes("files/file-result", b"step\n")
    store.jobs.succeed(
        lease,
        fine_tuned_model="ft:base:ours::Ab3dEf9h",
        trained_tokens=100,
        result_file=stored_file("file-result"),
        events=[NewEvent("The job has successfully completed")],
    )


def add_checkpoint(store: Store, lease: Lease) -> None:
    checkpoint = a_checkpoint(3, lease.job_id)
    store.jobs.add_checkpoint(lease, checkpoint, tuned_by(checkpoint), keep=3)


GUARDED_WRITES: dict[str, Callable[[Store, Lease], object]] = {
    "renew": lambda store, lease: store.jobs.renew(lease, ttl_s=60),
    "release": lambda store, lease: store.jobs.release(lease),
    "record": lambda store, lease: store.jobs.record(
        lease, [NewEvent("Step 1/6", once="step-1")], estimated_finish=START
    ),
    "record nothing": lambda store, lease: store.jobs.record(lease, []),
    "move": lambda store, lease: store.jobs.move(
        lease, JobStatus.FAILED, [NewEvent("failed")], error=ERROR
    ),
    "illegal move": lambda store, lease: store.jobs.move(lease, JobStatus.RUNNING, plan=PLAN),
    "add_checkpoint": add_checkpoint,
    "succeed": succeed,
}
guarded = pytest.mark.parametrize("write", GUARDED_WRITES.values(), ids=GUARDED_WRITES.keys())


def everything(store: Store) -> object:
    """All that a guarded write could have changed and a client could see."""
    return (
        store.jobs.find(OURS, "ftjob-1"),
        store.events.page("ftjob-1", limit=100),
        store.checkpoints.page("ftjob-1", limit=100),
        store.tuned_models.all(OURS),
        store.files.page(OURS, limit=100),
    )


def test_oldest_job_is_claimed_first(store: Store) -> None:
    """By time; among equal times, in the order in which they were made."""
    for id, minute in [("ftjob-c", 1), ("ftjob-a", 0), ("ftjob-b", 0)]:
        add_job(store, a_job(id, created_at=START + timedelta(minutes=minute)))
    claimed = [store.jobs.claim("worker-1", VALIDATING, ttl_s=60) for _ in range(4)]
    assert [one and one[0].id for one in claimed] == ["ftjob-a", "ftjob-b", "ftjob-c", None]


def test_only_wanted_statuses_are_claimed(store: Store) -> None:
    add_job(store, a_job())
    assert store.jobs.claim("worker-1", [JobStatus.QUEUED, JobStatus.RUNNING], ttl_s=60) is None
    assert store.jobs.claim("worker-1", [], ttl_s=60) is None


def test_held_job_is_offered_again_when_its_lease_expires(store: Store, clock: FixedClock) -> None:
    add_job(store, a_job())
    first = store.jobs.claim("worker-1", VALIDATING, ttl_s=60)
    clock.advance(59.9)
    assert store.jobs.claim("worker-2", VALIDATING, ttl_s=60) is None
    clock.advance(0.1)
    second = store.jobs.claim("worker-2", VALIDATING, ttl_s=60)
    assert first is not None
    assert second is not None
    assert second[0] == first[0]
    assert second[1].fence > first[1].fence


def test_renewed_lease_lasts_from_the_renewal(store: Store, clock: FixedClock) -> None:
    lease = running_job(store)
    clock.advance(50)
    store.jobs.renew(lease, ttl_s=60)
    clock.advance(59)
    assert store.jobs.claim("worker-2", UNFINISHED, ttl_s=60) is None
    clock.advance(1)
    assert store.jobs.claim("worker-2", UNFINISHED, ttl_s=60) is not None


def test_sleeper_whose_job_nobody_took_may_go_on(store: Store, clock: FixedClock) -> None:
    lease = running_job(store)
    clock.advance(3600)
    store.jobs.record(lease, [NewEvent("still here")])
    store.jobs.renew(lease, ttl_s=60)
    assert store.jobs.claim("worker-2", UNFINISHED, ttl_s=60) is None


def test_released_job_can_be_claimed_at_once(store: Store) -> None:
    lease = running_job(store)
    store.jobs.release(lease)
    claimed = store.jobs.claim("worker-2", [JobStatus.RUNNING], ttl_s=60)
    assert claimed is not None
    assert claimed[0].plan == PLAN


def test_workers_that_fall_silent_are_counted(store: Store, clock: FixedClock) -> None:
    """The sign of a job that kills its workers. One that gives the job back doesn't count."""
    lease = running_job(store)
    assert lease.num_crashes == 0
    store.jobs.release(lease)
    counts = []
    for worker in ("worker-2", "worker-3", "worker-4"):
        claimed = store.jobs.claim(worker, [JobStatus.RUNNING], ttl_s=60)
        assert claimed is not None
        counts.append(claimed[1].num_crashes)
        clock.advance(60)
    assert counts == [0, 1, 2]


def test_progress_forgives_crashes(store: Store, clock: FixedClock) -> None:
    """A long job that meets three power failures in a month is no job that kills its workers."""
    running_job(store)
    clock.advance(60)
    claimed = store.jobs.claim("worker-2", [JobStatus.RUNNING], ttl_s=60)
    assert claimed is not None
    assert claimed[1].num_crashes == 1
    store.jobs.record(claimed[1], [NewEvent("Step 1/6: training loss=1.00", once="step 1")])
    clock.advance(60)
    claimed = store.jobs.claim("worker-3", [JobStatus.RUNNING], ttl_s=60)
    assert claimed is not None
    assert claimed[1].num_crashes == 1
    store.jobs.record(claimed[1], [NewEvent("Step 1/6: training loss=1.00", once="step 1")])
    clock.advance(60)
    claimed = store.jobs.claim("worker-4", [JobStatus.RUNNING], ttl_s=60)
    assert claimed is not None
    assert claimed[1].num_crashes == 2, "what was told before is no progress"


@guarded
def test_write_with_a_stale_lease_is_refused_and_changes_nothing(
    store: Store, clock: FixedClock, write: Callable[[Store, Lease], object]
) -> None:
    stale = running_job(store)
    clock.advance(60)
    assert store.jobs.claim("worker-2", UNFINISHED, ttl_s=60) is not None
    before = everything(store)
    with pytest.raises(errors.LeaseLost):
        write(store, stale)
    assert everything(store) == before


@guarded
def test_same_worker_with_an_old_fence_is_refused(
    store: Store, clock: FixedClock, write: Callable[[Store, Lease], object]
) -> None:
    """A worker's name is not enough: it may come back under the same one."""
    stale = running_job(store, worker="worker-1")
    clock.advance(60)
    assert store.jobs.claim("worker-1", UNFINISHED, ttl_s=60) is not None
    with pytest.raises(errors.LeaseLost):
        write(store, stale)


@guarded
def test_write_after_a_cancel_is_refused_and_changes_nothing(
    store: Store, write: Callable[[Store, Lease], object]
) -> None:
    lease = running_job(store)
    store.jobs.cancel(OURS, lease.job_id)
    before = everything(store)
    with pytest.raises(errors.LeaseLost):
        write(store, lease)
    assert everything(store) == before


@guarded
def test_write_after_the_end_is_refused_and_changes_nothing(
    store: Store, write: Callable[[Store, Lease], object]
) -> None:
    lease = running_job(store)
    store.jobs.move(lease, JobStatus.FAILED, error=ERROR)
    before = everything(store)
    with pytest.raises(errors.LeaseLost):
        write(store, lease)
    assert everything(store) == before


@guarded
def test_lease_on_an_unknown_job_is_lost(
    store: Store, write: Callable[[Store, Lease], object]
) -> None:
    lease = Lease("ftjob-none", "worker-1", 1)
    with pytest.raises(errors.LeaseLost):
        write(store, lease)


@pytest.mark.parametrize("to", [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED])
@pytest.mark.parametrize("status", UNFINISHED)
def test_only_legal_moves_are_made(store: Store, status: JobStatus, to: JobStatus) -> None:
    add_job(store, a_job(status=status))
    claimed = store.jobs.claim("worker-1", [status], ttl_s=60)
    assert claimed is not None
    error = ERROR if to is JobStatus.FAILED else None
    if to in LEGAL_MOVES[status]:
        store.jobs.move(claimed[1], to, [NewEvent("moved")], error=error)
    else:
        with pytest.raises(AssertionError, match=f"can't move from {status} to {to}"):
            store.jobs.move(claimed[1], to, [NewEvent("moved")], error=error)
    job = store.jobs.find(OURS, "ftjob-1")
    is_legal = to in LEGAL_MOVES[status]
    assert job is not None
    assert job.status == (to if is_legal else status)
    assert len(store.events.page("ftjob-1", limit=5).items) == int(is_legal)


def test_start_of_training_keeps_the_plan(store: Store) -> None:
    lease = running_job(store)
    job = store.jobs.find(OURS, lease.job_id)
    assert job is not None
    assert job.plan == PLAN


def test_failure_tells_why_and_ends_the_job(store: Store, clock: FixedClock) -> None:
    lease = running_job(store)
    store.jobs.record(lease, [], estimated_finish=START)
    clock.advance(5)
    store.jobs.move(lease, JobStatus.FAILED, [NewEvent("failed")], error=ERROR)
    job = store.jobs.find(OURS, lease.job_id)
    assert job is not None
    assert (job.status, job.error) == (JobStatus.FAILED, ERROR)
    assert (job.finished_at, job.estimated_finish) == (clock.now, None)


def test_success_is_whole(store: Store, clock: FixedClock) -> None:
    lease = running_job(store)
    store.jobs.record(lease, [], estimated_finish=START)
    clock.advance(5)
    succeed(store, lease)
    job = store.jobs.find(OURS, lease.job_id)
    assert job is not None
    assert job.status is JobStatus.SUCCEEDED
    assert (job.finished_at, job.estimated_finish) == (clock.now, None)
    assert (job.fine_tuned_model, job.trained_tokens) == ("ft:base:ours::Ab3dEf9h", 100)
    assert job.result_file_id == "file-result"
    assert store.files.find(OURS, "file-result") == stored_file("file-result")
    (event,) = store.events.page(lease.job_id, limit=1).items
    assert event.message == "The job has successfully completed"
    assert store.jobs.claim("worker-2", UNFINISHED, ttl_s=60) is None


def test_success_that_fails_halfway_leaves_nothing(store: Store) -> None:
    """The result file's row can't be written (its id is taken): the job still runs under the same
    lease, and success can be told again."""
    lease = running_job(store)
    taken = add_file(store, stored_file("file-result"))
    before = everything(store)
    with pytest.raises(IntegrityError):
        succeed(store, lease)
    assert everything(store) == before
    store.files.delete(OURS, taken.id)
    succeed(store, lease)


def test_move_whose_event_cannot_be_written_leaves_nothing(store: Store) -> None:
    lease = running_job(store)
    before = everything(store)
    with pytest.raises(Exception, match="JSON"):
        store.jobs.move(
            lease, JobStatus.FAILED, [NewEvent("x", data={"loss": float("inf")})], error=ERROR
        )
    assert everything(store) == before


def test_success_of_a_job_that_does_not_run_is_our_own_mistake(store: Store) -> None:
    add_job(store, a_job())
    claimed = store.jobs.claim("worker-1", VALIDATING, ttl_s=60)
    assert claimed is not None
    with pytest.raises(AssertionError, match="can't move from validating_files to succeeded"):
        succeed(store, claimed[1])
    assert store.files.find(OURS, "file-result") is None


class Leases(RuleBasedStateMachine):
    """Two workers and a client in any order, beside a model of what must happen: a write passes
    exactly if its lease is the newest and the job hasn't ended."""

    # Set by the test below: hypothesis makes the machine, pytest the store.
    store: Store
    clock: FixedClock
    num_made = 0

    def __init__(self) -> None:
        super().__init__()
        Leases.num_made += 1
        self.job_id = f"ftjob-{Leases.num_made}"
        self.num_events = 0
        self.leases: list[Lease] = []
        self.holder: Lease | None = None
        self.expires_at = self.clock.now
        self.has_ended = False
        add_job(self.store, a_job(self.job_id))

    @rule(worker=st.sampled_from(["worker-1", "worker-2"]))
    def claim(self, worker: str) -> None:
        claimed = self.store.jobs.claim(worker, UNFINISHED, ttl_s=60)
        is_free = not self.has_ended and (self.holder is None or self.expires_at <= self.clock.now)
        assert (claimed is not None) == is_free
        if claimed is not None:
            assert claimed[0].id == self.job_id
            assert all(claimed[1].fence > lease.fence for lease in self.leases)
            self.holder = claimed[1]
            self.leases.append(claimed[1])
            self.expires_at = self.clock.now + timedelta(seconds=60)

    @rule(seconds=st.sampled_from([1, 30, 60]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), write=st.sampled_from(["record", "renew", "release", "fail"]))
    def write(self, data: st.DataObject, write: str) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        is_held = lease == self.holder
        try:
            self.apply(write, lease)
        except errors.LeaseLost:
            assert not is_held
            return
        assert is_held
        self.num_events += write in ("record", "fail")
        self.has_ended = write == "fail"
        if write in ("release", "fail"):
            self.holder = None
        if write == "renew":
            self.expires_at = self.clock.now + timedelta(seconds=60)

    def apply(self, write: str, lease: Lease) -> None:
        if write == "record":
            self.store.jobs.record(lease, [NewEvent("step")])
        elif write == "renew":
            self.store.jobs.renew(lease, ttl_s=60)
        elif write == "release":
            self.store.jobs.release(lease)
        else:
            self.store.jobs.move(lease, JobStatus.FAILED, [NewEvent("failed")], error=ERROR)

    @precondition(lambda self: not self.has_ended)
    @rule()
    def cancel(self) -> None:
        self.store.jobs.cancel(OURS, self.job_id)
        self.num_events += 1
        self.holder = None
        self.has_ended = True

    @invariant()
    def nothing_was_written_by_a_loser(self) -> None:
        assert len(self.store.events.page(self.job_id, limit=100).items) == self.num_events

    def teardown(self) -> None:
        if not self.has_ended:
            self.store.jobs.cancel(OURS, self.job_id)


def test_leases_in_any_order(store: Store, clock: FixedClock) -> None:
    Leases.store, Leases.clock = store, clock
    run_state_machine_as_test(
        Leases, settings=settings(max_examples=25, stateful_step_count=15, deadline=None)
    )
