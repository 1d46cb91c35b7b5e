"""The life of an upload: parts are collected, then become a file.

    pending ──► completed   with its file
       ├──────► cancelled
       └──────► expired     an hour after it was made

The store applies a move with one guarded UPDATE; nothing else changes a status. Only the clock
makes an upload `expired`: its row says so later, when its parts are cleared away (`as_of`).
Source: behaviour reference, section 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from tunesmith.domain import errors
from tunesmith.domain.files import FilePurpose

LIFETIME = timedelta(hours=1)
MAX_NUM_PARTS = 10_000


class UploadStatus(StrEnum):
    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


LEGAL_MOVES: Mapping[UploadStatus, frozenset[UploadStatus]] = {
    UploadStatus.PENDING: frozenset(
        {UploadStatus.COMPLETED, UploadStatus.CANCELLED, UploadStatus.EXPIRED}
    ),
    UploadStatus.COMPLETED: frozenset(),
    UploadStatus.CANCELLED: frozenset(),
    UploadStatus.EXPIRED: frozenset(),
}


@dataclass(frozen=True)
class Upload:
    """An upload's row. The last three are there once it is completed: what was asked for then
    is recognised when a client that didn't hear the answer asks again."""

    id: str
    organization_id: str
    project_id: str
    created_at: datetime
    expires_at: datetime
    status: UploadStatus
    filename: str
    purpose: FilePurpose
    size_bytes: int  # that the parts must have together
    file_expires_after_s: int | None  # counted from the file's creation, that is, completion
    part_ids: tuple[str, ...] | None = None  # in the order of their bytes
    md5: str | None = None  # of the file, hex
    file_id: str | None = None

    def as_of(self, now: datetime) -> Self:
        """The upload as clients see it at this time."""
        if self.status is UploadStatus.PENDING and self.expires_at <= now:
            return replace(self, status=UploadStatus.EXPIRED)
        return self

    def max_held_bytes(self, max_part_bytes: int) -> int:
        """What its parts may hold together. More than the file will: a client that hears nothing
        sends a part again, and the first one stays behind."""
        return 2 * self.size_bytes + max_part_bytes


@dataclass(frozen=True)
class UploadPart:
    """A part's row. Its bytes are the blob `blob_key`."""

    id: str
    upload_id: str
    created_at: datetime
    size_bytes: int
    blob_key: str


def ended(upload: Upload, verb: str) -> errors.InvalidRequest:
    """Why what `verb` says can't be done to an upload that is no longer pending."""
    hint = f"It became {upload.file_id}." if upload.file_id else "Create a new one."
    return errors.InvalidRequest(
        f'Cannot {verb} the upload {upload.id} that already has status "{upload.status}". {hint}'
    )


# JSON lines have no registered type, so clients send whatever theirs guesses.
_JSON_LINES = (
    "text/jsonl",
    "application/jsonl",
    "application/x-jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/x-ndjson",
    "application/ndjson",
    "application/json",
    "text/plain",
    "application/octet-stream",
)
_ANYTHING = ("text/*", "image/*", "audio/*", "video/*", "application/*")
MIME_TYPES: Mapping[FilePurpose, tuple[str, ...]] = {
    FilePurpose.FINE_TUNE: _JSON_LINES,
    FilePurpose.BATCH: _JSON_LINES,
    FilePurpose.EVALS: _JSON_LINES,
    FilePurpose.VISION: ("image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif"),
    FilePurpose.ASSISTANTS: _ANYTHING,
    FilePurpose.USER_DATA: _ANYTHING,
}


def check_mime_type(mime_type: str, purpose: FilePurpose) -> None:
    """Raises InvalidRequest unless files for `purpose` may have this type; its parameters, such
    as a charset, say nothing."""
    plain = mime_type.partition(";")[0].strip().lower()
    accepted = MIME_TYPES[purpose]
    main_type, _, subtype = plain.partition("/")
    if plain in accepted or (subtype and f"{main_type}/*" in accepted):
        return
    raise errors.InvalidRequest(
        f"Invalid 'mime_type': '{mime_type[:100]}' doesn't suit the purpose '{purpose}'. Supported "
        f"values are: {', '.join(accepted)}.",
        param="mime_type",
        code="invalid_value",
    )
