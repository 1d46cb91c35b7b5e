"""The result file of a job: one CSV row per optimiser step (behaviour reference, section 8.1)."""

import base64
import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

FILENAME = "step_metrics.csv"

# Column of the file, key of the metrics event. The first five are what readers look for; the
# file says `train_accuracy` where events say `train_mean_token_accuracy`.
COLUMNS = (
    ("step", "step"),
    ("train_loss", "train_loss"),
    ("train_accuracy", "train_mean_token_accuracy"),
    ("valid_loss", "valid_loss"),
    ("valid_mean_token_accuracy", "valid_mean_token_accuracy"),
    ("full_valid_loss", "full_valid_loss"),
    ("full_valid_mean_token_accuracy", "full_valid_mean_token_accuracy"),
)


def step_metrics_csv(metrics: Iterable[Mapping[str, Any]]) -> bytes:
    """The file's bytes from the `data` of the metrics events, in their order. What was not
    measured at a step is a blank cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column for column, _ in COLUMNS)
    for row in metrics:
        writer.writerow(_cell(row.get(key)) for _, key in COLUMNS)
    return text.getvalue().encode()


def encoded(content: bytes, file_format: str) -> bytes:
    """`content` as the operator wants result files served: as it is, or as base64 text."""
    return base64.b64encode(content) if file_format == "base64" else content


def _cell(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.5f}"
