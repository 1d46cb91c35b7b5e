"""Jobs in the first era's view: with their files, and when they were last heard of."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from tests.unit.store.builders import (
    OURS,
    START,
    FixedClock,
    a_job,
    add_file,
    add_job,
    running_job,
    stored_file,
)
from tunesmith.domain.eras import Era
from tunesmith.domain.fine_tunes import FineTune
from tunesmith.domain.jobs import NewEvent
from tunesmith.domain.tenancy import Scope
from tunesmith.store.store import Store


@contextmanager
def noted(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """The statements that the store sends to its database meanwhile, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    engine = store._database._engine
    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def all_of(store: Store, scope: Scope = OURS) -> list[FineTune]:
    return [one for part in store.fine_tunes.parts(scope) for one in part]


def test_oldest_first_of_one_project(store: Store) -> None:
    for number, hour in enumerate([3, 1, 2, 1]):
        created_at = START + timedelta(hours=hour)
        era = Era.FINE_TUNES if number % 2 else Era.JOBS
        add_job(store, a_job(f"ftjob-{number}", created_at=created_at, era=era))
    elsewhere = Scope("org-ours", "proj_other")
    add_job(store, a_job("ftjob-other", "file-other", scope=elsewhere))
    ids = [one.job.id for one in all_of(store)]
    assert ids == ["ftjob-1", "ftjob-3", "ftjob-2", "ftjob-0"]
    assert [one.job.id for one in all_of(store, elsewhere)] == ["ftjob-other"]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8])
def test_parts_are_full_and_make_the_whole(store: Store, size: int) -> None:
    """Also where many jobs were made in the same moment, and while new ones are made."""
    for number in range(7):
        created_at = START + timedelta(hours=number // 3)
        add_job(store, a_job(f"ftjob-{number}", created_at=created_at))
    whole, parts = all_of(store), list(store.fine_tunes.parts(OURS, size))
    assert [one for part in parts for one in part] == whole
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    begun = store.fine_tunes.parts(OURS, size)
    next(begun)
    add_job(store, a_job("ftjob-new", created_at=START + timedelta(hours=9)))
    rest = [one.job.id for part in begun for one in part]
    assert rest == ([one.job.id for one in whole[size:]] + ["ftjob-new"])


@pytest.mark.parametrize("id", ["ftjob-1", "ft-1"])
def test_one_is_found_by_both_ids_in_its_own_project(store: Store, id: str) -> None:
    job = add_job(store, a_job())
    found = store.fine_tunes.find(OURS, id)
    assert found is not None
    assert found.job == job
    assert [found] == all_of(store)
    assert store.fine_tunes.find(Scope("org-ours", "proj_other"), id) is None
    assert store.fine_tunes.find(OURS, "ft-none") is None


def test_files_are_those_of_the_job_that_are_still_there(store: Store, clock: FixedClock) -> None:
    add_file(store, stored_file("file-2", expires_at=START + timedelta(hours=1)))
    add_job(
        store,
        a_job(validation_file_id="file-2", validation_blob="files/file-2"),
    )
    (one,) = all_of(store)
    assert one.training_file == stored_file()
    assert one.validation_file is not None
    assert (one.validation_file.id, one.result_file) == ("file-2", None)
    clock.advance(3601)
    (one,) = all_of(store)
    assert (one.training_file, one.validation_file) == (stored_file(), None)
    store.files.delete(OURS, "file-1")
    (one,) = all_of(store)
    assert one.training_file is None


@pytest.mark.parametrize("era", [Era.JOBS, Era.FINE_TUNES, None])
def test_updated_at_is_when_anything_was_told(
    store: Store, clock: FixedClock, era: Era | None
) -> None:
    lease = running_job(store)
    clock.advance(90)
    store.jobs.record(lease, [NewEvent("a", era=era)])
    clock.advance(90)
    (one,) = all_of(store)
    assert one.updated_at == START + timedelta(seconds=90)


def test_a_job_without_events_was_updated_when_it_was_made(store: Store) -> None:
    add_file(store, stored_file())
    store.jobs.create(a_job(), [])
    (one,) = all_of(store)
    assert one.updated_at == START


def test_a_long_part_takes_no_more_queries_than_a_short_one(store: Store) -> None:
    """And none of them goes through all events: each newest one is the first of an index."""
    for number in range(50):
        add_job(store, a_job(f"ftjob-{number}"))
    with noted(store) as statements:
        assert len(next(store.fine_tunes.parts(OURS))) == 50
    (jobs, parameters), _files, _place = [s for s in statements if s[0].startswith("SELECT")]
    with store._database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {jobs}", parameters).all()
    (events,) = [row.detail for row in plan if " events " in row.detail]
    assert events == "SEARCH events USING INDEX ix_events_newest (job_id=?)"
