"""From rows to dataclasses and back, and pages of them.

A table's columns carry their dataclass's field names and types (`tables.py`); a table may have
more columns than the dataclass has fields.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, RowMapping, Table, select, tuple_

from tunesmith.domain import errors
from tunesmith.domain.pages import Page
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
    after: str | None,
    only: Sequence[ColumnElement[bool]] = (),
    along: Sequence[ColumnElement[Any]] = (),
    is_ascending: bool = False,
) -> Page[Row]:
    """The rows `within` that also satisfy `only`, in the order of the columns `order`.

    `after` may be any row `within`, also one that `only` leaves out. InvalidRequest if there is
    no such row. `along`: columns of a table that `only` joins, which are equal to `order`; an index
    that has them in order saves the database from sorting.
    """
    query = select(*(table.c[field.name] for field in fields(kind))).where(within, *only)
    if after is not None:
        last = order_of(connection, table, within, order, after)
        ours = tuple_(*(along or order))
        query = query.where(ours > last if is_ascending else ours < last)
    query = query.order_by(*(c.asc() if is_ascending else c.desc() for c in along or order))
    # One row more than asked for tells whether others follow.
    rows = connection.execute(query.limit(limit + 1)).mappings().all()
    return Page(tuple(from_row(kind, row) for row in rows[:limit]), has_more=len(rows) > limit)


def order_of(
    connection: Connection,
    table: Table,
    within: ColumnElement[bool],
    order: Sequence[Column[Any]],
    id: str,
) -> tuple[Any, ...]:
    """Where the row with this id stands in `order`. InvalidRequest if there is none `within`."""
    row = connection.execute(select(*order).where(within, table.c.id == id)).first()
    if row is None:
        raise errors.InvalidRequest(
            f"No item of this list has the id '{id}': send the id of an item you were given "
            "as 'after', or leave it out to begin with the first.",
            param="after",
        )
    return tuple(row)
