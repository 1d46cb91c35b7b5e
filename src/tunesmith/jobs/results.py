"""The result file of a job: one CSV row per optimiser step, in the manner of the job's era
(behaviour reference, sections 8.1 and 8.2)."""

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.domain.eras import Era
from tunesmith.domain.jobs import Job
from tunesmith.domain.plan import TrainingPlan

Columns = Sequence[tuple[str, str]]  # column of the file, key of the metrics event

# The first five are what readers look for; the file says `train_accuracy` where events say
# `train_mean_token_accuracy`.
STEP_METRICS = (
    ("step", "step"),
    ("train_loss", "train_loss"),
    ("train_accuracy", "train_mean_token_accuracy"),
    ("valid_loss", "valid_loss"),
    ("valid_mean_token_accuracy", "valid_mean_token_accuracy"),
    ("full_valid_loss", "full_valid_loss"),
    ("full_valid_mean_token_accuracy", "full_valid_mean_token_accuracy"),
)

# Of preferences; in no reader's way.
PREFERENCES = tuple(
    (name, name)
    for phase in ("train", "valid", "full_valid")
    for name in (f"{phase}_reward_margin", f"{phase}_preference_accuracy")
)

COMPILED_RESULTS = (
    ("step", "step"),
    ("elapsed_tokens", "elapsed_tokens"),
    ("elapsed_examples", "elapsed_examples"),
    ("training_loss", "train_loss"),
    ("training_sequence_accuracy", "train_sequence_accuracy"),
    ("training_token_accuracy", "train_mean_token_accuracy"),
)
COMPILED_VALIDATION = (
    ("validation_loss", "valid_loss"),
    ("validation_sequence_accuracy", "valid_sequence_accuracy"),
    ("validation_token_accuracy", "valid_mean_token_accuracy"),
)


@dataclass(frozen=True)
class Results:
    filename: str
    content: bytes


def results(
    job: Job, plan: TrainingPlan, metrics: Iterable[Mapping[str, Any]], file_format: str
) -> Results:
    """From the `data` of the job's metrics events, in their order. `file_format` is how the
    operator wants today's files: plain, or as base64 text. The first era's are always plain."""
    if job.era is Era.FINE_TUNES:
        return Results("compiled_results.csv", _csv(_compiled_columns(job, plan), metrics))
    columns = STEP_METRICS if plan.beta is None else (*STEP_METRICS, *PREFERENCES)
    content = _csv(columns, metrics)
    if file_format == "base64":
        content = base64.b64encode(content)
    return Results("step_metrics.csv", content)


def _compiled_columns(job: Job, plan: TrainingPlan) -> Columns:
    columns = [*COMPILED_RESULTS]
    if job.validation_file_id is not None:
        columns += COMPILED_VALIDATION
    if plan.classes is not None:
        columns += [(name, name) for name in plan.classes.metrics()]
    return columns


def _csv(columns: Columns, metrics: Iterable[Mapping[str, Any]]) -> bytes:
    """What was not measured at a step is a blank cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column for column, _ in columns)
    for row in metrics:
        writer.writerow(_cell(row.get(key)) for _, key in columns)
    return text.getvalue().encode()


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.5f}"
