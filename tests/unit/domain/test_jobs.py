"""The table of legal moves."""

from tunesmith.domain.ids import BASE62, Ids
from tunesmith.domain.jobs import LEGAL_MOVES, JobStatus, StepMetrics


def test_every_status_has_its_moves() -> None:
    assert set(LEGAL_MOVES) == set(JobStatus)


def test_terminal_statuses_lead_nowhere() -> None:
    terminal = {status for status in JobStatus if status.is_terminal}
    assert terminal == {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}


def test_every_unfinished_job_can_be_cancelled_and_can_fail() -> None:
    for status, moves in LEGAL_MOVES.items():
        if not status.is_terminal:
            assert {JobStatus.CANCELLED, JobStatus.FAILED} <= moves


def test_metrics_that_were_not_measured_are_absent() -> None:
    metrics = StepMetrics(3, 0.5, 0.25, valid_loss=0.75)
    assert metrics.measured() == {
        "train_loss": 0.5,
        "train_mean_token_accuracy": 0.25,
        "valid_loss": 0.75,
    }
    assert metrics.sequence_accuracies() == {}


def test_a_classifiers_metrics_are_among_those_measured_and_sequences_apart() -> None:
    """Today's jobs tell no sequence accuracies, the first era's do."""
    metrics = StepMetrics(3, 0.5, 0.25, 0.125, classification={"classification/accuracy": 1.0})
    assert metrics.measured() == {
        "train_loss": 0.5,
        "train_mean_token_accuracy": 0.25,
        "classification/accuracy": 1.0,
    }
    assert metrics.sequence_accuracies() == {"train_sequence_accuracy": 0.125}


def test_ids_have_openai_shapes() -> None:
    ids = Ids()
    assert ids.job().startswith("ftjob-")
    assert len(ids.job()) == 6 + 24
    assert ids.request().startswith("req_")
    assert len(ids.request()) == 4 + 32
    assert set(ids.adapter()) <= set(BASE62)
    assert len(ids.adapter()) == 8
    assert len({ids.file() for _ in range(100)}) == 100
