"""What the reporter says of a run while it lasts."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.store.builders import PLAN, a_job, add_job
from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import JobStatus, StepMetrics
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


def estimate(store: Store) -> datetime | None:
    scope = store.tenants.ensure_first("local", "sk-tunesmith-test").scope
    job = store.jobs.find(scope, "ftjob-1")
    assert job is not None
    return job.estimated_finish


def reporter(store: Store, tmp_path: Path) -> Reporter:
    """Of a job that trains."""
    scope = store.tenants.ensure_first("local", "sk-tunesmith-test").scope
    add_job(store, a_job(scope=scope, status=JobStatus.RUNNING, plan=PLAN))
    claimed = store.jobs.claim("worker-1", [JobStatus.RUNNING], ttl_s=60)
    assert claimed is not None
    job, lease = claimed
    held = HeldLease(store, lease, ttl_s=60)
    return Reporter(store, AdapterShelf(tmp_path / "adapters"), Ids(), now, held, job, PLAN)


def done(step: int) -> StepDone:
    return StepDone(
        StepMetrics(step, 1.0, 0.5),
        num_tokens=10,
        elapsed_tokens=10 * step,
        elapsed_examples=step,
        elapsed_s=0.1,
    )


@pytest.mark.parametrize("first_step", [1, 3])
def test_estimate_is_made_of_this_runs_pace_alone(
    store: Store, tmp_path: Path, first_step: int
) -> None:
    """A run that goes on from step 3 must not take its one step for three."""
    report = reporter(store, tmp_path)
    report(done(first_step))
    assert estimate(store) is None, "one step has no pace yet"
    time.sleep(STEP_S)
    report(done(first_step + 1))
    finish = estimate(store)
    assert finish is not None
    remaining = PLAN.num_steps - first_step - 1
    assert (finish - now()).total_seconds() > remaining * STEP_S


def test_what_was_told_is_kept_before_a_save(store: Store, tmp_path: Path) -> None:
    """The run that goes on from there won't tell it again."""
    report = reporter(store, tmp_path)
    for step in (1, 2):
        report(done(step))
    assert store.events.all_metrics("ftjob-1") == []
    report(SaveDue(2))
    told = [event.data and event.data["step"] for event in store.events.all_metrics("ftjob-1")]
    assert told == [1, 2]
