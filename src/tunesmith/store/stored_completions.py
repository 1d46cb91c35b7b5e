"""Stored chat completions, in the order in which they were stored.

Each ends by its age, by its owner's wish, or because its project holds more than it may: then the
oldest of the project go, in the transaction that adds one. Messages and metadata are rows of their
own that go with it. A page is cut short where its completions would be too much for an answer.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    and_,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from tunesmith.domain import errors
from tunesmith.domain.pages import Page
from tunesmith.domain.stored_completions import StoredCompletion, StoredMessage, size_of_pairs
from tunesmith.domain.tenancy import Scope
from tunesmith.store import tables
from tunesmith.store.database import Clock, Database
from tunesmith.store.rows import fetch_page, from_row, in_scope, to_row

COMPLETIONS, MESSAGES = tables.stored_completions, tables.stored_messages
PAIRS, SIZES = tables.stored_metadata, tables.stored_sizes
ORDER = (COMPLETIONS.c.position,)


@dataclass(frozen=True)
class StoredLimits:
    page_bytes: int = 16 * 1024**2  # of an answer's completions
    deleted: int = 1000  # in one transaction: others wait for their turn


DEFAULT_LIMITS = StoredLimits()


class StoredCompletions:
    def __init__(
        self, database: Database, clock: Clock, limits: StoredLimits = DEFAULT_LIMITS
    ) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits

    def add(
        self, completion: StoredCompletion, messages: Sequence[StoredMessage], max_bytes: int
    ) -> int:
        """Gives back how many older ones of the project went, so that all of them take `max_bytes`
        at most. Raises StorageFull for one that takes more by itself."""
        if completion.size_bytes > max_bytes:
            raise errors.StorageFull(
                f"The completion {completion.id} takes {completion.size_bytes} bytes, and all of "
                f"a project's may take {max_bytes}."
            )
        scope = Scope(completion.organization_id, completion.project_id)
        with self._database.write() as connection:
            held = _held_bytes(connection, scope)
            excess = held + completion.size_bytes - max_bytes
            num_gone = self._delete_oldest(connection, scope, excess)
            connection.execute(insert(COMPLETIONS).values(to_row(completion)))
            _count(connection, scope, completion.size_bytes)
            connection.execute(insert(MESSAGES), [to_row(message) for message in messages])
            _write_pairs(connection, completion)
        return num_gone

    def find(self, scope: Scope, id: str) -> StoredCompletion | None:
        with self._database.read() as connection:
            return _found(connection, select(COMPLETIONS).where(self._is(scope, id)))

    def page(
        self,
        scope: Scope,
        *,
        limit: int,
        after: str | None = None,
        is_ascending: bool = True,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
        without_metadata: bool = False,
    ) -> Page[StoredCompletion]:
        """Oldest first unless told otherwise; all pairs of `metadata` must match. InvalidRequest
        if `after` is none of this scope's."""
        pairs = {PAIRS.alias(): pair for pair in (metadata or {}).items()}
        only = [_is_pair(row, scope, *pair) for row, pair in pairs.items()]
        if without_metadata:
            only.append(~exists().where(PAIRS.c.position == COMPLETIONS.c.position))
        if model is not None:
            only.append(COMPLETIONS.c.model == model)
        with self._database.read() as connection:
            sizes = fetch_page(
                connection,
                _Size,
                COMPLETIONS,
                self._visible(scope),
                order=ORDER,
                limit=limit,
                after=after,
                only=only,
                along=[row.c.position for row in pairs][:1],
                is_ascending=is_ascending,
            )
            ids = _within(self._limits.page_bytes, sizes.items)
            rows = connection.execute(select(COMPLETIONS).where(COMPLETIONS.c.id.in_(ids)))
            found = {row["id"]: from_row(StoredCompletion, row) for row in rows.mappings()}
        has_more = sizes.has_more or len(ids) < len(sizes.items)
        return Page(tuple(found[id] for id in ids), has_more)

    def messages(
        self,
        scope: Scope,
        id: str,
        *,
        limit: int,
        after: str | None = None,
        is_ascending: bool = True,
    ) -> Page[StoredMessage] | None:
        """None if there is no such completion, InvalidRequest if `after` is none of its
        messages."""
        with self._database.read() as connection:
            if connection.execute(select(COMPLETIONS.c.id).where(self._is(scope, id))).first():
                return fetch_page(
                    connection,
                    StoredMessage,
                    MESSAGES,
                    MESSAGES.c.completion_id == id,
                    order=(MESSAGES.c.number,),
                    limit=limit,
                    after=after,
                    is_ascending=is_ascending,
                )
        return None

    def set_metadata(
        self, scope: Scope, id: str, metadata: Mapping[str, str], max_bytes: int
    ) -> StoredCompletion | None:
        """The completion with these pairs in place of its own; None if there is no such one. Others
        make room for larger pairs as they do for a new completion."""
        this = select(COMPLETIONS).where(self._is(scope, id)).with_for_update()
        with self._database.write() as connection:
            before = _found(connection, this)
            if before is None:
                return None
            more = size_of_pairs(metadata) - size_of_pairs(before.metadata)
            excess = _held_bytes(connection, scope) + more - max_bytes
            self._delete_oldest(connection, scope, excess, but=id)
            _count(connection, scope, more)
            after = replace(before, metadata=metadata, size_bytes=before.size_bytes + more)
            changed = {"metadata": after.metadata, "size_bytes": after.size_bytes}
            connection.execute(update(COMPLETIONS).where(COMPLETIONS.c.id == id).values(changed))
            _write_pairs(connection, after)
        return after

    def delete(self, scope: Scope, id: str) -> bool:
        """False if there is no such completion."""
        with self._database.write() as connection:
            return _delete(connection, self._is(scope, id)) != []

    def sweep(self) -> int:
        """Deletes those that have expired; gives back how many."""
        ours = COMPLETIONS.c
        most = self._limits.deleted
        expired = select(ours.position).where(ours.expires_at <= self._clock()).limit(most)
        num_gone = 0
        while True:
            with self._database.write() as connection:
                gone = _delete(connection, ours.position.in_(expired))
            num_gone += len(gone)
            if len(gone) < most:
                return num_gone

    def _delete_oldest(
        self, connection: Connection, scope: Scope, num_bytes: int, but: str = ""
    ) -> int:
        """Makes room for so many bytes, `but` for one completion; gives back how many completions
        that took. What is more than one transaction may delete is left to the next ones."""
        ours = COMPLETIONS.c
        others = select(func.min(ours.position)).where(in_scope(COMPLETIONS, scope), ours.id != but)
        num_gone = 0
        while num_bytes > 0 and num_gone < self._limits.deleted:
            sizes = _delete(connection, ours.position == others.scalar_subquery())
            if not sizes:
                break
            num_bytes -= sizes[0]
            num_gone += 1
        return num_gone

    def _visible(self, scope: Scope) -> ColumnElement[bool]:
        return in_scope(COMPLETIONS, scope) & (COMPLETIONS.c.expires_at > self._clock())

    def _is(self, scope: Scope, id: str) -> ColumnElement[bool]:
        return self._visible(scope) & (COMPLETIONS.c.id == id)


