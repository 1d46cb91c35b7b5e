"""Creations remembered under their keys (`store/answered.py`)."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.unit.store.builders import OURS, FixedClock, a_job, add_file, an_answer, stored_file
from tunesmith.domain import errors
from tunesmith.domain.answered import AlreadyAnswered
from tunesmith.domain.tenancy import Scope
from tunesmith.store.store import Store

DAY_S = 86_400


def test_a_key_lets_one_object_through(store: Store) -> None:
    store.files.add(stored_file("file-1"), an_answer())
    with pytest.raises(AlreadyAnswered) as caught:
        store.files.add(stored_file("file-2"), an_answer(answer="another"))
    assert caught.value.answer == an_answer().answer
    assert store.files.find(OURS, "file-2") is None


def test_a_key_that_was_another_request_s_is_refused(store: Store) -> None:
    add_file(store, stored_file())
    store.files.add(stored_file("file-2"), an_answer())
    with pytest.raises(errors.InvalidRequest, match="'key-1' was used for another request"):
        store.jobs.create(a_job(), [], an_answer(fingerprint="something else"))
    assert store.jobs.find(OURS, "ftjob-1") is None


def test_threads_at_once_with_one_key_make_one_object(store: Store) -> None:
    def add(number: int) -> str:
        try:
            store.files.add(stored_file(f"file-{number}"), an_answer(answer=f"file-{number}"))
        except AlreadyAnswered as retry:
            return retry.answer
        return f"file-{number}"

    with ThreadPoolExecutor(8) as pool:
        told = set(pool.map(add, range(16)))
    assert told == {file.id for file in store.files.page(OURS, limit=100).items}
    assert len(told) == 1


def test_what_was_refused_is_not_remembered(store: Store) -> None:
    with pytest.raises(errors.InvalidRequest):
        store.jobs.create(a_job(file_id="file-none"), [], an_answer())
    add_file(store, stored_file())
    store.jobs.create(a_job(), [], an_answer())
    assert store.jobs.find(OURS, "ftjob-1") is not None


def test_a_key_is_free_again_after_a_day(store: Store, clock: FixedClock) -> None:
    store.files.add(stored_file("file-1"), an_answer())
    clock.advance(DAY_S - 1)
    assert store.answered.find(OURS, "key-1") == an_answer()
    with pytest.raises(AlreadyAnswered):
        store.files.add(stored_file("file-2"), an_answer(created_at=clock.now))
    clock.advance(1)
    assert store.answered.find(OURS, "key-1") is None
    later = an_answer(fingerprint="something else", created_at=clock.now)
    store.files.add(stored_file("file-2"), later)
    assert store.answered.find(OURS, "key-1") == later


def test_sweep_forgets_the_old_only(store: Store, clock: FixedClock) -> None:
    store.files.add(stored_file("file-1"), an_answer("old"))
    clock.advance(DAY_S)
    store.files.add(stored_file("file-2"), an_answer("new", created_at=clock.now))
    assert store.answered.sweep() == 1
    assert store.answered.sweep() == 0
    assert store.answered.find(OURS, "new") is not None


def test_projects_have_their_own_keys(store: Store) -> None:
    other = Scope(OURS.organization_id, "proj_other")
    store.files.add(stored_file("file-1"), an_answer())
    store.files.add(stored_file("file-2", other), replace(an_answer(), project_id="proj_other"))
    assert store.files.find(other, "file-2") is not None
