"""Uploads on the wire (behaviour reference, section 3)."""

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.domain.files import EXPIRES_AFTER_S, MAX_FILENAME_LENGTH, StoredFile
from tunesmith.domain.uploads import MAX_NUM_PARTS, Upload, UploadPart
from tunesmith.wire.base import Reply, Request, unix_seconds
from tunesmith.wire.files import FileReply, file_reply


class ExpiresAfterRequest(Request):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=EXPIRES_AFTER_S[0], le=EXPIRES_AFTER_S[-1])]


class CreateUploadRequest(Request):
    filename: Annotated[str, Field(min_length=1, max_length=MAX_FILENAME_LENGTH)]
    purpose: Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
    bytes: Annotated[int, Field(ge=0)]
    mime_type: str
    expires_after: ExpiresAfterRequest | None = None


class CompleteUploadRequest(Request):
    part_ids: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=MAX_NUM_PARTS)]
    md5: str | None = None


class UploadReply(Reply):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    expires_at: int
    file: FileReply | None


class UploadPartReply(Reply):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


def upload_reply(upload: Upload, file: StoredFile | None = None) -> UploadReply:
    return UploadReply(
        id=upload.id,
        bytes=upload.size_bytes,
        created_at=unix_seconds(upload.created_at),
        filename=upload.filename,
        purpose=upload.purpose.value,
        status=upload.status.value,
        expires_at=unix_seconds(upload.expires_at),
        file=None if file is None else file_reply(file),
    )


def upload_part_reply(part: UploadPart) -> UploadPartReply:
    return UploadPartReply(
        id=part.id, created_at=unix_seconds(part.created_at), upload_id=part.upload_id
    )
