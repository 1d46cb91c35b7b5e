"""Permissions: which other projects may use a tuned model.

What they permit is looked up where models are (`tuned_models.py`), with every request, so a
permission counts from the moment it is written to the moment it is gone. With its model or its
project it goes by itself: the table says so.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select

from tunesmith.domain import errors
from tunesmith.domain.ids import Ids
from tunesmith.domain.models import TunedModel
from tunesmith.domain.pages import Page
from tunesmith.domain.permissions import Permission
from tunesmith.store import tables
from tunesmith.store.database import Clock, Database
from tunesmith.store.rows import fetch_page, from_row, to_row

TABLE = tables.model_permissions


class Permissions:
    """The model's name is the key to its permissions: find the model in the caller's organisation
    first."""

    def __init__(self, database: Database, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock

    def grant(self, model: TunedModel, project_ids: Sequence[str]) -> list[Permission] | None:
        """One permission for each distinct project, in the order given: the one that it has, or a
        new one. None if the model is gone by now.

        InvalidRequest if a project isn't one of the model's organisation; then none is granted.
        """
        wanted = list(dict.fromkeys(project_ids))
        models = tables.tuned_models.c
        # Locked where the database has such locks: grants of one model come one after another.
        still_there = select(models.name).where(models.name == model.name).with_for_update()
        with self._database.write() as connection:
            if connection.execute(still_there).first() is None:
                return None
            _refuse_unknown(connection, model.organization_id, wanted)
            granted = _granted(connection, model.name, wanted)
            for project_id in wanted:
                if project_id not in granted:
                    new = Permission(self._ids.permission(), model.name, project_id, self._clock())
                    connection.execute(insert(TABLE).values(to_row(new)))
                    granted[project_id] = new
        return [granted[project_id] for project_id in wanted]

    def page(
        self,
        model_name: str,
        *,
        limit: int,
        after: str | None = None,
        project_id: str | None = None,
        is_ascending: bool = False,
    ) -> Page[Permission]:
        """Newest first, or oldest first. InvalidRequest if `after` is none of these."""
        with self._database.read() as connection:
            return fetch_page(
                connection,
                Permission,
                TABLE,
                TABLE.c.model_name == model_name,
                order=(TABLE.c.position,),
                limit=limit,
                after=after,
                only=() if project_id is None else (TABLE.c.project_id == project_id,),
                is_ascending=is_ascending,
            )

    def delete(self, model_name: str, id: str) -> bool:
        """False if the model has no such permission."""
        gone = delete(TABLE).where(TABLE.c.model_name == model_name, TABLE.c.id == id)
        with self._database.write() as connection:
            return connection.execute(gone).rowcount == 1


def _refuse_unknown(
    connection: Connection, organization_id: str, project_ids: Sequence[str]
) -> None:
    """A project of another organisation is as unknown as one that nobody has."""
    projects = tables.projects.c
    ours = select(projects.id).where(
        projects.organization_id == organization_id, projects.id.in_(project_ids)
    )
    known = set(connection.execute(ours).scalars())
    unknown = [id for id in project_ids if id not in known]
    if unknown:
        raise errors.InvalidRequest(
            f"Your organization doesn't have these projects: {', '.join(map(repr, unknown))}. "
            "Nothing was granted. The operator of this service can list the ids of projects: "
            "`tunesmith projects list`.",
            param="project_ids",
            code="project_not_found",
        )


def _granted(
    connection: Connection, model_name: str, project_ids: Sequence[str]
) -> dict[str, Permission]:
    """The permissions that these projects have, by project."""
    query = select(TABLE).where(
        TABLE.c.model_name == model_name, TABLE.c.project_id.in_(project_ids)
    )
    rows = connection.execute(query).mappings()
    return {row["project_id"]: from_row(Permission, row) for row in rows}
