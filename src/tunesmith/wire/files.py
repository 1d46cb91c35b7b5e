"""Files on the wire (behaviour reference, section 2)."""

from typing import Literal

from pydantic import Field

from tunesmith.domain.files import StoredFile
from tunesmith.wire.base import (
    DeletedReply,
    IdentifiedListReply,
    Reply,
    is_none,
    unix_seconds,
    unix_seconds_or_none,
)


class FileReply(Reply):
    object: Literal["file"] = "file"
    id: str
    purpose: str
    filename: str
    bytes: int
    created_at: int
    # Only sent when there is one: typed clients know this key as a number or absent.
    expires_at: int | None = Field(default=None, exclude_if=is_none)
    # Content is judged when a job uses the file, so an upload is always "processed".
    status: Literal["processed"] = "processed"
    status_details: None = None


class FileListReply(IdentifiedListReply[FileReply]):
    pass


def file_reply(file: StoredFile) -> FileReply:
    return FileReply(
        id=file.id,
        purpose=file.purpose.value,
        filename=file.filename,
        bytes=file.size_bytes,
        created_at=unix_seconds(file.created_at),
        expires_at=unix_seconds_or_none(file.expires_at),
    )


def file_deleted_reply(file_id: str) -> DeletedReply:
    return DeletedReply(id=file_id, object="file")
