"""Files: rows that clients see, in front of blobs.

The two don't live equally long. A job keeps its training data although the client deletes the
file; so a blob goes when neither a file nor an unfinished job names it any more. Whoever removes
the last name (`delete` here, the end of a job in `jobs.py`) looks in the same transaction, and
deletes the blob after it: nobody can name a blob again once its file's row is gone. A process
that dies in between leaves a blob to `sweep`. Blobs of an upload's parts have but one name, and
go with it (`uploads.py`).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select

from tunesmith.domain.answered import AnsweredRequest
from tunesmith.domain.files import FilePurpose, StoredFile
from tunesmith.domain.jobs import JobStatus
from tunesmith.domain.pages import Page, Place
from tunesmith.domain.tenancy import Scope
from tunesmith.store import tables
from tunesmith.store.answered import write_answered
from tunesmith.store.blobs import Blobs
from tunesmith.store.database import Clock, Database
from tunesmith.store.rows import fetch_page, from_row, in_scope, to_row

NEWEST = (tables.files.c.created_at, tables.files.c.position)
UNFINISHED = tuple(status for status in JobStatus if not status.is_terminal)
SWEEP_AGE = timedelta(days=1)  # a blob without a row may be one whose row is about to be written


class Files:
    def __init__(self, database: Database, blobs: Blobs, clock: Clock) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock

    def add(self, file: StoredFile, answered: AnsweredRequest | None = None) -> None:
        """The row; its blob must be there already. Raises AlreadyAnswered for a retry."""
        with self._database.write() as connection:
            write_answered(connection, answered)
            write_file(connection, file)

    def find(self, scope: Scope, id: str) -> StoredFile | None:
        query = select(tables.files).where(self._visible(scope), tables.files.c.id == id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return from_row(StoredFile, row) if row else None

    def page(
        self,
        scope: Scope,
        *,
        purpose: FilePurpose | None = None,
        limit: int,
        ascending: bool = False,
        after: str | Place | None = None,
    ) -> Page[StoredFile]:
        """Newest first unless `ascending`. InvalidRequest if `after` is no file of this scope."""
        with self._database.read() as connection:
            return fetch_page(
                connection,
                StoredFile,
                tables.files,
                self._visible(scope),
                order=NEWEST,
                limit=limit,
                after=after,
                only=() if purpose is None else (tables.files.c.purpose == purpose,),
                is_ascending=ascending,
            )

    def delete(self, scope: Scope, id: str) -> bool:
        """False if there is no such file. The blob goes too, unless an unfinished job needs it."""
        gone = (
            delete(tables.files)
            .where(self._visible(scope), tables.files.c.id == id)
            .returning(tables.files.c.blob_key)
        )
        with self._database.write() as connection:
            key = connection.execute(gone).scalar_one_or_none()
            unused = unused_blobs(connection, [key])
        for blob in unused:
            self._blobs.delete(blob)
        return key is not None

    def sweep(self, min_age: timedelta = SWEEP_AGE) -> int:
        """Deletes expired files with their blobs, and blobs that nothing names and that are old
        enough; gives back how many blobs went."""
        now = self._clock()
        files = tables.files.c
        gone = delete(tables.files).where(files.expires_at <= now).returning(files.blob_key)
        with self._database.write() as connection:
            unused = unused_blobs(connection, connection.execute(gone).scalars().all())
        old = set(self._blobs.written_before(now - min_age)).difference(unused)
        with self._database.read() as connection:
            unused += unused_blobs(connection, old)
        for blob in unused:
            self._blobs.delete(blob)
        self._blobs.delete_staged(min_age.total_seconds())
        return len(unused)

    def _visible(self, scope: Scope) -> ColumnElement[bool]:
        return visible(scope, self._clock())


def visible(scope: Scope, now: datetime) -> ColumnElement[bool]:
    """The files that a caller of this scope may see."""
    expires_at = tables.files.c.expires_at
    return in_scope(tables.files, scope) & or_(expires_at.is_(None), expires_at > now)


def write_file(connection: Connection, file: StoredFile) -> None:
    connection.execute(insert(tables.files).values(to_row(file)))


def unused_blobs(connection: Connection, keys: Iterable[str | None]) -> list[str]:
    """Those of `keys` that neither a file, an unfinished job nor an upload's part names."""
    files, jobs, parts = tables.files.c, tables.jobs.c, tables.upload_parts.c
    unused = []
    for key in {key for key in keys if key is not None}:
        of_file = select(files.id).where(files.blob_key == key)
        of_job = select(jobs.id).where(
            or_(jobs.training_blob == key, jobs.validation_blob == key),
            jobs.status.in_(UNFINISHED),
        )
        of_part = select(parts.id).where(parts.blob_key == key)
        if connection.execute(of_file.union_all(of_job, of_part).limit(1)).first() is None:
            unused.append(key)
    return unused
