"""A job as the API of the first era shows it: with its files and when it was last heard of."""

from dataclasses import dataclass
from datetime import datetime

from tunesmith.domain.files import StoredFile
from tunesmith.domain.jobs import Job


@dataclass(frozen=True)
class FineTune:
    """Files are None if the job has none, and also once they are deleted."""

    job: Job
    updated_at: datetime  # of its newest event, whichever era tells it
    training_file: StoredFile | None
    validation_file: StoredFile | None = None
    result_file: StoredFile | None = None
