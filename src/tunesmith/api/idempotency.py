"""`Idempotency-Key`: creations that may be sent again.

A route that creates something takes `OnceDep`, and hands `once.record(…)` to the method of the
store that makes the object; that is all that it needs. Where the request is cheap to know, it
begins with `once.recall(…)`: a retry is then answered even if it would be refused by now, say
because a file that it names is gone.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from tunesmith.api.auth import CallerDep
from tunesmith.api.context import ServicesDep
from tunesmith.domain import errors
from tunesmith.domain.answered import MAX_KEY_LENGTH, AnsweredRequest, answer_again
from tunesmith.domain.tenancy import Scope
from tunesmith.store.answered import AnsweredRequests
from tunesmith.wire.base import Reply

HEADER = "Idempotency-Key"


@dataclass(frozen=True)
class Once:
    """A creation's key. Without one (None), nothing here does anything.

    `content`, in both methods, is all that the request asks for, as text.
    """

    key: str | None
    route: str
    scope: Scope
    answered: AnsweredRequests
    clock: Callable[[], datetime]

    def recall(self, content: str) -> None:
        """Raises AlreadyAnswered for a retry, InvalidRequest if its key was another request's."""
        if self.key is None:
            return
        earlier = self.answered.find(self.scope, self.key)
        if earlier is not None:
            answer_again(earlier, self._fingerprint(content))

    def record(self, content: str, reply: Reply) -> AnsweredRequest | None:
        """For the store to keep, together with the object that `reply` tells of."""
        if self.key is None:
            return None
        return AnsweredRequest(
            organization_id=self.scope.organization_id,
            project_id=self.scope.project_id,
            key=self.key,
            fingerprint=self._fingerprint(content),
            answer=reply.model_dump_json(by_alias=True),
            created_at=self.clock(),
        )

    def _fingerprint(self, content: str) -> str:
        return hashlib.sha256(f"{self.route}\n{content}".encode()).hexdigest()


async def once(request: Request, caller: CallerDep, services: ServicesDep) -> Once:
    """Raises InvalidRequest for a key that can't be used."""
    keys = request.headers.getlist(HEADER)
    if len(keys) > 1 or any(not 1 <= len(key) <= MAX_KEY_LENGTH for key in keys):
        raise errors.InvalidRequest(
            f"Invalid '{HEADER}' header: send one key of 1 to {MAX_KEY_LENGTH} characters.",
            param=HEADER,
        )
    return Once(
        key=keys[0] if keys else None,
        route=f"{request.method} {request.scope['path']}",
        scope=caller.scope,
        answered=services.store.answered,
        clock=services.clock,
    )


OnceDep = Annotated[Once, Depends(once)]
