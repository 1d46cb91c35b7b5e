"""Tuned models: the names that jobs made, and the adapters behind them."""

from sqlalchemy import ColumnElement, delete, exists, or_, select

from tunesmith.domain.models import TunedModel
from tunesmith.domain.tenancy import Scope
from tunesmith.store import tables
from tunesmith.store.database import Database
from tunesmith.store.files import UNFINISHED
from tunesmith.store.rows import from_row, in_scope


class TunedModels:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, scope: Scope, name: str) -> TunedModel | None:
        """One that callers of the scope may use: their own, or one that they have a permission
        for."""
        return self._find(_usable_in(scope), name)

    def find_in_organization(self, organization_id: str, name: str) -> TunedModel | None:
        """One of any project of the organisation, for its administrator."""
        return self._find(tables.tuned_models.c.organization_id == organization_id, name)

    def is_taken(self, name: str) -> bool:
        """Whether a model of any organisation has the name."""
        query = select(tables.tuned_models.c.name).where(tables.tuned_models.c.name == name)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def all(self, scope: Scope) -> list[TunedModel]:
        """All that callers of the scope may use, as `find` has it; oldest first."""
        query = (
            select(tables.tuned_models)
            .where(_usable_in(scope))
            .order_by(tables.tuned_models.c.position)
        )
        with self._database.read() as connection:
            return [from_row(TunedModel, row) for row in connection.execute(query).mappings()]

    def adapters_in_use(self) -> set[str]:
        """The ids of all adapters that a name stands for, or that an unfinished job goes on from;
        of all organisations."""
        jobs = tables.jobs.c
        parents = select(jobs.parent_adapter_id).where(
            jobs.parent_adapter_id.is_not(None), jobs.status.in_(UNFINISHED)
        )
        query = select(tables.tuned_models.c.adapter_id).union(parents)
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def delete(self, scope: Scope, name: str) -> bool:
        """The name, which must be the scope's own; False if there is none. Permissions go with
        it, the adapter's files when nobody needs them."""
        gone = delete(tables.tuned_models).where(
            in_scope(tables.tuned_models, scope), tables.tuned_models.c.name == name
        )
        with self._database.write() as connection:
            return connection.execute(gone).rowcount == 1

    def _find(self, within: ColumnElement[bool], name: str) -> TunedModel | None:
        query = select(tables.tuned_models).where(within, tables.tuned_models.c.name == name)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        return from_row(TunedModel, row) if row else None


def _usable_in(scope: Scope) -> ColumnElement[bool]:
    models, permissions = tables.tuned_models.c, tables.model_permissions.c
    is_permitted = exists().where(
        permissions.model_name == models.name, permissions.project_id == scope.project_id
    )
    return (models.organization_id == scope.organization_id) & or_(
        models.project_id == scope.project_id, is_permitted
    )
