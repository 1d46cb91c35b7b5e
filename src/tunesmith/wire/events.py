"""A job's events on the wire (behaviour reference, section 6)."""

from typing import Any, Literal

from tunesmith.domain.jobs import Event
from tunesmith.wire.base import ListReply, Reply, unix_seconds


class EventReply(Reply):
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    id: str
    created_at: int
    level: str
    message: str
    data: dict[str, Any] | None  # Any: metrics and error details, as they were recorded
    type: str


class EventListReply(ListReply[EventReply]):
    pass


def event_reply(event: Event) -> EventReply:
    return EventReply(
        id=event.id,
        created_at=unix_seconds(event.created_at),
        level=event.level.value,
        message=event.message,
        data=None if event.data is None else dict(event.data),
        type=event.type.value,
    )
