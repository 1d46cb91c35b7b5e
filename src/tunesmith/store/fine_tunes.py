"""Jobs in the first era's view, which holds their files whole and isn't paged.

However many jobs there are, it takes two queries: one for jobs with the times of their newest
events, which an index has at hand, and one for the files that they name.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, func, select

from tunesmith.domain.eras import job_id_of
from tunesmith.domain.files import StoredFile
from tunesmith.domain.fine_tunes import FineTune
from tunesmith.domain.jobs import Job
from tunesmith.domain.tenancy import Scope
from tunesmith.store import tables
from tunesmith.store.database import Clock, Database
from tunesmith.store.files import visible
from tunesmith.store.rows import from_row, in_scope


class FineTunes:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def all(self, scope: Scope) -> list[FineTune]:
        """All jobs of both eras, oldest first."""
        with self._database.read() as connection:
            return self._fetch(connection, scope, in_scope(tables.jobs, scope))

    def find(self, scope: Scope, id: str) -> FineTune | None:
        """By the job's id of either era."""
        within = in_scope(tables.jobs, scope) & (tables.jobs.c.id == job_id_of(id))
        with self._database.read() as connection:
            return next(iter(self._fetch(connection, scope, within)), None)

    def _fetch(
        self, connection: Connection, scope: Scope, within: ColumnElement[bool]
    ) -> list[FineTune]:
        ours = tables.jobs.c
        updated_at = func.coalesce(_newest_event(), ours.created_at)
        jobs = (
            select(tables.jobs, updated_at.label("updated_at"))
            .where(within)
            .order_by(ours.created_at, ours.position)
        )
        rows = connection.execute(jobs).mappings().all()
        files = select(tables.files).where(
            visible(scope, self._clock()), tables.files.c.id.in_(_named_by(within))
        )
        found = {
            row["id"]: from_row(StoredFile, row) for row in connection.execute(files).mappings()
        }
        return [
            FineTune(
                job=from_row(Job, row),
                updated_at=row["updated_at"],
                training_file=found.get(row["training_file_id"]),
                validation_file=found.get(row["validation_file_id"]),
                result_file=found.get(row["result_file_id"]),
            )
            for row in rows
        ]


def _newest_event() -> ScalarSelect[datetime]:
    """The time of each job's newest event."""
    events = tables.events.c
    return (
        select(events.created_at)
        .where(events.job_id == tables.jobs.c.id)
        .order_by(events.position.desc())
        .limit(1)
        .correlate(tables.jobs)
        .scalar_subquery()
    )


def _named_by(jobs: ColumnElement[bool]) -> Select[tuple[str]]:
    """The ids of the files of these jobs."""
    ours = tables.jobs.c
    named = [
        select(column.label("id")).where(jobs, column.is_not(None))
        for column in (ours.training_file_id, ours.validation_file_id, ours.result_file_id)
    ]
    return select(named[0].union_all(*named[1:]).subquery().c.id)
