"""Creations that were answered, by their idempotency keys.

The row is written in the transaction that makes the object, so there is never one without the
other, whenever a process dies. Of two requests at once with one key, the table's primary key lets
one through.
"""

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from tunesmith.domain.answered import REMEMBERED_FOR, AnsweredRequest, answer_again
from tunesmith.domain.tenancy import Scope
from tunesmith.store import tables
from tunesmith.store.database import Clock, Database
from tunesmith.store.rows import from_row, in_scope, to_row

TABLE = tables.answered_requests


class AnsweredRequests:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def find(self, scope: Scope, key: str) -> AnsweredRequest | None:
        query = select(TABLE).where(
            in_scope(TABLE, scope),
            TABLE.c.key == key,
            TABLE.c.created_at > self._clock() - REMEMBERED_FOR,
        )
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return from_row(AnsweredRequest, row) if row else None

    def sweep(self) -> int:
        """Forgets those that are old enough; gives back how many."""
        old = delete(TABLE).where(TABLE.c.created_at <= self._clock() - REMEMBERED_FOR)
        with self._database.write() as connection:
            return connection.execute(old).rowcount


def write_answered(connection: Connection, request: AnsweredRequest | None) -> None:
    """In the transaction of every creation, before anything that its being a retry would make
    fail; None: the client sent no key.

    Raises AlreadyAnswered, or InvalidRequest for another request with its key: then nothing of
    the transaction happens.
    """
    if request is None:
        return
    same_key = (TABLE.c.project_id == request.project_id) & (TABLE.c.key == request.key)
    forgotten = TABLE.c.created_at <= request.created_at - REMEMBERED_FOR
    connection.execute(delete(TABLE).where(same_key, forgotten))
    try:
        with connection.begin_nested():
            connection.execute(insert(TABLE).values(to_row(request)))
    except IntegrityError:
        row = connection.execute(select(TABLE).where(same_key)).mappings().one()
        answer_again(from_row(AnsweredRequest, row), request.fingerprint)
