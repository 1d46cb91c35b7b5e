import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.store.builders import OURS, a_checkpoint, running_job, tuned_by
from tunesmith.domain import errors
from tunesmith.domain.jobs import Checkpoint, Lease, StepMetrics
from tunesmith.store.store import Store


def add(store: Store, lease: Lease, step: int, keep: int = 3) -> list[Checkpoint]:
    checkpoint = a_checkpoint(step, lease.job_id)
    return store.jobs.add_checkpoint(lease, checkpoint, tuned_by(checkpoint), keep)


def listed(store: Store, job_id: str = "ftjob-1") -> list[int]:
    return [one.step for one in store.checkpoints.page(job_id, limit=10).items]


def test_checkpoint_is_listed_and_callable_at_once(store: Store) -> None:
    lease = running_job(store)
    checkpoint = a_checkpoint(3)
    assert add(store, lease, 3) == []
    assert store.checkpoints.page(lease.job_id, limit=10).items == (checkpoint,)
    assert store.tuned_models.find(OURS, checkpoint.model_name) == tuned_by(checkpoint)


def test_a_classifiers_metrics_are_kept(store: Store) -> None:
    lease = running_job(store)
    metrics = StepMetrics(3, 0.5, 0.75, 0.25, classification={"classification/f1.0": 0.875})
    checkpoint = replace(a_checkpoint(3), metrics=metrics)
    store.jobs.add_checkpoint(lease, checkpoint, tuned_by(checkpoint), keep=3)
    assert store.checkpoints.page(lease.job_id, limit=1).items == (checkpoint,)


def test_metrics_from_before_there_were_sequence_accuracies_can_be_read(
    store: Store, data_dir: Path
) -> None:
    """The service was upgraded, and its database holds checkpoints."""
    lease = running_job(store)
    add(store, lease, 3)
    old = {
        "step": 3,
        "train_loss": 0.5,
        "train_mean_token_accuracy": 0.75,
        "valid_loss": None,
        "valid_mean_token_accuracy": None,
        "full_valid_loss": 0.25,
        "full_valid_mean_token_accuracy": 1.0,
    }
    with closing(sqlite3.connect(data_dir / "tunesmith.db")) as connection, connection:
        connection.execute("UPDATE checkpoints SET metrics = ?", (json.dumps(old),))
    (checkpoint,) = store.checkpoints.page(lease.job_id, limit=1).items
    assert checkpoint.metrics == StepMetrics(
        3, 0.5, 0.75, full_valid_loss=0.25, full_valid_mean_token_accuracy=1.0
    )


def test_last_ones_stay_and_the_others_are_handed_back(store: Store) -> None:
    lease = running_job(store)
    removed = [add(store, lease, step) for step in (3, 6, 9, 12, 15)]
    assert removed == [[], [], [], [a_checkpoint(3)], [a_checkpoint(6)]]
    assert listed(store) == [15, 12, 9]
    names = {model.name for model in store.tuned_models.all(OURS)}
    assert names == {a_checkpoint(step).model_name for step in (9, 12, 15)}


def test_keeping_fewer_than_before_removes_several(store: Store) -> None:
    lease = running_job(store)
    for step in (1, 2, 3):
        add(store, lease, step, keep=3)
    removed = add(store, lease, 4, keep=1)
    assert {one.step for one in removed} == {1, 2, 3}
    assert listed(store) == [4]


def test_step_repeated_after_a_crash_keeps_its_checkpoint(store: Store) -> None:
    """The worker died between this write and its own snapshot: the name that a client may have
    seen already goes on working."""
    lease = running_job(store)
    add(store, lease, 3)
    again = replace(a_checkpoint(3), id="ftckpt_again", adapter_id="newadapt", model_name="ft:new")
    assert store.jobs.add_checkpoint(lease, again, tuned_by(again), keep=3) == []
    assert store.checkpoints.page(lease.job_id, limit=10).items == (a_checkpoint(3),)
    assert store.tuned_models.find(OURS, "ft:new") is None


def test_jobs_do_not_prune_each_other(store: Store) -> None:
    for id in ("ftjob-1", "ftjob-2"):
        lease = running_job(store, id)
        for step in (1, 2):
            add(store, lease, step, keep=1)
    assert listed(store, "ftjob-1") == [2]
    assert listed(store, "ftjob-2") == [2]


def test_pages_are_highest_step_first(store: Store) -> None:
    lease = running_job(store)
    for step in (9, 10, 100):
        add(store, lease, step)
    first = store.checkpoints.page(lease.job_id, limit=2)
    assert ([one.step for one in first.items], first.has_more) == ([100, 10], True)
    rest = store.checkpoints.page(lease.job_id, limit=2, after=first.items[-1].id)
    assert ([one.step for one in rest.items], rest.has_more) == ([9], False)


def test_unknown_after_is_refused_by_name(store: Store) -> None:
    lease = running_job(store)
    with pytest.raises(errors.InvalidRequest) as caught:
        store.checkpoints.page(lease.job_id, limit=2, after="ftckpt_none")
    assert caught.value.param == "after"


def test_deleted_model_can_no_longer_be_called(store: Store) -> None:
    lease = running_job(store)
    add(store, lease, 3)
    name = a_checkpoint(3).model_name
    assert store.tuned_models.delete(OURS, name) is True
    assert store.tuned_models.find(OURS, name) is None
    assert store.tuned_models.delete(OURS, name) is False
    assert listed(store) == [3], "the list tells what the job made"


def test_models_are_listed_oldest_first(store: Store) -> None:
    lease = running_job(store)
    for step in (1, 2, 3):
        add(store, lease, step)
    names = [model.name for model in store.tuned_models.all(OURS)]
    assert names == [a_checkpoint(step).model_name for step in (1, 2, 3)]
