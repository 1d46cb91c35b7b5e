from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.store.builders import (
    ERROR,
    OURS,
    PLAN,
    START,
    FixedClock,
    a_job,
    add_file,
    add_job,
    running_job,
    stored_file,
)
from tunesmith.domain import errors
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import EventLevel, Job, JobStatus, NewEvent
from tunesmith.domain.plan import Hyperparameters
from tunesmith.domain.tenancy import Scope
from tunesmith.store.files import UNFINISHED
from tunesmith.store.store import Store, open_store

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for many generated cases, each in a project of its own."""
    store = open_store(tmp_path_factory.mktemp("data"), ids=Ids(), clock=FixedClock())
    yield store
    store.close()


def test_job_comes_back_as_it_went_in(store: Store) -> None:
    """Every field set to something: a forgotten column would lose one."""
    add_file(store, stored_file("file-2"))
    job = a_job(
        hyperparameters=Hyperparameters(3, 8, 0.1),
        seed=2**31 - 1,
        suffix="marv",
        metadata={"team": "a", "päth.$[0]": '"quoted"'},
        integrations=({"type": "wandb", "wandb": {"project": "p", "tags": ["x"]}},),
        validation_file_id="file-2",
        validation_blob="files/file-2",
        parent_adapter_id="Ab3dEf9h",
        plan=PLAN,
        estimated_finish=START + HOUR,
        finished_at=START + 2 * HOUR,
        fine_tuned_model="ft:base:org::Ab3dEf9h",
        trained_tokens=2**40,
        result_file_id="file-3",
        error=ERROR,
    )
    add_job(store, job)
    assert store.jobs.find(OURS, job.id) == job


def test_bare_job_comes_back_as_it_went_in(store: Store) -> None:
    job = add_job(store, a_job())
    assert store.jobs.find(OURS, job.id) == job
    assert store.jobs.find(OURS, "ftjob-none") is None


def test_creation_and_its_events_are_one_write(store: Store) -> None:
    add_file(store, stored_file())
    store.jobs.create(a_job(), [NewEvent("Created fine-tuning job: ftjob-1")])
    (event,) = store.events.page("ftjob-1", limit=5).items
    assert event.message == "Created fine-tuning job: ftjob-1"


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_job_on_a_file_deleted_meanwhile_is_refused(store: Store, param: str) -> None:
    """The API looked, then the client deleted: without this the bytes would be gone already."""
    add_file(store, stored_file())
    job = a_job(**{f"{param}_id": "file-gone", f"{param[:-5]}_blob": "files/file-gone"})
    with pytest.raises(errors.InvalidRequest, match=f"invalid {param}: file-gone") as caught:
        store.jobs.create(job, [NewEvent("Created")])
    assert caught.value.param == param
    assert store.jobs.find(OURS, job.id) is None


def test_job_on_a_file_of_another_project_is_refused(store: Store) -> None:
    add_file(store, stored_file(scope=Scope("org-ours", "proj_other")))
    with pytest.raises(errors.InvalidRequest, match="invalid training_file"):
        store.jobs.create(a_job(), [])


projects = count()
METADATA = st.none() | st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_pages_together_are_the_whole_list(shared: Store, data: st.DataObject) -> None:
    """For any times and metadata, any filter and page size; `has_more` is never wrong, else an
    SDK's loop over all pages would end too early, or never."""
    scope = Scope("org-ours", f"proj_{next(projects)}")
    file = add_file(shared, stored_file(f"file-{scope.project_id}", scope))
    made: list[Job] = []
    for number, (hour, metadata) in enumerate(
        data.draw(st.lists(st.tuples(st.integers(0, 2), METADATA), max_size=9))
    ):
        id = f"ftjob-{scope.project_id}-{number}"
        job = a_job(id, file.id, scope, created_at=START + hour * HOUR, metadata=metadata)
        shared.jobs.create(job, [])
        made.append(job)

    wanted = data.draw(st.none() | st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")))
    without = data.draw(st.booleans()) if not wanted else False
    limit = data.draw(st.integers(1, 4))

    def is_wanted(job: Job) -> bool:
        pairs = dict(job.metadata or {}).items()
        return (not without or not pairs) and set((wanted or {}).items()) <= set(pairs)

    expected = [job for job in sorted(made, key=lambda job: job.created_at)[::-1] if is_wanted(job)]
    # sorted() is stable, and the whole is reversed: later made comes first among equal times.
    listed: list[Job] = []
    after = None
    while True:
        page = shared.jobs.page(
            scope, limit=limit, after=after, metadata=wanted, without_metadata=without
        )
        listed += page.items
        assert page.has_more == (len(listed) < len(expected))
        if not page.has_more:
            break
        after = page.items[-1].id
    assert listed == expected


@pytest.mark.parametrize("key", ['"', "'", "a.b", "$", "a[0]", "%", "päth", "\\", " "])
def test_any_metadata_key_can_be_filtered_by(store: Store, key: str) -> None:
    add_job(store, a_job("ftjob-1", metadata={key: "x"}))
    add_job(store, a_job("ftjob-2", metadata={key: "y"}))
    page = store.jobs.page(OURS, limit=5, metadata={key: "y"})
    assert [job.id for job in page.items] == ["ftjob-2"]


def test_unknown_after_is_refused_by_name(store: Store) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        store.jobs.page(OURS, limit=5, after="ftjob-none")
    assert caught.value.param == "after"


@pytest.mark.parametrize("status", ["validating_files", "queued", "running"])
def test_cancel_takes_effect_at_once(store: Store, clock: FixedClock, status: str) -> None:
    job = add_job(store, a_job(status=JobStatus(status), estimated_finish=START + HOUR))
    clock.advance(5)
    cancelled = store.jobs.cancel(OURS, job.id)
    assert cancelled == replace(
        job, status=JobStatus.CANCELLED, finished_at=clock.now, estimated_finish=None
    )
    assert store.jobs.find(OURS, job.id) == cancelled
    (event,) = store.events.page(job.id, limit=5).items
    assert event.message == "Fine tuning process stopping due to job cancellation"
    assert event.level is EventLevel.WARN


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_ended_job_cannot_be_cancelled(store: Store, status: str) -> None:
    job = add_job(store, a_job(status=JobStatus(status)))
    with pytest.raises(errors.InvalidRequest) as caught:
        store.jobs.cancel(OURS, job.id)
    assert (
        caught.value.message == f'Cannot cancel a job ftjob-1 that already has status "{status}".'
    )
    assert caught.value.param is None
    assert store.jobs.find(OURS, job.id) == job
    assert store.events.page(job.id, limit=5).items == ()


def test_unknown_job_cannot_be_cancelled(store: Store) -> None:
    assert store.jobs.cancel(OURS, "ftjob-none") is None


def test_cancelled_job_is_never_claimed(store: Store) -> None:
    lease = running_job(store)
    store.jobs.cancel(OURS, lease.job_id)
    assert store.jobs.claim("worker-2", UNFINISHED, ttl_s=60) is None
