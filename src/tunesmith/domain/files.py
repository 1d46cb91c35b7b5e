"""Files that clients upload and result files that we write."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tunesmith.domain import errors

EXPIRES_AFTER_S = range(3600, 2_592_000 + 1)  # an hour to 30 days: what a client may ask for
BATCH_EXPIRES_AFTER = timedelta(days=30)
# A download's header holds the name percent-encoded: at most 6 kB of a proxy's usual 8.
MAX_FILENAME_LENGTH = 512  # characters


class FilePurpose(StrEnum):
    ASSISTANTS = "assistants"
    ASSISTANTS_OUTPUT = "assistants_output"
    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"
    FINE_TUNE = "fine-tune"
    FINE_TUNE_RESULTS = "fine-tune-results"
    VISION = "vision"
    USER_DATA = "user_data"
    EVALS = "evals"


UPLOADABLE = (
    FilePurpose.ASSISTANTS,
    FilePurpose.BATCH,
    FilePurpose.FINE_TUNE,
    FilePurpose.VISION,
    FilePurpose.USER_DATA,
    FilePurpose.EVALS,
)


@dataclass(frozen=True)
class StoredFile:
    """A file's row. Its bytes are the blob `blob_key`, which outlives the row for as long as a
    job still needs it."""

    id: str
    organization_id: str
    project_id: str
    filename: str  # as the client sent it; shown, never used as a path
    purpose: FilePurpose
    size_bytes: int
    created_at: datetime
    expires_at: datetime | None
    blob_key: str


def file_expires_at(
    purpose: FilePurpose, created_at: datetime, after_s: int | None
) -> datetime | None:
    """When a file ends: as its client asked, else by what it is for; None for never."""
    if after_s is not None:
        return created_at + timedelta(seconds=after_s)
    return created_at + BATCH_EXPIRES_AFTER if purpose is FilePurpose.BATCH else None


def checked_filename(name: str) -> str:
    """`name`, which may be anything that can be kept and given back. Raises InvalidRequest."""
    if len(name) > MAX_FILENAME_LENGTH:
        raise errors.InvalidRequest(
            "Invalid 'filename': string too long. Expected a string with maximum length "
            f"{MAX_FILENAME_LENGTH}, but got a string with length {len(name)} instead.",
            param="filename",
            code="string_above_max_length",
        )
    if "\0" in name:  # which Postgres can't keep
        raise errors.InvalidRequest(
            "Invalid 'filename': it contains the character NUL.",
            param="filename",
            code="invalid_value",
        )
    return name
