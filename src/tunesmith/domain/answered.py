"""Retries of creations. A client that sends an `Idempotency-Key` may send the request again when it
doesn't know what became of it: the object is made once, and every retry gets the first answer.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from tunesmith.domain import errors

MAX_KEY_LENGTH = 255
REMEMBERED_FOR = timedelta(hours=24)


@dataclass(frozen=True)
class AnsweredRequest:
    """A creation that succeeded, by the key its client gave it. Refused ones are not remembered: to
    correct them and try again under the same key is all right."""

    organization_id: str
    project_id: str
    key: str
    fingerprint: str  # of all that the request asked for
    answer: str  # JSON
    created_at: datetime


class AlreadyAnswered(errors.TunesmithError):
    """Nothing has gone wrong: the request is a retry, and `answer` is what the first one got."""

    def __init__(self, answer: str) -> None:
        super().__init__("This request was answered before.")
        self.answer = answer


def answer_again(earlier: AnsweredRequest, fingerprint: str) -> NoReturn:
    """Raises AlreadyAnswered; InvalidRequest if this isn't the request that was answered."""
    if earlier.fingerprint != fingerprint:
        raise errors.InvalidRequest(
            f"The Idempotency-Key '{earlier.key}' was used for another request. Send a new key, or "
            "exactly the same request to get its answer again.",
            code="idempotency_key_reused",
        )
    raise AlreadyAnswered(earlier.answer)
