"""What the reporter says of a run while it lasts."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.store.builders import OURS, PLAN, running_job
from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import Job, Lease, StepMetrics
from tunesmith.jobs.leases import HeldLease
from tunesmith.jobs.reporter import FLUSH_INTERVAL_S, Reporter
from tunesmith.store.store import Store, open_store
from tunesmith.training.progress import SaveDue, StepDone

STEP_S = FLUSH_INTERVAL_S + 0.05  # each step is written by itself


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(tmp_path / "data", ids=Ids(), clock=now)) as store:
        yield store


def find(store: Store, lease: Lease) -> Job:
    job = store.jobs.find(OURS, lease.job_id)
    assert job is not None
    return job


def reporter(store: Store, lease: Lease, tmp_path: Path) -> Reporter:
    held = HeldLease(store, lease, ttl_s=60)
    shelf = AdapterShelf(tmp_path / "adapters")
    return Reporter(store, shelf, Ids(), now, held, find(store, lease), PLAN)


def done(step: int) -> StepDone:
    return StepDone(StepMetrics(step, 1.0, 0.5), num_tokens=10, elapsed_s=0.1)


@pytest.mark.parametrize("first_step", [1, 3])
def test_estimate_is_made_of_this_runs_pace_alone(
    store: Store, tmp_path: Path, first_step: int
) -> None:
    """A run that goes on from step 3 must not take its one step for three."""
    lease = running_job(store)
    report = reporter(store, lease, tmp_path)
    report(done(first_step))
    assert find(store, lease).estimated_finish is None, "one step has no pace yet"
    time.sleep(STEP_S)
    report(done(first_step + 1))
    estimate = find(store, lease).estimated_finish
    assert estimate is not None
    remaining = PLAN.num_steps - first_step - 1
    assert (estimate - now()).total_seconds() > remaining * STEP_S


def test_what_was_told_is_kept_before_a_save(store: Store, tmp_path: Path) -> None:
    """The run that goes on from there won't tell it again."""
    lease = running_job(store)
    report = reporter(store, lease, tmp_path)
    for step in (1, 2):
        report(done(step))
    assert store.events.all_metrics(lease.job_id) == []
    report(SaveDue(2))
    told = [event.data and event.data["step"] for event in store.events.all_metrics(lease.job_id)]
    assert told == [1, 2]
