"""Who owns things and who is asking.

An organisation holds projects; a key belongs to one project of one organisation. Every object
a client makes (file, job, tuned model) carries both ids, and every query names them.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Organization:
    id: str
    name: str  # slug: it is part of every `ft:` name
    created_at: datetime


@dataclass(frozen=True)
class Project:
    id: str
    organization_id: str
    name: str
    created_at: datetime


@dataclass(frozen=True)
class RateLimits:
    """What a key may use in a minute. None: not said, so the default holds; 0: no limit."""

    requests: int | None = None
    tokens: int | None = None

    def or_else(self, defaults: "RateLimits") -> "RateLimits":
        return RateLimits(
            defaults.requests if self.requests is None else self.requests,
            defaults.tokens if self.tokens is None else self.tokens,
        )


@dataclass(frozen=True)
class ApiKey:
    """A key as we keep it: its hash and what a person recognises it by, never the key."""

    id: str
    digest: str  # SHA-256 of the whole key, hex; enough for 256 random bits
    hint: str  # first and last characters, for lists
    organization_id: str
    project_id: str
    is_admin: bool
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None
    requests_per_minute: int | None = None  # as in RateLimits
    tokens_per_minute: int | None = None

    def state(self, now: datetime) -> str:
        """In a word, for lists."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


@dataclass(frozen=True)
class Scope:
    """What a query may touch: the objects of one project of one organisation."""

    organization_id: str
    project_id: str


@dataclass(frozen=True)
class Caller:
    """The authenticated sender of a request; the scope of everything it can see."""

    key_id: str
    organization: Organization
    project: Project
    is_admin: bool
    limits: RateLimits = RateLimits()

    @property
    def scope(self) -> Scope:
        return Scope(self.organization.id, self.project.id)
