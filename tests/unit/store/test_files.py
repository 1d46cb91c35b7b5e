from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.store.builders import (
    ERROR,
    OURS,
    START,
    FixedClock,
    a_job,
    add_file,
    add_job,
    running_job,
    stored_file,
)
from tunesmith.domain import errors
from tunesmith.domain.files import FilePurpose
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import JobStatus
from tunesmith.domain.tenancy import Scope
from tunesmith.store.store import Store, open_store

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for many generated cases, each in a project of its own."""
    store = open_store(tmp_path_factory.mktemp("data"), ids=Ids(), clock=FixedClock())
    yield store
    store.close()


def test_file_comes_back_as_it_went_in(store: Store) -> None:
    file = stored_file(filename='täst "1".jsonl', size_bytes=2**40, expires_at=START + HOUR)
    store.files.add(file)
    assert store.files.find(OURS, file.id) == file


projects = count()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_pages_together_are_the_whole_list(shared: Store, data: st.DataObject) -> None:
    """For any times (many equal, some going backwards), page size, direction and purpose."""
    scope = Scope("org-ours", f"proj_{next(projects)}")
    purposes = [FilePurpose.FINE_TUNE, FilePurpose.BATCH]
    made = []
    for number, (hour, purpose) in enumerate(
        data.draw(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(purposes)), max_size=9))
    ):
        file = stored_file(
            f"file-{scope.project_id}-{number}",
            scope,
            created_at=START + hour * HOUR,
            purpose=purpose,
        )
        shared.files.add(file)
        made.append(file)

    limit = data.draw(st.integers(1, 4))
    ascending = data.draw(st.booleans())
    wanted = data.draw(st.sampled_from([None, *purposes]))
    # Stable: equal times stay in the order in which the files were made.
    expected = sorted(made, key=lambda file: file.created_at)
    expected = [file for file in expected if wanted in (None, file.purpose)]
    expected = expected if ascending else expected[::-1]

    listed = []
    after = None
    while True:
        page = shared.files.page(
            scope, purpose=wanted, limit=limit, ascending=ascending, after=after
        )
        listed += page.items
        assert page.has_more == (len(listed) < len(expected))
        if not page.has_more:
            break
        assert len(page.items) == limit
        after = page.items[-1].id
    assert listed == expected


def test_page_may_begin_after_a_file_of_another_purpose(store: Store) -> None:
    for number, purpose in enumerate([FilePurpose.FINE_TUNE, FilePurpose.BATCH]):
        store.files.add(stored_file(f"file-{number}", purpose=purpose))
    page = store.files.page(OURS, purpose=FilePurpose.FINE_TUNE, limit=5, after="file-1")
    assert [file.id for file in page.items] == ["file-0"]


def test_unknown_after_is_refused_by_name(store: Store) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        store.files.page(OURS, limit=5, after="file-none")
    assert caught.value.param == "after"


def test_deleted_file_is_gone_with_its_blob(store: Store) -> None:
    file = add_file(store, stored_file())
    assert store.files.delete(OURS, file.id) is True
    assert store.files.find(OURS, file.id) is None
    assert not store.blobs.exists(file.blob_key)
    assert store.files.delete(OURS, file.id) is False


def test_deleted_file_of_a_running_job_keeps_its_bytes_until_the_job_ends(store: Store) -> None:
    lease = running_job(store)
    assert store.files.delete(OURS, "file-1") is True
    assert store.files.find(OURS, "file-1") is None
    assert store.blobs.exists("files/file-1")
    store.jobs.move(lease, JobStatus.FAILED, error=ERROR)
    assert not store.blobs.exists("files/file-1")


def test_validation_bytes_stay_as_long_as_training_bytes(store: Store) -> None:
    add_file(store, stored_file("file-valid"))
    add_job(store, a_job(validation_file_id="file-valid", validation_blob="files/file-valid"))
    store.files.delete(OURS, "file-valid")
    assert store.blobs.exists("files/file-valid")
    store.jobs.cancel(OURS, "ftjob-1")
    assert not store.blobs.exists("files/file-valid")
    assert store.blobs.exists("files/file-1"), "its file is still there"


def test_bytes_stay_until_the_last_of_two_jobs_ends(store: Store) -> None:
    add_job(store, a_job("ftjob-1"))
    add_job(store, a_job("ftjob-2"))
    store.files.delete(OURS, "file-1")
    store.jobs.cancel(OURS, "ftjob-1")
    assert store.blobs.exists("files/file-1")
    store.jobs.cancel(OURS, "ftjob-2")
    assert not store.blobs.exists("files/file-1")


def test_expired_file_is_invisible(store: Store, clock: FixedClock) -> None:
    add_file(store, stored_file(expires_at=START + HOUR))
    clock.advance(3599)
    assert store.files.find(OURS, "file-1") is not None
    clock.advance(1)
    assert store.files.find(OURS, "file-1") is None
    assert store.files.page(OURS, limit=5).items == ()
    assert store.files.delete(OURS, "file-1") is False


def test_bytes_of_an_expired_file_go_with_its_row_unless_a_job_needs_them(
    store: Store, clock: FixedClock
) -> None:
    add_file(store, stored_file("file-1", expires_at=START + HOUR))
    add_file(store, stored_file("file-2", expires_at=START + HOUR))
    add_job(store, a_job(file_id="file-1"))
    clock.advance(3600)
    assert store.files.sweep() == 1
    assert store.blobs.exists("files/file-1")
    assert not store.blobs.exists("files/file-2")
    store.jobs.cancel(OURS, "ftjob-1")
    assert not store.blobs.exists("files/file-1")


def test_sweep_removes_what_nothing_names(store: Store, clock: FixedClock) -> None:
    """Left by processes that died between a blob and its row, or the other way round."""
    add_file(store, stored_file("file-kept"))
    add_file(store, stored_file("file-expired", expires_at=START + HOUR))
    add_job(store, a_job(file_id="file-of-job"))
    store.files.delete(OURS, "file-of-job")
    store.blobs.put_bytes("files/orphan", b"x")
    # Blobs have the time of the disk, which is not the test's.
    clock.now = START.now(START.tzinfo) + timedelta(days=1, minutes=1)
    assert store.files.sweep() == 2
    assert store.blobs.exists("files/file-kept")
    assert store.blobs.exists("files/file-of-job")
    assert not store.blobs.exists("files/file-expired")
    assert not store.blobs.exists("files/orphan")


def test_sweep_leaves_young_blobs_whose_row_may_be_on_its_way(
    store: Store, clock: FixedClock
) -> None:
    store.blobs.put_bytes("files/uploading", b"x")
    clock.now = START.now(START.tzinfo) + timedelta(hours=1)
    assert store.files.sweep() == 0
    assert store.blobs.exists("files/uploading")
