"""Brings a database to the schema that this version of the program expects.

A new database gets the tables as they are; one of an earlier version goes through the migrations
in `migrations/versions/`, run by alembic. A test holds the two to the same result. Most starts
find the database up to date, and few import alembic, which takes half a second.
"""

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select

from tunesmith.domain import errors
from tunesmith.store import tables
from tunesmith.store.database import Database, Task

HEAD = "0007"  # the newest migration
SCRIPTS = "tunesmith.store:migrations"

# Alembic's own table, as it makes it.
VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def migrate(database: Database) -> None:
    """Idempotent, and safe to call from several processes at once: one migrates, in a single
    transaction, the others wait.

    TunesmithError if the database was made by a newer version of the program.
    """
    with database.read() as connection:
        if _revision(connection) == HEAD:
            return
    database.use_wal()
    with database.write() as connection:
        database.exclude_others(connection, Task.MIGRATE)
        revision = _revision(connection)
        if revision is not None and revision > HEAD:
            raise errors.TunesmithError(
                f"The database {database.url!r} has schema {revision}, this version of tunesmith "
                f"knows {HEAD} at most. Start a newer version, or another data directory."
            )
        if revision is None:
            _create(connection)
        elif revision != HEAD:
            upgrade(connection)


def _create(connection: Connection) -> None:
    """All tables at once, and the mark that alembic would have left."""
    tables.metadata.create_all(connection)
    VERSION.create(connection)
    connection.execute(insert(VERSION).values(version_num=HEAD))


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION.name):
        return None
    return connection.execute(select(VERSION.c.version_num)).scalar_one_or_none()


def upgrade(connection: Connection) -> None:
    """Runs the migrations that the database hasn't seen; on an empty one, all of them."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
