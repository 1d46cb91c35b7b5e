"""The janitor takes what nobody needs, and nothing else."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.store.builders import (
    OURS,
    START,
    FixedClock,
    a_checkpoint,
    a_job,
    add_completion,
    add_file,
    add_part,
    an_upload,
    running_job,
    stored_file,
    tuned_by,
)
from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.domain.ids import Ids
from tunesmith.jobs.janitor import MIN_AGE, REPORT_AGE_S, Janitor
from tunesmith.store.blobs import file_blob_key
from tunesmith.store.store import Store, open_store

OLD = time.time() - 2 * MIN_AGE.total_seconds()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "data", ids=Ids(), clock=lambda: datetime.now(UTC))
    yield store
    store.close()


def aged(folder: Path) -> Path:
    """`folder`, made if it isn't there, and old."""
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder, (OLD, OLD))
    return folder


def tidy(store: Store, folder: Path) -> None:
    Janitor(store, AdapterShelf(folder / "adapters"), folder / "runs", folder / "reports").tidy()


def test_adapters_stay_while_a_name_or_an_unfinished_job_needs_them(
    store: Store, tmp_path: Path
) -> None:
    lease = running_job(store)
    checkpoint = a_checkpoint(3)
    store.jobs.add_checkpoint(lease, checkpoint, tuned_by(checkpoint), keep=3)
    parent = a_job(id="ftjob-2", file_id="file-2", parent_adapter_id="parent01")
    add_file(store, stored_file("file-2"))
    store.jobs.create(parent, [])
    shelf = AdapterShelf(tmp_path / "adapters")
    for adapter_id in (checkpoint.adapter_id, "parent01", "unused01"):
        aged(shelf.path(adapter_id))
    shelf.path("young001").mkdir()
    tidy(store, tmp_path)
    left = {folder.name for folder in (tmp_path / "adapters").iterdir()}
    assert left == {checkpoint.adapter_id, "parent01", "young001"}
    assert store.tuned_models.delete(OURS, checkpoint.model_name)
    aged(shelf.path(checkpoint.adapter_id))
    tidy(store, tmp_path)
    assert not shelf.path(checkpoint.adapter_id).exists()


def test_snapshots_of_ended_jobs_go(store: Store, tmp_path: Path) -> None:
    lease = running_job(store)
    running = aged(tmp_path / "runs" / lease.job_id)
    ended = aged(tmp_path / "runs" / "ftjob-ended")
    young = tmp_path / "runs" / "ftjob-just-cancelled"
    young.mkdir()
    Janitor(
        store, AdapterShelf(tmp_path / "adapters"), tmp_path / "runs", tmp_path / "reports"
    ).tidy()
    assert running.exists()
    assert young.exists()
    assert not ended.exists()


def test_parts_of_uploads_that_nobody_finished_go(store: Store, tmp_path: Path) -> None:
    earlier = open_store(tmp_path / "data", ids=Ids(), clock=FixedClock())
    earlier.uploads.add(an_upload())
    add_part(earlier, "part_1")
    earlier.close()
    tidy(store, tmp_path)
    assert not store.blobs.exists("parts/part_1")


def test_stored_completions_go_when_they_expire(store: Store, tmp_path: Path) -> None:
    add_completion(store, "chatcmpl-old", expires_at=START)
    add_completion(store, "chatcmpl-new", expires_at=datetime.now(UTC) + timedelta(days=1))
    tidy(store, tmp_path)
    earlier = open_store(tmp_path / "data", ids=Ids(), clock=FixedClock())
    left = earlier.stored_completions.page(OURS, limit=10).items
    earlier.close()
    assert [completion.id for completion in left] == ["chatcmpl-new"]


def test_reports_go_with_their_file_and_after_a_day(store: Store, tmp_path: Path) -> None:
    """They quote the file, so they must not outlive it."""
    for file_id in ("file-1", "file-2"):
        store.blobs.put_bytes(file_blob_key(file_id), b"{}")
    kept, old, gone = (tmp_path / "reports" / f"file-{n}" for n in (1, 2, 3))
    for folder in (kept, old, gone):
        (folder / "0123").mkdir(parents=True)
    os.utime(old, (time.time() - 2 * REPORT_AGE_S,) * 2)
    tidy(store, tmp_path)
    assert [folder.exists() for folder in (kept, old, gone)] == [True, False, False]


def test_what_a_removal_left_half_done_goes(store: Store, tmp_path: Path) -> None:
    """Nobody publishes or removes that adapter again, who would tidy up on the way."""
    half = aged(tmp_path / "adapters" / ".unfinished-deleted1-x1y2z3")
    young = tmp_path / "adapters" / ".unfinished-justnow1-x1y2z3"
    young.mkdir()
    tidy(store, tmp_path)
    assert not half.exists()
    assert young.exists()
