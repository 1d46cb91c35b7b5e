"""The result file's columns, by era and by what was asked for."""

import base64
from dataclasses import replace
from typing import Any

from tests.unit.store.builders import PLAN, a_job
from tunesmith.domain.classification import ClassTokens
from tunesmith.domain.eras import Era
from tunesmith.jobs.results import results

FINE_TUNE = a_job(era=Era.FINE_TUNES)
VALIDATED = a_job(era=Era.FINE_TUNES, validation_file_id="file-2")
TRAINING_COLUMNS = (
    "step,elapsed_tokens,elapsed_examples,"
    "training_loss,training_sequence_accuracy,training_token_accuracy"
)
VALIDATION_COLUMNS = "validation_loss,validation_sequence_accuracy,validation_token_accuracy"
STEPS: list[dict[str, Any]] = [
    {
        "step": 1,
        "total_steps": 2,
        "train_loss": 1.25,
        "train_mean_token_accuracy": 0.5,
        "train_sequence_accuracy": 0.25,
        "elapsed_tokens": 1234,
        "elapsed_examples": 4,
        "tokens_per_second": 99.9,
    },
    {
        "step": 2,
        "total_steps": 2,
        "train_loss": 1 / 3,
        "train_mean_token_accuracy": 1.0,
        "train_sequence_accuracy": 0.0,
        "elapsed_tokens": 2000,
        "elapsed_examples": 7,
        "valid_loss": 0.75,
        "valid_mean_token_accuracy": 0.625,
        "valid_sequence_accuracy": 0.125,
        "full_valid_loss": 9.0,
        "classification/accuracy": 0.875,
        "classification/f0.5": 1.0,
    },
]


def rows(job: Any, classes: ClassTokens | None = None, file_format: str = "csv") -> list[str]:
    made = results(job, replace(PLAN, classes=classes), STEPS, file_format)
    assert made.filename == "compiled_results.csv"
    return made.content.decode().splitlines()


def test_a_fine_tune_without_validation_has_the_training_columns_alone() -> None:
    assert rows(FINE_TUNE) == [
        TRAINING_COLUMNS,
        "1,1234,4,1.25000,0.25000,0.50000",
        "2,2000,7,0.33333,0.00000,1.00000",
    ]


def test_a_validation_file_adds_columns_that_are_blank_where_nothing_was_measured() -> None:
    assert rows(VALIDATED) == [
        f"{TRAINING_COLUMNS},{VALIDATION_COLUMNS}",
        "1,1234,4,1.25000,0.25000,0.50000,,,",
        "2,2000,7,0.33333,0.00000,1.00000,0.75000,0.12500,0.62500",
    ]


def test_a_positive_class_adds_six_columns_and_one_for_each_beta() -> None:
    classes = ClassTokens((1, 2), positive=0, betas=(1.0, 0.5))
    header, _, last = rows(VALIDATED, classes)
    assert header == (
        f"{TRAINING_COLUMNS},{VALIDATION_COLUMNS},classification/accuracy,classification/precision,"
        "classification/recall,classification/auroc,classification/auprc,classification/f1.0,"
        "classification/f0.5"
    )
    assert last.endswith(",0.62500,0.87500,,,,,,1.00000")


def test_classes_that_are_all_alike_add_two_columns() -> None:
    header, first, _ = rows(VALIDATED, ClassTokens((1, 2, 3), positive=None, betas=()))
    assert header.endswith(
        f"{VALIDATION_COLUMNS},classification/accuracy,classification/weighted_f1_score"
    )
    assert first.endswith(",,,,,")


def test_the_first_era_gets_plain_text_whatever_the_setting() -> None:
    assert rows(VALIDATED, file_format="base64") == rows(VALIDATED)


def test_todays_jobs_have_their_own_file_in_the_form_that_the_operator_wants() -> None:
    plain = results(a_job(), PLAN, STEPS, "csv")
    encoded = results(a_job(), PLAN, STEPS, "base64")
    assert plain.filename == encoded.filename == "step_metrics.csv"
    assert base64.b64decode(encoded.content) == plain.content
    assert plain.content.decode().splitlines() == [
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,"
        "full_valid_loss,full_valid_mean_token_accuracy",
        "1,1.25000,0.50000,,,,",
        "2,0.33333,1.00000,0.75000,0.62500,9.00000,",
    ]
