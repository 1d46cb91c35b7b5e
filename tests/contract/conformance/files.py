"""Files and uploads."""

from tests.contract.conformance.effects import echoed, excludes_all, goes_on, limits, reverses
from tests.contract.conformance.rows import Conformance, Json, Seen, unknown, works

DAY_S = 86_400
EXPIRY = {"anchor": "created_at", "seconds": DAY_S}
CONTENT = "{}\n"
UPLOAD: Json = {
    "filename": "a.jsonl",
    "purpose": "fine-tune",
    "bytes": len(CONTENT),
    "mime_type": "text/jsonl",
}
SUITED = {"assistants": "text/plain", "vision": "image/png"}
MD5_OF_CONTENT = "8a80554c91d9fca8acb82f023de02f11"
MD5_OF_OTHERS = "d41d8cd98f00b204e9800998ecf8427e"
NO_FILE = unknown("file_id", 404, "id")
NO_UPLOAD = unknown("upload_id", 404, "id")
EXPIRY_TEXT = "an hour to 30 days, counted from the file's creation; then it is gone"


def expires_in_a_day(file: Json) -> bool:
    return bool(file["expires_at"] - file["created_at"] == DAY_S)


def ends_in_a_day_once_complete(seen: Seen) -> bool:
    return expires_in_a_day(completed(seen, seen.reply["id"])["file"])


def has_all_bytes(seen: Seen) -> object:
    upload = completed(seen, seen.sent["upload_id"], seen.reply["id"])
    return upload["file"]["bytes"] == len(CONTENT)


def completed(seen: Seen, upload_id: str, *part_ids: str) -> Json:
    """An upload, with what its content needs."""
    path = f"/uploads/{upload_id}"
    ids = part_ids or (seen.post_form(f"{path}/parts", data=CONTENT)["id"],)
    upload: Json = seen.post(f"{path}/complete", part_ids=list(ids))
    return upload


FILES = (
    Conformance(
        "POST /files",
        "files.create",
        base={"file": CONTENT, "purpose": "fine-tune"},
        rows=(
            works(
                "file",
                text="any name and any bytes are kept as they are; a job that uses the file says "
                "what is wrong with them",
                sends={"file": CONTENT * 5},
                sees=lambda seen: seen.reply["bytes"] == len(CONTENT) * 5,
            ),
            works(
                "purpose",
                text="kept, and looked at by whatever uses the file: jobs take `fine-tune` only",
                sends={"purpose": "user_data"},
                sees=echoed("purpose"),
            ),
            works(
                "expires_after",
                "expires_after.anchor",
                "expires_after.seconds",
                text=EXPIRY_TEXT,
                sends={"expires_after": EXPIRY},
                sees=lambda seen: expires_in_a_day(seen.reply),
            ),
        ),
    ),
    Conformance(
        "GET /files",
        "files.list",
        among="file",
        rows=(
            works(
                "purpose",
                text="only files of this purpose; also `fine-tune-results`",
                sends={"purpose": "batch"},
                sees=excludes_all("purpose"),
            ),
            works("limit", text="1 to 10,000", sends={"limit": 1}, sees=limits),
            works("order", text="by creation", sends={"order": "asc"}, sees=reverses),
            works(
                "after", text="goes on behind this file", sends={"after": "{file}"}, sees=goes_on
            ),
        ),
    ),
    Conformance(
        "GET /files/{file_id}",
        "files.retrieve",
        path={"file_id": "{file}"},
        rows=(NO_FILE,),
    ),
    Conformance(
        "DELETE /files/{file_id}",
        "files.delete",
        path={"file_id": "{file}"},
        note="A job that uses the file goes on with a copy of its own.",
        rows=(NO_FILE,),
    ),
    Conformance(
        "GET /files/{file_id}/content",
        "files.content",
        path={"file_id": "{file}"},
        note="Answers with the file's bytes as `application/octet-stream` and its name in "
        "`content-disposition`, as OpenAI's service does; the description says JSON.",
        rows=(NO_FILE,),
    ),
)
UPLOADS = (
    Conformance(
        "POST /uploads",
        "uploads.create",
        base=UPLOAD,
        rows=(
            works("filename", text="up to 512 characters", sends=UPLOAD, sees=echoed("filename")),
            works(
                "purpose",
                text="as of a file; `user_data` and `evals` are taken, too",
                sends={**UPLOAD, "purpose": "batch"},
                sees=echoed("purpose"),
            ),
            *(
                works(
                    f"purpose={purpose}",
                    text="needs a `mime_type` that suits it",
                    sends={**UPLOAD, "purpose": purpose, "mime_type": mime_type},
                    sees=echoed("purpose"),
                )
                for purpose, mime_type in SUITED.items()
            ),
            works(
                "bytes",
                text="what the parts must have together, up to the service's limit (8 GB unless "
                "its operator says otherwise)",
                sends=UPLOAD,
                sees=echoed("bytes"),
            ),
            works(
                "mime_type",
                text="must suit the purpose",
                sends=UPLOAD,
                sees=lambda seen: seen.is_refused("mime_type", mime_type="image/png"),
            ),
            works(
                "expires_after",
                "expires_after.anchor",
                "expires_after.seconds",
                text=EXPIRY_TEXT,
                sends={"expires_after": EXPIRY},
                sees=ends_in_a_day_once_complete,
            ),
        ),
    ),
    Conformance(
        "POST /uploads/{upload_id}/parts",
        "uploads.parts.create",
        path={"upload_id": "{empty upload}"},
        base={"data": CONTENT},
        rows=(
            NO_UPLOAD,
            works(
                "data",
                text="up to 64 MB; parts may come at the same time",
                sends={"data": CONTENT},
                sees=has_all_bytes,
            ),
        ),
    ),
    Conformance(
        "POST /uploads/{upload_id}/complete",
        "uploads.complete",
        path={"upload_id": "{upload}"},
        base={"part_ids": ["{part}"]},
        rows=(
            NO_UPLOAD,
            works(
                "part_ids",
                text="in the order of their bytes, which must be as many as were announced",
                sends={"part_ids": ["{part}"]},
                sees=lambda seen: seen.is_refused("part_ids", part_ids=[]),
            ),
            works(
                "md5",
                text="of the whole file; another one is a 400, and the upload stays open",
                sends={"md5": MD5_OF_CONTENT},
                sees=lambda seen: seen.is_refused("md5", md5=MD5_OF_OTHERS),
            ),
        ),
    ),
    Conformance(
        "POST /uploads/{upload_id}/cancel",
        "uploads.cancel",
        path={"upload_id": "{upload}"},
        rows=(NO_UPLOAD,),
    ),
)
