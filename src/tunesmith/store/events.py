"""Events of jobs, in the order in which they were written, as the API of either era tells them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, insert, or_, select

from tunesmith.domain.eras import Era
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import Event, EventType, NewEvent
from tunesmith.domain.pages import Page, Place
from tunesmith.store import tables
from tunesmith.store.database import Database
from tunesmith.store.rows import fetch_page, from_row, to_row

ORDER = (tables.events.c.position,)


class Events:
    """The job's id is the key to its events: find the job in the caller's scope first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        job_id: str,
        era: Era = Era.JOBS,
        *,
        limit: int,
        after: str | Place | None = None,
    ) -> Page[Event]:
        """Newest first; what the API of `era` tells. InvalidRequest if `after` is none of these
        events."""
        with self._database.read() as connection:
            return fetch_page(
                connection,
                Event,
                tables.events,
                _told_by(job_id, era),
                order=ORDER,
                limit=limit,
                after=after,
            )

    def since(self, job_id: str, era: Era, position: int = 0) -> tuple[list[Event], int]:
        """All that the API of `era` tells and that was written behind `position`, oldest first, and
        the position to go on from. Who goes on from there is spared what others are told: a job's
        metrics are thousands, and going through 20,000 takes 6 ms."""
        ours = tables.events.c
        newest = select(func.max(ours.position)).where(ours.job_id == job_id)
        with self._database.read() as connection:
            last = connection.execute(newest).scalar_one() or position
            query = (
                select(tables.events)
                .where(_told_by(job_id, era), ours.position > position, ours.position <= last)
                .order_by(*ORDER)
            )
            rows = connection.execute(query).mappings() if last > position else ()
            return [from_row(Event, row) for row in rows], last

    def all_metrics(self, job_id: str) -> list[Event]:
        """Oldest first: one per step."""
        query = (
            select(tables.events)
            .where(tables.events.c.job_id == job_id, tables.events.c.type == EventType.METRICS)
            .order_by(*ORDER)
        )
        with self._database.read() as connection:
            return [from_row(Event, row) for row in connection.execute(query).mappings()]


def _told_by(job_id: str, era: Era) -> ColumnElement[bool]:
    ours = tables.events.c
    return (ours.job_id == job_id) & or_(ours.era == era, ours.era.is_(None))


def write_events(
    connection: Connection, job_id: str, events: Sequence[NewEvent], ids: Ids, now: datetime
) -> int:
    """In the caller's transaction, which holds the job's row: so nobody else writes events of
    this job meanwhile. What is told only `once` and has been told is left out. Gives back how
    many were new."""
    told = _told(connection, job_id, events)
    rows = []
    for event in events:
        if event.once is not None and event.once in told:
            continue
        told.add(event.once)
        rows.append({"id": ids.event(), "job_id": job_id, "created_at": now, **to_row(event)})
    if rows:
        connection.execute(insert(tables.events), rows)
    return len(rows)


def _told(connection: Connection, job_id: str, events: Sequence[NewEvent]) -> set[str | None]:
    once = [event.once for event in events if event.once is not None]
    if not once:
        return set()
    ours = tables.events.c
    query = select(ours.once).where(ours.job_id == job_id, ours.once.in_(once))
    return set(connection.execute(query).scalars())
