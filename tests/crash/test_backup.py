"""A backup taken in the order of docs/operations.md, while a job goes on, is a whole one."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.strikes import Point
from tests.crash.training import IDS, Bench, Outcome, now
from tunesmith.store.store import open_store


@pytest.fixture
def backup(bench: Bench, tmp_path: Path) -> tuple[Path, str]:
    """A folder with the restored backup, and the job that was in hand."""
    data_dir, restored = bench.launcher.data_dir, tmp_path / "restored"
    job_id = bench.create_job()
    bench.launcher.start("worker", Point("sync runs/JOB", 2, "after")).wait()
    shutil.copytree(data_dir / "runs", restored / "runs")
    # The service works on between the first step of the backup and the second.
    adapters = "commit update jobs(fence), insert checkpoints, insert tuned_models"
    bench.launcher.start("worker", Point(adapters, 2, "after")).wait()
    with (
        closing(sqlite3.connect(data_dir / "tunesmith.db")) as database,
        closing(sqlite3.connect(restored / "tunesmith.db")) as copy,
    ):
        database.backup(copy)
    for folder in ("blobs", "adapters", "weights"):
        shutil.copytree(data_dir / folder, restored / folder)
    shutil.copy(data_dir / "models.toml", restored)
    bench.run(job_id)
    return restored, job_id


def test_job_of_a_backup_ends_as_if_nothing_had_happened(
    bench: Bench, backup: tuple[Path, str], undisturbed: tuple[Outcome, list[str]]
) -> None:
    restored, job_id = backup
    with closing(open_store(restored, ids=IDS, clock=now)) as store:
        there = Bench(bench.launcher.on(restored), store, bench.scope)
        assert not there.job(job_id).status.is_terminal
        there.run(job_id)
        assert there.outcome(job_id) == undisturbed[0]
