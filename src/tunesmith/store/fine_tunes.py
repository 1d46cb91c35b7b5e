"""Jobs in the first era's view, which holds their files whole and isn't paged.

The list has no end but that of the jobs, so it is read in parts: ten thousand at once are 55 MB for
each who asks. A part takes three queries: for jobs with the times of their newest events, which an
index has at hand; for the files that they name; and for the place to go on from.
"""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, ScalarSelect, func, select, tuple_

from tunesmith.domain.eras import job_id_of
from tunesmith.domain.files import StoredFile
from tunesmith.domain.fine_tunes import FineTune
from tunesmith.domain.jobs import Job
from tunesmith.domain.pages import PART
from tunesmith.domain.tenancy import Scope
from tunesmith.store import tables
from tunesmith.store.database import Clock, Database
from tunesmith.store.files import visible
from tunesmith.store.rows import from_row, in_scope, order_of

OLDEST_FIRST = (tables.jobs.c.created_at, tables.jobs.c.position)
FILES = ("training_file_id", "validation_file_id", "result_file_id")


class FineTunes:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def parts(self, scope: Scope, size: int = PART) -> Iterator[list[FineTune]]:
        """All jobs of both eras, oldest first; none of the parts is empty. Nothing is held from one
        to the next, so whoever reads may take their time."""
        ours = next_ones = in_scope(tables.jobs, scope)
        while True:
            with self._database.read() as connection:
                part = self._fetch(connection, scope, next_ones, size)
                if not part:
                    return
                last = order_of(connection, tables.jobs, ours, OLDEST_FIRST, part[-1].job.id)
            yield part
            next_ones = ours & (tuple_(*OLDEST_FIRST) > last)

    def find(self, scope: Scope, id: str) -> FineTune | None:
        """By the job's id of either era."""
        within = in_scope(tables.jobs, scope) & (tables.jobs.c.id == job_id_of(id))
        with self._database.read() as connection:
            return next(iter(self._fetch(connection, scope, within, 1)), None)

    def _fetch(
        self, connection: Connection, scope: Scope, within: ColumnElement[bool], limit: int
    ) -> list[FineTune]:
        ours = tables.jobs.c
        updated_at = func.coalesce(_newest_event(), ours.created_at)
        jobs = (
            select(tables.jobs, updated_at.label("updated_at"))
            .where(within)
            .order_by(*OLDEST_FIRST)
            .limit(limit)
        )
        rows = connection.execute(jobs).mappings().all()
        named = {row[column] for row in rows for column in FILES if row[column] is not None}
        files = select(tables.files).where(
            visible(scope, self._clock()), tables.files.c.id.in_(named)
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
