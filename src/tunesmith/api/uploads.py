"""/v1/uploads (behaviour reference, section 3): a file in parts, for what is too large for one
request, or comes over a network that breaks.

Parts go to the blob store as they arrive (`received.py`). Joining them may take a minute, so it
happens in the threads that take in files, not in those that answer everything else.
"""

import re
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool

from tunesmith.api.auth import CallerDep
from tunesmith.api.bodies import json_body
from tunesmith.api.context import Services, ServicesDep
from tunesmith.api.idempotency import OnceDep
from tunesmith.api.openapi import form
from tunesmith.api.received import received_form
from tunesmith.domain import errors
from tunesmith.domain.files import FilePurpose, checked_filename
from tunesmith.domain.tenancy import Caller
from tunesmith.domain.uploads import (
    LIFETIME,
    Upload,
    UploadPart,
    UploadStatus,
    check_mime_type,
    ended,
)
from tunesmith.store.blobs import part_blob_key
from tunesmith.wire.uploads import (
    CompleteUploadRequest,
    CreateUploadRequest,
    UploadPartReply,
    UploadReply,
    upload_part_reply,
    upload_reply,
)

MD5 = re.compile("[0-9a-fA-F]{32}")
PART_FORM = form({"data": {"type": "string", "format": "binary"}}, required=("data",))

router = APIRouter()

CreateBody = Annotated[CreateUploadRequest, Depends(json_body(CreateUploadRequest))]
CompleteBody = Annotated[CompleteUploadRequest, Depends(json_body(CompleteUploadRequest))]


@router.post("/uploads")
def create_upload(
    caller: CallerDep, services: ServicesDep, once: OnceDep, body: CreateBody
) -> UploadReply:
    content = body.model_dump_json()
    once.recall(content)
    purpose = FilePurpose(body.purpose)
    check_mime_type(body.mime_type, purpose)
    if body.bytes > services.limits.max_upload_total_bytes:
        raise errors.InvalidRequest(
            "Invalid 'bytes': integer above maximum value. Expected a value <= "
            f"{services.limits.max_upload_total_bytes}, but got {body.bytes} instead.",
            param="bytes",
            code="integer_above_max_value",
        )
    now = services.clock()
    upload = Upload(
        id=services.ids.upload(),
        organization_id=caller.organization.id,
        project_id=caller.project.id,
        created_at=now,
        expires_at=now + LIFETIME,
        status=UploadStatus.PENDING,
        filename=checked_filename(body.filename),
        purpose=purpose,
        size_bytes=body.bytes,
        file_expires_after_s=body.expires_after.seconds if body.expires_after else None,
    )
    reply = upload_reply(upload)
    services.store.uploads.add(upload, once.record(content, reply))
    return reply


@router.post("/uploads/{upload_id}/parts", openapi_extra=PART_FORM)
async def add_upload_part(
    upload_id: str, request: Request, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> UploadPartReply:
    await run_in_threadpool(_check_pending, upload_id, caller, services)  # before all the bytes
    part_id = services.ids.upload_part()
    blob_key = part_blob_key(part_id)
    max_bytes = services.limits.max_upload_part_bytes
    async with received_form(request, services, "data", blob_key, max_bytes) as received:
        received.refuse_unknown(known=())
        part = UploadPart(
            part_id, upload_id, services.clock(), received.required_size("data"), blob_key
        )
        reply = upload_part_reply(part)
        answered = once.record(received.content(), reply)
        is_added = await run_in_threadpool(
            services.store.uploads.add_part, caller.scope, part, max_bytes, answered
        )
        if not is_added:
            raise _not_found(upload_id)
    return reply


@router.post("/uploads/{upload_id}/complete")
async def complete_upload(
    upload_id: str,
    caller: CallerDep,
    services: ServicesDep,
    body: CompleteBody,
) -> UploadReply:
    if body.md5 is not None and not MD5.fullmatch(body.md5):
        raise errors.InvalidRequest(
            "Invalid 'md5': expected the MD5 of the file's bytes as 32 hexadecimal digits.",
            param="md5",
        )
    complete = partial(_completed, upload_id, body, caller, services)
    return await to_thread.run_sync(complete, limiter=services.upload_threads)


@router.post("/uploads/{upload_id}/cancel")
def cancel_upload(upload_id: str, caller: CallerDep, services: ServicesDep) -> UploadReply:
    upload = services.store.uploads.cancel(caller.scope, upload_id)
    if upload is None:
        raise _not_found(upload_id)
    return upload_reply(upload)


def _check_pending(upload_id: str, caller: Caller, services: Services) -> None:
    upload = services.store.uploads.find(caller.scope, upload_id)
    if upload is None:
        raise _not_found(upload_id)
    if upload.status is not UploadStatus.PENDING:
        raise ended(upload, "add a part to")


def _completed(
    upload_id: str, body: CompleteUploadRequest, caller: Caller, services: Services
) -> UploadReply:
    md5 = None if body.md5 is None else body.md5.lower()
    upload = services.store.uploads.complete(caller.scope, upload_id, body.part_ids, md5)
    if upload is None:
        raise _not_found(upload_id)
    assert upload.file_id is not None, "a completed upload became a file"
    # None if the file was deleted, and this is a late retry.
    return upload_reply(upload, services.store.files.find(caller.scope, upload.file_id))


def _not_found(upload_id: str) -> errors.NotFound:
    return errors.NotFound(f"No such Upload object: {upload_id}", param="id")
