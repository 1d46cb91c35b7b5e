"""From rows to dataclasses and back, and pages of them.

A table's columns carry their dataclass's field names and types (`tables.py`); a table may have
more columns than the dataclass has fields.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, RowMapping, Table, select, tuple_

from tunesmith.domain import errors
from tunesmith.domain.pages import Page, Place
from tunesmith.domain.tenancy import Scope

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Row = TypeVar("Row", bound=DataclassInstance)
else:
    Row = TypeVar("Row")


def from_row(kind: type[Row], row: RowMapping) -> Row:
    return kind(**{field.name: row[field.name] for field in fields(kind)})


def to_row(value: "DataclassInstance") -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def in_scope(table: Table, scope: Scope) -> ColumnElement[bool]:
    return (table.c.organization_id == scope.organization_id) & (
        table.c.project_id == scope.project_id
    )


def fetch_page(
    connection: Connection,
    kind: type[Row],
    table: Table,
    within: ColumnElement[bool],
    *,
    order: Sequence[Column[Any]],
    limit: int,
    after: str | Place | None,
    only: Sequence[ColumnElement[bool]] = (),
    along: Sequence[ColumnElement[Any]] = (),
    is_ascending: bool = False,
) -> Page[Row]:
    """The rows `within` that also satisfy `only`, in the order of the columns `order`.

    `after` may be the id of any row `within`, also one that `only` leaves out; InvalidRequest if
    there is no such row. Or it is the place where another page ended. `along`: columns of a table
    that `only` joins, which are equal to `order`; an index that has them in order saves the
    database from sorting.
    """
    columns = dict.fromkeys([*(table.c[field.name] for field in fields(kind)), *order])
    query = select(*columns).where(within, *only)
    if after is not None:
        if isinstance(after, str):
            after = order_of(connection, table, within, order, after)
        ours = tuple_(*(along or order))
        query = query.where(ours > after if is_ascending else ours < after)
    query = query.order_by(*(c.asc() if is_ascending else c.desc() for c in along or order))
    # One row more than asked for tells whether others follow.
    rows = connection.execute(query.limit(limit + 1)).mappings().all()
    shown = rows[:limit]
    return Page(
        tuple(from_row(kind, row) for row in shown),
        has_more=len(rows) > limit,
        end=tuple(shown[-1][column] for column in order) if shown else None,
    )


def order_of(
    connection: Connection,
    table: Table,
    within: ColumnElement[bool],
    order: Sequence[Column[Any]],
    id: str,
) -> Place:
    """Where the row with this id stands in `order`. InvalidRequest if there is none `within`."""
    row = connection.execute(select(*order).where(within, table.c.id == id)).first()
    if row is None:
        raise errors.InvalidRequest(
            f"No item of this list has the id '{id}': send the id of an item you were given "
            "as 'after', or leave it out to begin with the first.",
            param="after",
        )
    return tuple(row)
