"""Uploads from the store's side: time, races between processes, and what is swept up."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import text

from tests.unit.store.builders import OURS, START, FixedClock, add_part, an_upload
from tunesmith.domain import errors
from tunesmith.domain.ids import Ids
from tunesmith.domain.uploads import LIFETIME, Upload, UploadStatus
from tunesmith.store.store import Store, open_store
from tunesmith.store.uploads import CLEAR_AFTER, FORGET_AFTER


@dataclass
class LeapingClock(FixedClock):
    """40 minutes pass between any two looks at it."""

    def __call__(self) -> datetime:
        self.advance(40 * 60)
        return self.now


@dataclass
class MeddlingClock(FixedClock):
    """Whoever looks at it for the first time is overtaken by someone else."""

    meddle: Callable[[], object] | None = None

    def __call__(self) -> datetime:
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            meddle()
        return self.now


def num_part_rows(store: Store) -> int:
    with store._database.read() as connection:
        return connection.execute(text("SELECT count(*) FROM upload_parts")).scalar_one()


def blob_names(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "blobs").rglob("*") if path.is_file())


def test_upload_comes_back_as_it_went_in(store: Store) -> None:
    upload = an_upload(filename='täst "1".jsonl', size_bytes=2**40, file_expires_after_s=3600)
    store.uploads.add(upload)
    assert store.uploads.find(OURS, upload.id) == upload


def test_expired_upload_can_neither_go_on_nor_be_completed(store: Store, clock: FixedClock) -> None:
    store.uploads.add(an_upload())
    add_part(store, "part_1")
    clock.advance(3600)
    found = store.uploads.find(OURS, "upload_1")
    assert found is not None
    assert found.status is UploadStatus.EXPIRED
    for use in (
        lambda: add_part(store, "part_2"),
        lambda: store.uploads.complete(OURS, "upload_1", ["part_1"]),
        lambda: store.uploads.cancel(OURS, "upload_1"),
    ):
        with pytest.raises(errors.InvalidRequest, match='already has status "expired"'):
            use()


def test_completion_that_began_in_time_may_end_after_it(data_dir: Path) -> None:
    """Joining gigabytes takes its time; 20 minutes before the end it begins, 20 after it ends."""
    clock = LeapingClock()
    store = open_store(data_dir, ids=Ids(), clock=clock)
    store.uploads.add(an_upload())
    clock.now = START - timedelta(minutes=40)
    add_part(store, "part_1")
    completed = store.uploads.complete(OURS, "upload_1", ["part_1"])
    assert completed is not None
    assert completed.status is UploadStatus.COMPLETED
    assert completed.file_id is not None
    file = store.files.find(OURS, completed.file_id)
    store.close()
    assert file is not None
    assert file.created_at > START + LIFETIME


def test_sweep_clears_expired_uploads_away(store: Store, clock: FixedClock, data_dir: Path) -> None:
    for id in ("upload_1", "upload_2"):
        store.uploads.add(an_upload(id))
    add_part(store, "part_1")
    add_part(store, "part_2", "upload_2")
    store.uploads.complete(OURS, "upload_2", ["part_2"])
    clock.now = START + LIFETIME + CLEAR_AFTER - timedelta(seconds=1)
    assert store.uploads.sweep() == 0
    assert "part_1" in blob_names(data_dir), "a completion that began in time may need it"
    clock.advance(1)
    assert store.uploads.sweep() == 1
    assert num_part_rows(store) == 0
    assert "part_1" not in blob_names(data_dir)
    with pytest.raises(errors.InvalidRequest, match='already has status "expired"'):
        store.uploads.cancel(OURS, "upload_1")

    clock.now = START + LIFETIME + FORGET_AFTER
    assert store.uploads.sweep() == 0
    assert store.uploads.find(OURS, "upload_1") is None
    assert store.uploads.find(OURS, "upload_2") is None
    assert len(store.files.page(OURS, limit=5).items) == 1


def test_sweep_of_files_leaves_parts_that_an_upload_has(
    store: Store, clock: FixedClock, data_dir: Path
) -> None:
    """And takes those that a process left which died before it wrote their rows."""
    store.uploads.add(an_upload())
    add_part(store, "part_1")
    store.blobs.put_bytes("parts/part_orphan", b"x")
    clock.now = datetime.now(START.tzinfo) + timedelta(days=1, minutes=1)
    assert store.files.sweep() == 1
    assert blob_names(data_dir) == ["part_1"]


def test_of_two_processes_that_complete_one_makes_the_file(
    open_again: Callable[[], Store], data_dir: Path
) -> None:
    stores = [open_again(), open_again()]
    for number in range(10):
        id = f"upload_{number}"
        stores[0].uploads.add(an_upload(id))
        part_ids = [
            add_part(stores[0], f"part_{number}_{position}", id, b"abc") for position in range(2)
        ]
        start = Barrier(2)

        def complete(
            store: Store, id: str = id, part_ids: list[str] = part_ids, start: Barrier = start
        ) -> Upload | None:
            start.wait()
            return store.uploads.complete(OURS, id, part_ids)

        with ThreadPoolExecutor(2) as threads:
            one, other = threads.map(complete, stores)
        assert one is not None
        assert one == other
    assert len(stores[0].files.page(OURS, limit=100).items) == 10
    assert len(blob_names(data_dir)) == 10
    assert num_part_rows(stores[0]) == 0


def test_completion_that_is_overtaken_takes_what_it_finds(store: Store, data_dir: Path) -> None:
    """By another one, or by a cancel, after it saw a pending upload: its parts are gone then, but
    that isn't what the client should read."""
    clock = MeddlingClock()
    slow = open_store(data_dir, ids=Ids(), clock=clock)
    for id in ("upload_1", "upload_2"):
        store.uploads.add(an_upload(id))
        add_part(store, f"part_of_{id}", id)

    clock.meddle = lambda: store.uploads.complete(OURS, "upload_1", ["part_of_upload_1"])
    completed = slow.uploads.complete(OURS, "upload_1", ["part_of_upload_1"])
    assert completed is not None
    assert completed == store.uploads.find(OURS, "upload_1")

    clock.meddle = lambda: store.uploads.cancel(OURS, "upload_2")
    with pytest.raises(errors.InvalidRequest, match='already has status "cancelled"'):
        slow.uploads.complete(OURS, "upload_2", ["part_of_upload_2"])
    slow.close()
    assert len(store.files.page(OURS, limit=5).items) == 1


