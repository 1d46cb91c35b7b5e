"""The two APIs that jobs are made and seen by: one job, two faces.

A job and all it leaves behind exist once. Each era has its own words for what happens to it, its
own name for the model it makes and its own result file, and a job's ids in the two differ in
nothing but the beginning. Source: behaviour reference, sections 4 to 8 and 20; decision 0010.
"""

from enum import StrEnum

JOB_PREFIX, FINE_TUNE_PREFIX = "ftjob-", "ft-"


class Era(StrEnum):
    FINE_TUNES = "fine-tunes"  # `/v1/fine-tunes`, 2021 to 2023
    JOBS = "jobs"  # `/v1/fine_tuning/jobs`, since then


# Of a training file. The first era advised a few hundred and demanded none.
MIN_EXAMPLES = {Era.FINE_TUNES: 1, Era.JOBS: 10}


def job_id_of(id: str) -> str:
    """The job that either era's id means; anything else stays as it is."""
    if id.startswith(FINE_TUNE_PREFIX):
        return JOB_PREFIX + id.removeprefix(FINE_TUNE_PREFIX)
    return id


def fine_tune_id_of(job_id: str) -> str:
    """A job's id as the first era shows it."""
    return FINE_TUNE_PREFIX + job_id.removeprefix(JOB_PREFIX)
