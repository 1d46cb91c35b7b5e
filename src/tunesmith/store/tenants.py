"""Organisations, their projects, and the keys that open them.

A key is 256 random bits; we keep its SHA-256 and a hint to recognise it by. That is enough:
slow hashes are for words that people choose. One key is the *bootstrap* key: what the service
was started with. It is replaced by starting the service with another one.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, insert, or_, select, update

from tunesmith.domain import errors
from tunesmith.domain.ids import Ids
from tunesmith.domain.tenancy import ApiKey, Caller, Organization, Project, RateLimits
from tunesmith.store import tables
from tunesmith.store.database import Clock, Database, Task
from tunesmith.store.rows import from_row, to_row

FIRST_ORGANIZATION = "local"
DEFAULT_PROJECT = "default"
KEY_BYTES = 32  # 43 characters of URL-safe base64
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
LIMIT_COLUMNS = ("requests_per_minute", "tokens_per_minute")
MIN_HINTED_LENGTH = 20  # of shorter keys, which an operator may choose, the end is not shown


@dataclass(frozen=True)
class ListedProject:
    project: Project
    organization_name: str


@dataclass(frozen=True)
class ListedKey:
    key: ApiKey
    organization_name: str
    project_name: str
    is_bootstrap: bool


class Tenants:
    def __init__(self, database: Database, ids: Ids, clock: Clock) -> None:
        self._database = database
        self._ids = ids
        self._clock = clock

    def ensure_first(self, org_name: str | None, key: str) -> Caller:
        """Makes `key` the bootstrap key, an admin key of the first organisation. Idempotent.

        The first start makes the organisation (None: `local`) and its project `default`. A later
        start with another name renames the organisation (None: it keeps its name); with another
        key, the former bootstrap key is revoked. InvalidRequest for a name that can't be used.
        """
        if not key:
            raise errors.InvalidRequest("An empty API key can't be used: set one, or leave it out.")
        with self._database.write() as connection:
            self._database.exclude_others(connection, Task.ARRANGE_TENANTS)
            former = _find_bootstrap(connection)
            if former is None:
                name = FIRST_ORGANIZATION if org_name is None else org_name
                organization = self._ensure_organization(connection, name)
            else:
                organization = _renamed(connection, former.organization_id, org_name)
            project = self._ensure_project(connection, organization, DEFAULT_PROJECT)
            if former is None or former.digest != _digest(key):
                self._replace_bootstrap(connection, project, key)
            caller = _find_caller(connection, key, self._clock())
        assert caller is not None, "the key was just made valid"
        return caller

    def find_caller(self, key: str) -> Caller | None:
        """Who sends `key`; None if it is unknown, revoked or expired. One query."""
        with self._database.read() as connection:
            return _find_caller(connection, key, self._clock())

    def is_valid(self, key_id: str) -> bool:
        """Whether a key still opens its project: it is neither revoked nor expired."""
        query = select(tables.api_keys.c.id).where(
            tables.api_keys.c.id == key_id, _is_valid(self._clock())
        )
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def organization(self, id: str) -> Organization:
        """The organisation with this id, which exists."""
        query = select(tables.organizations).where(tables.organizations.c.id == id)
        with self._database.read() as connection:
            return from_row(Organization, connection.execute(query).mappings().one())

    def create_project(self, org_name: str, name: str) -> Project:
        """The organisation's project of this name; both are made if they aren't there.
        InvalidRequest for a name that can't be used."""
        with self._database.write() as connection:
            self._database.exclude_others(connection, Task.ARRANGE_TENANTS)
            organization = self._ensure_organization(connection, org_name)
            return self._ensure_project(connection, organization, name)

    def list_projects(self) -> list[ListedProject]:
        """All projects of all organisations, by the organisation's name and then their own."""
        organizations, projects = tables.organizations, tables.projects
        query = (
            select(projects, organizations.c.name.label("organization_name"))
            .join(organizations, projects.c.organization_id == organizations.c.id)
            .order_by(organizations.c.name, projects.c.name)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [ListedProject(from_row(Project, row), row["organization_name"]) for row in rows]

    def create_key(
        self,
        org_name: str,
        project_name: str = DEFAULT_PROJECT,
        is_admin: bool = False,
        lifetime: timedelta | None = None,
        limits: RateLimits = RateLimits(),  # noqa: B008  # frozen
    ) -> str:
        """A new key, shown this once, valid for `lifetime` (None: until it is revoked);
        organisation and project are made if they aren't there. InvalidRequest for a name that
        can't be used."""
        key = new_key(is_admin)
        with self._database.write() as connection:
            self._database.exclude_others(connection, Task.ARRANGE_TENANTS)
            organization = self._ensure_organization(connection, org_name)
            project = self._ensure_project(connection, organization, project_name)
            own = self._api_key(project, key, is_admin=is_admin, lifetime=lifetime)
            row = to_row(own) | _limit_columns(limits)
            connection.execute(insert(tables.api_keys).values(**row, is_bootstrap=False))
        return key

    def list_keys(self) -> list[ListedKey]:
        """All keys of all organisations, revoked ones too, oldest first."""
        keys, organizations, projects = tables.api_keys, tables.organizations, tables.projects
        query = (
            select(
                keys,
                organizations.c.name.label("organization_name"),
                projects.c.name.label("project_name"),
            )
            .join(organizations, keys.c.organization_id == organizations.c.id)
            .join(projects, keys.c.project_id == projects.c.id)
            .order_by(keys.c.position)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            ListedKey(
                from_row(ApiKey, row),
                row["organization_name"],
                row["project_name"],
                row["is_bootstrap"],
            )
            for row in rows
        ]

    def limits_of(self, id: str) -> RateLimits | None:
        """None if there is no such valid key."""
        keys = tables.api_keys.c
        query = select(keys.requests_per_minute, keys.tokens_per_minute).where(
            keys.id == id, keys.revoked_at.is_(None)
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else RateLimits(*row)

    def limit_key(self, id: str, limits: RateLimits) -> bool:
        """From its next request on the key has these limits; False if there is no such valid
        key."""
        keys = tables.api_keys.c
        valid = (keys.id == id) & keys.revoked_at.is_(None)
        with self._database.write() as connection:
            limited = update(tables.api_keys).where(valid).values(_limit_columns(limits))
            return connection.execute(limited).rowcount == 1

    def revoke_key(self, id: str) -> bool:
        """From now on nobody gets in with this key; False if there is no such valid key.

        InvalidRequest for the bootstrap key: the next start would bring it back.
        """
        keys = tables.api_keys.c
        valid = (keys.id == id) & keys.revoked_at.is_(None)
        with self._database.write() as connection:
            if connection.execute(select(keys.is_bootstrap).where(valid)).scalar() is True:
                raise errors.InvalidRequest(
                    f"{id} is the key that the service starts with. To be rid of it, start the "
                    "service with another one in TUNESMITH_API_KEY."
                )
            revoked = update(tables.api_keys).where(valid).values(revoked_at=self._clock())
            return connection.execute(revoked).rowcount == 1

    def _replace_bootstrap(self, connection: Connection, project: Project, key: str) -> None:
        keys = tables.api_keys.c
        now = self._clock()
        connection.execute(
            update(tables.api_keys)
            .where(keys.is_bootstrap)
            .values(is_bootstrap=False, revoked_at=now)
        )
        # A key that was known before, say an earlier bootstrap key, is valid again.
        row = to_row(self._api_key(project, key, is_admin=True)) | {"is_bootstrap": True}
        of_key = keys.digest == row["digest"]
        known = connection.execute(select(keys.id).where(of_key)).scalar_one_or_none()
        if known is None:
            connection.execute(insert(tables.api_keys).values(row))
        else:
            kept = {name: value for name, value in row.items() if name not in LIMIT_COLUMNS}
            kept["id"] = known
            connection.execute(update(tables.api_keys).where(of_key).values(kept))

    def _api_key(
        self, project: Project, key: str, *, is_admin: bool, lifetime: timedelta | None = None
    ) -> ApiKey:
        now = self._clock()
        return ApiKey(
            id=self._ids.key_row(),
            digest=_digest(key),
            hint=_hint(key),
            organization_id=project.organization_id,
            project_id=project.id,
            is_admin=is_admin,
            created_at=now,
            revoked_at=None,
            expires_at=None if lifetime is None else now + lifetime,
        )

    def _ensure_organization(self, connection: Connection, name: str) -> Organization:
        table = tables.organizations
        query = select(table).where(table.c.name == _checked("organisation", name))
        row = connection.execute(query).mappings().first()
        if row is not None:
            return from_row(Organization, row)
        organization = Organization(self._ids.organization(), name, self._clock())
        connection.execute(insert(table).values(to_row(organization)))
        return organization

    def _ensure_project(
        self, connection: Connection, organization: Organization, name: str
    ) -> Project:
        table = tables.projects
        query = select(table).where(
            table.c.organization_id == organization.id, table.c.name == _checked("project", name)
        )
        row = connection.execute(query).mappings().first()
        if row is not None:
            return from_row(Project, row)
        project = Project(self._ids.project(), organization.id, name, self._clock())
        connection.execute(insert(table).values(to_row(project)))
        return project


def new_key(is_admin: bool = False) -> str:
    """A key that nobody can guess; only its digest will be kept."""
    return ("sk-admin-" if is_admin else "sk-") + secrets.token_urlsafe(KEY_BYTES)


def _renamed(connection: Connection, organization_id: str, name: str | None) -> Organization:
    """The organisation, called `name` (unless that is None) from now on; its id stays."""
    table = tables.organizations
    if name is None:
        own = select(table).where(table.c.id == organization_id)
        return from_row(Organization, connection.execute(own).mappings().one())
    query = select(table.c.id).where(table.c.name == _checked("organisation", name))
    holder = connection.execute(query).scalar_one_or_none()
    if holder not in (None, organization_id):
        raise errors.InvalidRequest(
            f"The first organisation can't be called '{name}': another one has that name already."
        )
    change = update(table).where(table.c.id == organization_id).values(name=name)
    row = connection.execute(change.returning(table)).mappings().one()
    return from_row(Organization, row)


def _find_bootstrap(connection: Connection) -> ApiKey | None:
    query = select(tables.api_keys).where(tables.api_keys.c.is_bootstrap)
    row = connection.execute(query).mappings().one_or_none()
    return from_row(ApiKey, row) if row else None


def _find_caller(connection: Connection, key: str, now: datetime) -> Caller | None:
    keys, organizations, projects = tables.api_keys, tables.organizations, tables.projects
    query = (
        select(
            keys.c.id.label("key_id"),
            keys.c.is_admin,
            keys.c.requests_per_minute,
            keys.c.tokens_per_minute,
            *(column.label(f"organization_{column.name}") for column in organizations.c),
            *(column.label(f"project_{column.name}") for column in projects.c),
        )
        .join(organizations, keys.c.organization_id == organizations.c.id)
        .join(projects, keys.c.project_id == projects.c.id)
        .where(keys.c.digest == _digest(key), _is_valid(now))
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    organization = Organization(
        row.organization_id, row.organization_name, row.organization_created_at
    )
    project = Project(
        row.project_id, row.project_organization_id, row.project_name, row.project_created_at
    )
    limits = RateLimits(row.requests_per_minute, row.tokens_per_minute)
    return Caller(row.key_id, organization, project, row.is_admin, limits)


def _is_valid(now: datetime) -> ColumnElement[bool]:
    """What a key must be to open anything."""
    keys = tables.api_keys.c
    return keys.revoked_at.is_(None) & or_(keys.expires_at.is_(None), keys.expires_at > now)


def _limit_columns(limits: RateLimits) -> dict[str, int | None]:
    return dict(zip(LIMIT_COLUMNS, (limits.requests, limits.tokens), strict=True))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _hint(key: str) -> str:
    return f"{key[:5]}…{key[-4:]}" if len(key) >= MIN_HINTED_LENGTH else f"{key[:2]}…"


def _checked(kind: str, name: str) -> str:
    if not NAME.fullmatch(name):
        raise errors.InvalidRequest(
            f"'{name}' can't be the name of the {kind}: use 1 to 64 letters, digits, '-' and '_', "
            "beginning with a letter or digit."
        )
    return name