@dataclass(frozen=True)
class _Size:
    """As much of a completion as a page is planned by."""

    id: str
    size_bytes: int


def _within(max_bytes: int, sizes: Sequence[_Size]) -> list[str]:
    """The ids of the first ones that fit together, and of the very first in any case."""
    ids: list[str] = []
    for size in sizes:
        max_bytes -= size.size_bytes
        if ids and max_bytes < 0:
            break
        ids.append(size.id)
    return ids


def _found(connection: Connection, query: Executable) -> StoredCompletion | None:
    row = connection.execute(query).mappings().first()
    return from_row(StoredCompletion, row) if row else None


def _is_pair(pairs: FromClause, scope: Scope, key: str, value: str) -> ColumnElement[bool]:
    """Joins the completion's row of this pair. A list then goes along the pair's index: of 200,000
    completions, all or one with a pair, a page took 1 ms, and by subqueries 1 s."""
    ours = pairs.c
    return and_(
        ours.position == COMPLETIONS.c.position,
        ours.project_id == scope.project_id,
        ours.key == key,
        ours.value == value,
    )


def _write_pairs(connection: Connection, completion: StoredCompletion) -> None:
    """In place of those that are there."""
    ours = COMPLETIONS.c
    found = select(ours.position).where(ours.id == completion.id)
    position = connection.execute(found).scalar_one()
    connection.execute(delete(PAIRS).where(PAIRS.c.position == position))
    same = {"position": position, "project_id": completion.project_id}
    rows = [{**same, "key": key, "value": value} for key, value in completion.metadata.items()]
    if rows:
        connection.execute(insert(PAIRS), rows)


def _held_bytes(connection: Connection, scope: Scope) -> int:
    held = select(SIZES.c.size_bytes).where(in_scope(SIZES, scope))
    return connection.execute(held).scalar_one_or_none() or 0


def _count(connection: Connection, scope: Scope, num_bytes: int) -> None:
    """Notes that the project holds so many bytes more."""
    held = update(SIZES).values(size_bytes=SIZES.c.size_bytes + num_bytes)
    if connection.execute(held.where(in_scope(SIZES, scope))).rowcount == 0:
        row = {
            "organization_id": scope.organization_id,
            "project_id": scope.project_id,
            "size_bytes": num_bytes,
        }
        connection.execute(insert(SIZES).values(row))


def _delete(connection: Connection, which: ColumnElement[bool]) -> list[int]:
    """Deletes these completions and takes them off what their projects hold; gives back the size
    of each."""
    ours = COMPLETIONS.c
    gone = delete(COMPLETIONS).where(which)
    rows = connection.execute(
        gone.returning(ours.organization_id, ours.project_id, ours.size_bytes)
    ).all()
    freed: Counter[Scope] = Counter()
    for organization_id, project_id, size_bytes in rows:
        freed[Scope(organization_id, project_id)] += size_bytes
    for scope, num_bytes in freed.items():
        _count(connection, scope, -num_bytes)
    return [row.size_bytes for row in rows]