@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_part_that_races_with_the_end_leaves_nothing_behind(
    open_again: Callable[[], Store], data_dir: Path, end: str
) -> None:
    """It is added before, and goes with the others, or is refused after."""
    ours, theirs = open_again(), open_again()
    ours.uploads.add(an_upload(size_bytes=3))
    first = add_part(ours, "part_first", content=b"abc")
    start = Barrier(2)

    def keep_adding() -> int:
        start.wait()
        for number in count():
            try:
                add_part(theirs, f"part_{number}", content=b"")
            except errors.InvalidRequest:
                theirs.blobs.delete(f"parts/part_{number}")
                return number
        raise AssertionError

    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(keep_adding)
        start.wait()
        if end == "complete":
            assert ours.uploads.complete(OURS, "upload_1", [first])
        else:
            assert ours.uploads.cancel(OURS, "upload_1")
        adding.result()
    assert num_part_rows(ours) == 0
    assert len(blob_names(data_dir)) == (1 if end == "complete" else 0)


def test_lost_bytes_are_no_reason_to_lose_the_upload(store: Store) -> None:
    """A disk that forgot a part: what is there stays, the part can be sent again."""
    store.uploads.add(an_upload())
    add_part(store, "part_1")
    store.blobs.delete("parts/part_1")
    with pytest.raises(errors.NotFound):
        store.uploads.complete(OURS, "upload_1", ["part_1"])
    add_part(store, "part_2")
    assert store.uploads.complete(OURS, "upload_1", ["part_2"])
