"""Brings a database to the schema that this version of the program expects.

The migrations are in `migrations/versions/`, run by alembic. Most starts find the database
up to date and never import it.
"""

from sqlalchemy import Connection, String, column, inspect, select, table

from tunesmith.domain import errors
from tunesmith.store.database import Database, Task

HEAD = "0001"  # the newest migration
SCRIPTS = "tunesmith.store:migrations"


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
        if revision != HEAD:
            _upgrade(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    query = select(column("version_num", String)).select_from(table("alembic_version"))
    return connection.execute(query).scalar_one_or_none()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", SCRIPTS)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
