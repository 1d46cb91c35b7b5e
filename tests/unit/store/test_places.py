"""The queue as the first era's events tell it: a number when a job is queued, and each lower one
when the queue moves on (behaviour reference, section 20.4)."""

from datetime import timedelta

from tests.unit.store.builders import OURS, PLAN, START, a_job, add_file, add_job, stored_file
from tunesmith.domain.eras import Era
from tunesmith.domain.jobs import JobStatus, Lease
from tunesmith.store.jobs import TOLD_PLACES
from tunesmith.store.store import Store

TTL_S = 3600.0


def queued(store: Store, number: int) -> str:
    """A job that is made after all before it, and validated."""
    job_id = f"ftjob-{number}"
    add_job(store, a_job(job_id, created_at=START + timedelta(seconds=number)))
    validate(store, job_id)
    return job_id


def validate(store: Store, job_id: str) -> None:
    lease = claimed(store, JobStatus.VALIDATING_FILES)
    assert lease.job_id == job_id
    store.jobs.move(lease, JobStatus.QUEUED)
    store.jobs.release(lease)


def claimed(store: Store, status: JobStatus) -> Lease:
    found = store.jobs.claim("worker", {status}, TTL_S)
    assert found is not None
    return found[1]


def start(store: Store) -> None:
    store.jobs.move(claimed(store, JobStatus.QUEUED), JobStatus.RUNNING, plan=PLAN)


def places(store: Store, job_id: str) -> list[str]:
    events, _ = store.events.since(job_id, Era.FINE_TUNES)
    return [event.message for event in events if "Queue number" in event.message]


def test_a_job_alone_is_the_first(store: Store) -> None:
    assert places(store, queued(store, 1)) == ["Fine-tune enqueued. Queue number: 0"]


def test_who_waits_counts_down(store: Store) -> None:
    """A job that trains isn't in the queue any more."""
    _, _, third = (queued(store, number) for number in range(3))
    told = ["Fine-tune enqueued. Queue number: 2"]
    assert places(store, third) == told
    for place in (1, 0):
        start(store)
        told.append(f"Fine-tune is in the queue. Queue number: {place}")
        assert places(store, third) == told
    start(store)
    assert places(store, third) == told


def test_a_cancel_moves_those_behind_it_and_no_others(store: Store) -> None:
    first, second, third = (queued(store, number) for number in range(3))
    store.jobs.cancel(OURS, second)
    assert places(store, first) == ["Fine-tune enqueued. Queue number: 0"]
    assert places(store, second) == ["Fine-tune enqueued. Queue number: 1"]
    assert places(store, third) == [
        "Fine-tune enqueued. Queue number: 2",
        "Fine-tune is in the queue. Queue number: 1",
    ]


def test_only_those_near_their_turn_are_told(store: Store) -> None:
    """Else each job that starts would write an event for all that wait."""
    jobs = [queued(store, number) for number in range(TOLD_PLACES + 3)]
    last = jobs[-1]
    told = [f"Fine-tune enqueued. Queue number: {TOLD_PLACES + 2}"]
    for _ in range(2):  # it is at place TOLD_PLACES then
        start(store)
        assert places(store, last) == told
    start(store)
    assert places(store, last) == [
        *told,
        f"Fine-tune is in the queue. Queue number: {TOLD_PLACES - 1}",
    ]


def test_no_place_is_told_twice(store: Store) -> None:
    """An older job may be queued later, say because its file is larger. Whoever is behind it again
    has been told that place."""
    add_job(store, a_job("ftjob-large", created_at=START))
    large = claimed(store, JobStatus.VALIDATING_FILES)
    second, third = queued(store, 2), queued(store, 3)
    store.jobs.move(large, JobStatus.QUEUED)
    assert places(store, "ftjob-large") == ["Fine-tune enqueued. Queue number: 0"]
    told = [
        "Fine-tune enqueued. Queue number: 0",
        "Fine-tune is in the queue. Queue number: 1",
    ]
    assert places(store, second) == told
    store.jobs.cancel(OURS, "ftjob-large")
    assert places(store, second) == told
    assert places(store, third) == [
        "Fine-tune enqueued. Queue number: 1",
        "Fine-tune is in the queue. Queue number: 2",
    ]


def test_today_s_api_tells_no_places(store: Store) -> None:
    job_id = queued(store, 1)
    add_file(store, stored_file("file-2"))
    assert store.events.page(job_id, Era.JOBS, limit=10).items == ()
