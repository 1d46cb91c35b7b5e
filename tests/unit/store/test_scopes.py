"""Nobody sees what belongs to another project, through any query that a client can reach."""

import inspect
from collections.abc import Callable

import pytest

from tests.unit.store.builders import (
    MAX_PART_BYTES,
    OURS,
    START,
    a_checkpoint,
    a_job,
    add_completion,
    add_part,
    an_answer,
    an_upload,
    running_job,
    stored_file,
    tuned_by,
)
from tunesmith.domain import errors
from tunesmith.domain.tenancy import Scope
from tunesmith.domain.uploads import UploadPart
from tunesmith.store.store import Store

STRANGERS = {
    "another project": Scope(OURS.organization_id, "proj_other"),
    "another organisation": Scope("org-other", OURS.project_id),
    "neither": Scope("org-other", "proj_other"),
    "nobody": Scope("", ""),
}
NAME = a_checkpoint(3).model_name
ANSWER = "chatcmpl-1"
PART = UploadPart("part_2", "upload_1", START, 6, "parts/part_2")

QUERIES: dict[str, Callable[[Store, Scope], object]] = {
    "answered.find": lambda store, scope: store.answered.find(scope, "key-1"),
    "files.find": lambda store, scope: store.files.find(scope, "file-1"),
    "files.page": lambda store, scope: store.files.page(scope, limit=10).items,
    "files.delete": lambda store, scope: store.files.delete(scope, "file-1"),
    "uploads.find": lambda store, scope: store.uploads.find(scope, "upload_1"),
    "uploads.add_part": lambda store, scope: store.uploads.add_part(scope, PART, MAX_PART_BYTES),
    "uploads.complete": lambda store, scope: store.uploads.complete(scope, "upload_1", ["part_1"]),
    "uploads.cancel": lambda store, scope: store.uploads.cancel(scope, "upload_1"),
    "jobs.find": lambda store, scope: store.jobs.find(scope, "ftjob-1"),
    "jobs.page": lambda store, scope: store.jobs.page(scope, limit=10).items,
    "jobs.cancel": lambda store, scope: store.jobs.cancel(scope, "ftjob-1"),
    "jobs.pause": lambda store, scope: store.jobs.pause(scope, "ftjob-1"),
    "jobs.resume": lambda store, scope: store.jobs.resume(scope, "ftjob-paused"),
    "fine_tunes.find": lambda store, scope: store.fine_tunes.find(scope, "ft-1"),
    "fine_tunes.parts": lambda store, scope: list(store.fine_tunes.parts(scope)),
    "stored_completions.find": lambda store, scope: store.stored_completions.find(scope, ANSWER),
    "stored_completions.page": lambda store, scope: (
        store.stored_completions.page(scope, limit=10).items
    ),
    "stored_completions.messages": lambda store, scope: store.stored_completions.messages(
        scope, ANSWER, limit=10
    ),
    "stored_completions.set_metadata": lambda store, scope: store.stored_completions.set_metadata(
        scope, ANSWER, {"a": "b"}, 10_000
    ),
    "stored_completions.delete": lambda store, scope: store.stored_completions.delete(
        scope, ANSWER
    ),
    "tuned_models.find": lambda store, scope: store.tuned_models.find(scope, NAME),
    "tuned_models.all": lambda store, scope: store.tuned_models.all(scope),
    "tuned_models.delete": lambda store, scope: store.tuned_models.delete(scope, NAME),
}
AFTERS: dict[str, Callable[[Store, Scope], object]] = {
    "files.page": lambda store, scope: store.files.page(scope, limit=10, after="file-1"),
    "jobs.page": lambda store, scope: store.jobs.page(scope, limit=10, after="ftjob-1"),
    "stored_completions.page": lambda store, scope: store.stored_completions.page(
        scope, limit=10, after=ANSWER
    ),
}


@pytest.fixture
def full_store(store: Store) -> Store:
    """One of everything, ours."""
    running_job(store, "ftjob-paused")
    store.jobs.pause(OURS, "ftjob-paused")
    lease = running_job(store)
    store.files.add(stored_file("file-3"), an_answer())
    checkpoint = a_checkpoint(3)
    store.jobs.add_checkpoint(lease, checkpoint, tuned_by(checkpoint), keep=3)
    store.uploads.add(an_upload())
    add_part(store, "part_1")
    add_completion(store, ANSWER, metadata={"a": "1"})
    return store


def seen_by_us(store: Store) -> object:
    return (
        store.files.page(OURS, limit=10),
        store.uploads.find(OURS, "upload_1"),
        store.jobs.page(OURS, limit=10),
        store.tuned_models.all(OURS),
        store.stored_completions.page(OURS, limit=10),
    )


def test_every_query_with_a_scope_is_tested_here(store: Store) -> None:
    with_scope = {
        f"{noun}.{name}"
        for noun, queries in vars(store).items()
        for name, query in inspect.getmembers(queries, inspect.ismethod)
        if not name.startswith("_") and "scope" in inspect.signature(query).parameters
    }
    assert with_scope == QUERIES.keys()


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS.keys())
def test_stranger_sees_and_changes_nothing(
    full_store: Store, query: Callable[[Store, Scope], object], stranger: Scope
) -> None:
    before = seen_by_us(full_store)
    assert not query(full_store, stranger)
    assert seen_by_us(full_store) == before
    assert query(full_store, OURS), "else the query finds nothing for anybody"


@pytest.mark.parametrize("query", AFTERS.values(), ids=AFTERS.keys())
@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS.keys())
def test_id_of_a_stranger_is_as_unknown_as_any(
    full_store: Store, query: Callable[[Store, Scope], object], stranger: Scope
) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        query(full_store, stranger)
    assert caught.value.param == "after"


def test_job_cannot_be_made_on_a_strangers_file(full_store: Store) -> None:
    for stranger in STRANGERS.values():
        with pytest.raises(errors.InvalidRequest, match="invalid training_file"):
            full_store.jobs.create(a_job("ftjob-2", "file-1", stranger), [])


def test_same_filename_in_two_projects_is_two_files(full_store: Store) -> None:
    stranger = STRANGERS["another project"]
    full_store.files.add(stored_file("file-2", stranger))
    assert [one.id for one in full_store.files.page(stranger, limit=10).items] == ["file-2"]
    assert {one.id for one in full_store.files.page(OURS, limit=10).items} == {"file-1", "file-3"}
