from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError, StatementError

from tests.unit.store.builders import OURS, START, a_job, add_job, stored_file
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import NewEvent
from tunesmith.store import tables
from tunesmith.store.database import Database
from tunesmith.store.store import Store, open_store


@pytest.fixture
def database(data_dir: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{data_dir / 'tunesmith.db'}")
    yield database
    database.close()


def test_commit_survives_a_power_failure(database: Database) -> None:
    """WAL with synchronous=NORMAL, which many recommend, may lose the last commits."""
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2, "2 is FULL"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_failed_write_leaves_nothing(database: Database) -> None:
    row = {"id": "org-1", "name": "one", "created_at": START}

    def write_twice() -> None:
        with database.write() as connection:
            for _ in range(2):
                connection.execute(insert(tables.organizations).values(row))

    with pytest.raises(IntegrityError):
        write_twice()
    with database.read() as connection:
        assert connection.execute(select(tables.organizations)).all() == []


def test_reader_is_not_disturbed_by_a_writer(database: Database) -> None:
    row = {"id": "org-1", "name": "one", "created_at": START}
    names = select(tables.organizations.c.name)
    with database.read() as reader:
        assert reader.execute(names).all() == []
        with database.write() as writer:
            writer.execute(insert(tables.organizations).values(row))
        assert reader.execute(names).all() == []
    with database.read() as reader:
        assert reader.execute(names).scalars().all() == ["one"]


def test_many_threads_write_and_none_is_refused(store: Store) -> None:
    """As many as FastAPI has, on fewer connections: each waits for its turn."""
    add_job(store, a_job())

    def write(number: int) -> None:
        store.files.add(stored_file(f"file-t{number}"))
        assert store.files.find(OURS, f"file-t{number}") is not None

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(write, range(120)))
    assert len(store.files.page(OURS, limit=1000).items) == 121


@given(st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)))
def test_times_come_back_to_the_microsecond(moment: datetime) -> None:
    kind = tables.UtcTime()
    dialect = sqlite.dialect()
    assert kind.process_result_value(kind.process_bind_param(moment, dialect), dialect) == moment


def test_time_is_stored_as_microseconds_of_utc() -> None:
    in_tokyo = datetime(1970, 1, 1, 9, 0, 1, 5, tzinfo=timezone(timedelta(hours=9)))
    assert tables.UtcTime().process_bind_param(in_tokyo, sqlite.dialect()) == 1_000_005


def test_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises((AssertionError, StatementError), match="without a zone"):
        store.files.add(stored_file(created_at=datetime(2026, 1, 1)))


def test_not_a_number_is_refused(store: Store) -> None:
    """It isn't JSON: it would come out as a body that no client can parse."""
    add_job(store, a_job())
    with pytest.raises((ValueError, StatementError), match="JSON"):
        store.jobs.create(a_job("ftjob-2"), [NewEvent("Step 1", data={"train_loss": float("nan")})])
    assert store.jobs.find(OURS, "ftjob-2") is None


def test_absent_json_is_null_in_the_database(database: Database, store: Store) -> None:
    """Not JSON's null, which no `IS NULL` finds."""
    add_job(store, a_job())
    query = text("SELECT count(*) FROM jobs WHERE plan IS NULL AND metadata IS NULL")
    with database.read() as connection:
        assert connection.execute(query).scalar() == 1


def test_store_keeps_its_folder_when_the_process_changes_its_own(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, open_again: Callable[[], Store]
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(Path("data"), ids=Ids(), clock=lambda: START)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.files.add(stored_file(f"file-{n}")), range(8)))
    store.blobs.put_bytes("files/file-1", b"line 1")
    store.close()
    assert len(open_again().files.page(OURS, limit=10).items) == 8
    assert (data_dir / "blobs/files/file-1").read_bytes() == b"line 1"
