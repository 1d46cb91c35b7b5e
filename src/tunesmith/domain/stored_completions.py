"""Stored chat completions: what `store: true` leaves behind for later."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

ROW_BYTES = 300  # of a row beside its text, indexes included: ids, times, tenants
COPIES_OF_PAIRS = 5  # a pair is in its completion's row (as ASCII), in its own, and in an index


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
    size_bytes: int  # that it takes in the database with its messages and pairs, about
    reply: str  # JSON as the wire has it, but for the metadata: nobody else looks into it


@dataclass(frozen=True)
class StoredMessage:
    """One of the messages that a stored completion answers."""

    id: str
    completion_id: str
    number: int  # its place in the conversation, from 0
    content: str  # JSON, as above, but for the id


def size_of_texts(texts: Iterable[str]) -> int:
    """Of a completion's and its messages' rows."""
    return sum(ROW_BYTES + len(text.encode()) for text in texts)


def size_of_pairs(metadata: Mapping[str, str]) -> int:
    return sum(
        ROW_BYTES + COPIES_OF_PAIRS * len((key + value).encode()) for key, value in metadata.items()
    )
