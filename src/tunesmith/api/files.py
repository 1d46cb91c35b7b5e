"""/v1/files (behaviour reference, section 2).

An upload's content is never judged here: any name and any bytes are kept, and a job that uses the
file says what is wrong with it.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from tunesmith.api.auth import CallerDep
from tunesmith.api.context import Services, ServicesDep
from tunesmith.api.idempotency import OnceDep
from tunesmith.api.openapi import form
from tunesmith.api.received import ReceivedForm, received_form
from tunesmith.api.streams import long_json
from tunesmith.domain import errors
from tunesmith.domain.files import (
    EXPIRES_AFTER_S,
    UPLOADABLE,
    FilePurpose,
    StoredFile,
    checked_filename,
    file_expires_at,
)
from tunesmith.domain.pages import Page, Place, in_parts
from tunesmith.domain.tenancy import Caller
from tunesmith.store.blobs import file_blob_key
from tunesmith.wire.base import DeletedReply, list_json
from tunesmith.wire.files import (
    FileListReply,
    FileReply,
    file_deleted_reply,
    file_reply,
)

MAX_PAGE = 10_000

# `model`: the 0.28 client may send it along; it says nothing.
KNOWN_FIELDS = {"purpose", "expires_after[anchor]", "expires_after[seconds]", "model"}

router = APIRouter()

UPLOAD_FORM = form(
    {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"enum": [purpose.value for purpose in UPLOADABLE]},
        "expires_after[anchor]": {"const": "created_at"},
        "expires_after[seconds]": {
            "type": "integer",
            "minimum": EXPIRES_AFTER_S[0],
            "maximum": EXPIRES_AFTER_S[-1],
        },
        "model": {"type": "string"},
    },
    required=("file", "purpose"),
)


class FileContent(StreamingResponse):
    media_type = "application/octet-stream"


@router.post("/files", openapi_extra=UPLOAD_FORM)
async def create_file(
    request: Request, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> FileReply:
    file_id = services.ids.file()
    blob_key = file_blob_key(file_id)
    max_bytes = services.limits.max_upload_bytes
    async with received_form(request, services, "file", blob_key, max_bytes) as received:
        file = _stored_file(file_id, blob_key, received, caller, services.clock())
        reply = file_reply(file)
        answered = once.record(received.content(), reply)
        await run_in_threadpool(services.store.files.add, file, answered)
    return reply


@router.get("/files", response_model=FileListReply)
def list_files(
    caller: CallerDep,
    services: ServicesDep,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> Response:
    only = None if purpose is None else _purpose(purpose, tuple(FilePurpose))

    def page(limit: int, after: str | Place | None) -> Page[StoredFile]:
        return services.store.files.page(
            caller.scope, purpose=only, limit=limit, ascending=order == "asc", after=after
        )

    return long_json(list_json(in_parts(page, limit, after), file_reply, tells_ends=True))


@router.get("/files/{file_id}")
def retrieve_file(file_id: str, caller: CallerDep, services: ServicesDep) -> FileReply:
    return file_reply(find_file(services, caller, file_id))


@router.delete("/files/{file_id}")
def delete_file(file_id: str, caller: CallerDep, services: ServicesDep) -> DeletedReply:
    if not services.store.files.delete(caller.scope, file_id):
        raise _not_found(file_id)
    return file_deleted_reply(file_id)


@router.get("/files/{file_id}/content", response_class=FileContent)
def retrieve_content(file_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    file = find_file(services, caller, file_id)
    return FileContent(
        services.store.blobs.stream(file.blob_key),
        headers={
            "content-disposition": attachment(file.filename),
            "content-length": str(file.size_bytes),
        },
    )


def find_file(services: Services, caller: Caller, file_id: str) -> StoredFile:
    file = services.store.files.find(caller.scope, file_id)
    if file is None:
        raise _not_found(file_id)
    return file


def attachment(filename: str) -> str:
    """A Content-Disposition that gives `filename` back, whatever is in it (RFC 6266): in ASCII for
    old readers and, where that loses something, percent-encoded as well."""
    plain = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in filename
    )
    if plain == filename:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _stored_file(
    file_id: str, blob_key: str, received: ReceivedForm, caller: Caller, now: datetime
) -> StoredFile:
    """The row for a file. Raises InvalidRequest for a form that can't be used."""
    received.refuse_unknown(KNOWN_FIELDS)
    size_bytes = received.required_size("file")
    if "purpose" not in received.fields:
        raise errors.InvalidRequest("'purpose' is a required property")
    purpose = _purpose(received.fields["purpose"], UPLOADABLE)
    return StoredFile(
        id=file_id,
        organization_id=caller.organization.id,
        project_id=caller.project.id,
        filename=checked_filename(received.filename),
        purpose=purpose,
        size_bytes=size_bytes,
        created_at=now,
        expires_at=file_expires_at(purpose, now, _expires_after_s(received.fields)),
        blob_key=blob_key,
    )


def _purpose(value: str, allowed: tuple[FilePurpose, ...]) -> FilePurpose:
    if value not in allowed:
        names = ", ".join(f"'{purpose.value}'" for purpose in allowed)
        raise errors.InvalidRequest(
            f"'{value[:100]}' is not one of [{names}] - 'purpose'", param="purpose"
        )
    return FilePurpose(value)


def _expires_after_s(fields: Mapping[str, str]) -> int | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise errors.InvalidRequest(
            "Invalid 'expires_after[anchor]': the only supported value is 'created_at'.",
            param="expires_after[anchor]",
        )
    if not re.fullmatch("[0-9]{1,7}", seconds or "") or int(seconds or 0) not in EXPIRES_AFTER_S:
        raise errors.InvalidRequest(
            f"Invalid 'expires_after[seconds]': expected an integer from {EXPIRES_AFTER_S[0]} "
            f"to {EXPIRES_AFTER_S[-1]}.",
            param="expires_after[seconds]",
        )
    return int(seconds or 0)


def _not_found(file_id: str) -> errors.NotFound:
    return errors.NotFound(f"No such File object: {file_id}", param="id")
