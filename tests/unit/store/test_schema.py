import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from tests.unit.store.builders import FixedClock
from tunesmith.domain import errors
from tunesmith.domain.ids import Ids
from tunesmith.store import schema
from tunesmith.store.database import Database
from tunesmith.store.store import open_store

OPEN = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from tunesmith.domain.ids import Ids
from tunesmith.store.store import open_store

store = open_store(Path(sys.argv[1]), ids=Ids(), clock=lambda: datetime.now(UTC))
store.tenants.ensure_first("local", "sk-" + "a" * 43)
store.close()
print("alembic.command" in sys.modules)
"""


def described(connection: Connection) -> dict[str, object]:
    """Everything about the tables that a query could notice."""
    inspector = inspect(connection)
    return {
        name: {
            "columns": [
                (one["name"], str(one["type"]), one["nullable"])
                for one in inspector.get_columns(name)
            ],
            "primary key": inspector.get_pk_constraint(name)["constrained_columns"],
            "unique": sorted(one["column_names"] for one in inspector.get_unique_constraints(name)),
            "indexes": sorted(
                (one["name"], one["column_names"], one["unique"])
                for one in inspector.get_indexes(name)
            ),
            "foreign keys": sorted(
                (
                    one["constrained_columns"],
                    one["referred_table"],
                    one["referred_columns"],
                    str(one["options"]),
                )
                for one in inspector.get_foreign_keys(name)
            ),
        }
        for name in inspector.get_table_names()
        if not name.startswith(("alembic", "sqlite"))
    }


def autoincremented(connection: Connection) -> set[str]:
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    return {row.name for row in rows if row.sql and "AUTOINCREMENT" in row.sql}


def start(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", OPEN, str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_migrated_database_equals_a_fresh_one(tmp_path: Path) -> None:
    """A table that is changed without a migration would work here and fail at every user's."""
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.db'}")
    schema.migrate(fresh)
    migrated = Database(f"sqlite:///{tmp_path / 'migrated.db'}")
    with migrated.write() as connection:
        schema.upgrade(connection)
    with fresh.read() as ours, migrated.read() as theirs:
        assert described(theirs) == described(ours)
        assert autoincremented(theirs) == autoincremented(ours)
        version = text("SELECT version_num FROM alembic_version")
        assert theirs.execute(version).scalar_one() == ours.execute(version).scalar_one()
    fresh.close()
    migrated.close()


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", schema.SCRIPTS)
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


def test_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    processes = [start(tmp_path / "data") for _ in range(3)]
    complaints = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], complaints


def test_threads_that_open_at_once_migrate_once(tmp_path: Path) -> None:
    def open_one(_: int) -> None:
        open_store(tmp_path / "data", ids=Ids(), clock=FixedClock()).close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(open_one, range(6)))
    database = Database(f"sqlite:///{tmp_path / 'data' / 'tunesmith.db'}")
    with database.read() as connection:
        versions = connection.execute(text("SELECT version_num FROM alembic_version"))
        assert versions.scalars().all() == [schema.HEAD]
    database.close()


def test_database_at_head_is_opened_without_alembic(data_dir: Path) -> None:
    """Its import takes longer than all the rest of the store's start."""
    output, complaints = start(data_dir).communicate(timeout=60)
    assert output == "False\n", complaints


def test_newer_database_is_refused(data_dir: Path) -> None:
    """A downgraded program must not write into tables that it doesn't understand."""
    database = Database(f"sqlite:///{data_dir / 'tunesmith.db'}")
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(errors.TunesmithError, match="schema 9999"):
        schema.migrate(database)
    database.close()


def test_interrupted_migration_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data definition is part of the transaction: half a schema would be there for ever."""
    database = Database(f"sqlite:///{tmp_path / 'tunesmith.db'}")
    create = schema._create

    def create_and_die(connection: Connection) -> None:
        create(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(schema, "_create", create_and_die)
    with pytest.raises(KeyboardInterrupt):
        schema.migrate(database)
    with database.read() as connection:
        assert inspect(connection).get_table_names() == []
    monkeypatch.undo()
    schema.migrate(database)
    with database.read() as connection:
        assert "jobs" in inspect(connection).get_table_names()
    database.close()
