"""What routes work with, handed to them by FastAPI.

`create_api` puts one `Services` into the application; a route that takes `ServicesDep` gets it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request

from tunesmith.api.body_room import BodyRoom
from tunesmith.api.followers import FollowerLimits, Followers
from tunesmith.api.rate_limits import Rates
from tunesmith.api.report_desk import ReportDesk
from tunesmith.api.serving import ModelDirectory
from tunesmith.domain.ids import Ids
from tunesmith.domain.models import Catalog
from tunesmith.store.store import Store

MAX_UPLOADS = 16  # at once
MAX_LARGE_BODIES = 8  # of the largest size, that are held at once; of smaller ones more


@dataclass(frozen=True)
class ApiLimits:
    max_upload_bytes: int = 512 * 1024**2  # of a file in one request
    max_upload_total_bytes: int = 8 * 1024**3  # of a file in parts
    max_upload_part_bytes: int = 64 * 1024**2
    max_body_bytes: int = 32 * 1024**2  # of a JSON body
    max_commas: int = 2**19  # in a JSON body: twice the token ids that a request may have
    max_prompts: int = 256  # of one request for text completions
    max_request_tokens: int = 2**18  # of all its prompts and all that may be made of them
    max_logprobs: int = 2**18  # in one answer: about a second of work to write them all
    completions_stored_for: timedelta = timedelta(days=30)
    max_stored_bytes: int = 1024**3  # of one project's stored completions
    store_completion_s: float = 5.0  # the most that an answer waits for being stored
    followers: FollowerLimits = field(default_factory=FollowerLimits)  # of jobs' events


@dataclass(frozen=True)
class Services:
    store: Store
    catalog: Catalog
    models: ModelDirectory
    reports: ReportDesk
    ids: Ids
    clock: Callable[[], datetime]  # aware UTC
    limits: ApiLimits
    rates: Rates = field(default_factory=Rates)
    # Threads that take in files. They wait for the network, or join the parts of gigabytes, so
    # they must not be those that all other routes run in; beyond them, uploads wait for one
    # another.
    upload_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(MAX_UPLOADS))

    @cached_property
    def body_room(self) -> BodyRoom:
        return BodyRoom(MAX_LARGE_BODIES * self.limits.max_body_bytes)

    @cached_property
    def followers(self) -> Followers:
        return Followers(self.limits.followers)


async def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]
