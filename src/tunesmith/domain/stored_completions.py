"""Stored chat completions: what `store: true` leaves behind for later."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class StoredCompletion:
    """An answer, and what was asked for beside the messages."""

    id: str
    organization_id: str
    project_id: str
    created_at: datetime  # when it was stored: the answer was complete
    expires_at: datetime
    model: str
    metadata: Mapping[str, str]  # the only thing that changes
    size_bytes: int  # of `reply` and of all messages
    reply: str  # JSON as the wire has it, but for the metadata: nobody else looks into it


@dataclass(frozen=True)
class StoredMessage:
    """One of the messages that a stored completion answers."""

    id: str
    completion_id: str
    number: int  # its place in the conversation, from 0
    content: str  # JSON, as above, but for the id
