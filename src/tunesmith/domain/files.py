"""Files that clients upload and result files that we write."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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
