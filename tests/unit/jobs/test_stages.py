"""Jobs of either era, from their files to their result file: really trained, on two layers."""

import base64
import csv
import io
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.small_models import make_model
from tests.unit.jobs.test_data import put
from tests.unit.store.builders import a_job, add_file, stored_file
from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.domain.classification import Classification
from tunesmith.domain.eras import Era
from tunesmith.domain.errors import InvalidRequest, InvalidTrainingData
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import Event, Job, JobStatus
from tunesmith.domain.models import BaseModel, Catalog
from tunesmith.domain.plan import Hyperparameters
from tunesmith.domain.tenancy import Scope
from tunesmith.jobs import stages
from tunesmith.jobs.bench import Bench
from tunesmith.jobs.leases import HeldLease
from tunesmith.jobs.stages import Workshop
from tunesmith.modeling.downloads import Downloads
from tunesmith.store.blobs import file_blob_key
from tunesmith.store.store import open_store

IDS = Ids()
CLASSES = ("yes", "no")
TRAIN = [{"prompt": f"Is it {n}? ->", "completion": CLASSES[n % 2]} for n in range(11)]
VALID = [{"prompt": f"Is it {n}? ->", "completion": CLASSES[n % 2]} for n in range(20, 26)]
# The small model has a token a byte; every completion is followed by the one that ends it.
NUM_TOKENS = sum(len(line["prompt"] + line["completion"]) + 1 for line in TRAIN)
TODAYS_KEYS = {"step", "total_steps", "train_loss", "train_mean_token_accuracy"}
VALID_KEYS = {
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
}


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    """Models this small only wait for each other's threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = make_model(tmp_path_factory.mktemp("base"))
    return Catalog([BaseModel("small", str(folder))])


@pytest.fixture
def workshop(catalog: Catalog, tmp_path: Path) -> Iterator[Workshop]:
    """Of an operator who wants result files as base64."""
    with closing(open_store(tmp_path / "data", ids=IDS, clock=now)) as store:
        yield Workshop(
            store=store,
            ids=IDS,
            clock=now,
            catalog=catalog,
            shelf=AdapterShelf(tmp_path / "adapters"),
            runs_folder=tmp_path / "runs",
            reports_folder=tmp_path / "reports",
            bench=Bench("cpu", idle_unload_s=60),
            downloads=Downloads(),
            reported_lines=20,
            snapshot_interval_s=60,
            result_file_format="base64",
        )


def create(workshop: Workshop, **changes: Any) -> Job:
    """A job with both files, in three epochs of three steps of 4, 4 and 3 examples."""
    store = workshop.store
    scope = store.tenants.ensure_first("local", "sk-tunesmith-test").scope
    for file_id, lines in (("file-1", TRAIN), ("file-2", VALID)):
        if store.files.find(scope, file_id) is None:
            add_file(store, stored_file(file_id, scope))
        put(store, file_id, lines)
    asked = {"n_epochs": 3, "batch_size": 4, **changes.pop("hyperparameters", {})}
    job = a_job(
        scope=scope,
        model="small",
        base_model="small",
        hyperparameters=Hyperparameters(**asked),
        validation_file_id="file-2",
        validation_blob=file_blob_key("file-2"),
        **changes,
    )
    store.jobs.create(job, [])
    return job


def walk(
    workshop: Workshop,
    status: JobStatus,
    stage: Callable[[Workshop, HeldLease, Job, Callable[[], bool]], None],
) -> None:
    """The one job of this status through a stage."""
    claimed = workshop.store.jobs.claim("worker", [status], 60)
    assert claimed is not None
    job, lease = claimed
    stage(workshop, HeldLease(workshop.store, lease, 60), job, lambda: False)


def finished(workshop: Workshop, job: Job) -> Job:
    """The job after both stages."""
    walk(workshop, JobStatus.VALIDATING_FILES, stages.validate)
    walk(workshop, JobStatus.QUEUED, stages.run)
    done = workshop.store.jobs.find(Scope(job.organization_id, job.project_id), job.id)
    assert done is not None
    assert done.status is JobStatus.SUCCEEDED
    return done


def result_file(workshop: Workshop, job: Job) -> tuple[str, str]:
    """Its name and its text."""
    assert job.result_file_id is not None
    scope = Scope(job.organization_id, job.project_id)
    file = workshop.store.files.find(scope, job.result_file_id)
    assert file is not None
    content = b"".join(workshop.store.blobs.stream(file.blob_key))
    assert file.size_bytes == len(content)
    return file.filename, content.decode()


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def metrics_of(workshop: Workshop, job: Job) -> list[dict[str, Any]]:
    events: list[Event] = workshop.store.events.all_metrics(job.id)
    return [dict(event.data or {}) for event in events]


def test_a_classifier_of_the_first_era_leaves_compiled_results(workshop: Workshop) -> None:
    asked = {
        "prompt_loss_weight": 0.01,
        "classification": Classification(positive_class="yes", betas=(1.0, 2.0)),
    }
    job = finished(workshop, create(workshop, era=Era.FINE_TUNES, hyperparameters=asked))
    assert job.plan is not None
    assert job.plan.prompt_loss_weight == 0.01

    filename, text = result_file(workshop, job)
    rows = parsed(text)
    assert filename == "compiled_results.csv"
    training = ["training_loss", "training_sequence_accuracy", "training_token_accuracy"]
    validation = ["validation_loss", "validation_sequence_accuracy", "validation_token_accuracy"]
    classification = [
        f"classification/{name}"
        for name in ("accuracy", "precision", "recall", "auroc", "auprc", "f1.0", "f2.0")
    ]
    elapsed = ["step", "elapsed_tokens", "elapsed_examples"]
    assert list(rows[0]) == [*elapsed, *training, *validation, *classification]
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 10)]
    examples = [int(row["elapsed_examples"]) for row in rows]
    assert examples == [4, 8, 11, 15, 19, 22, 26, 30, 33]
    assert int(rows[2]["elapsed_tokens"]) == NUM_TOKENS
    assert int(rows[-1]["elapsed_tokens"]) == 3 * NUM_TOKENS == job.trained_tokens
    for number, row in enumerate(rows, 1):
        is_epoch_end = number % 3 == 0
        assert all(row[name] for name in training)
        assert all(bool(row[name]) == is_epoch_end for name in [*validation, *classification])


def test_a_classifiers_figures_are_in_its_events_and_checkpoints(workshop: Workshop) -> None:
    asked = {"classification": Classification(num_classes=2)}
    job = finished(workshop, create(workshop, era=Era.FINE_TUNES, hyperparameters=asked))
    names = {"classification/accuracy", "classification/weighted_f1_score"}
    told = metrics_of(workshop, job)
    assert [data.keys() >= names for data in told] == [False, False, True] * 3
    last, *_ = workshop.store.checkpoints.page(job.id, limit=1).items
    assert last.metrics.classification == {name: told[-1][name] for name in names}
    assert last.metrics.measured().keys() >= names
    last_row = parsed(result_file(workshop, job)[1])[-1]
    assert {name: last_row[name] for name in names} == {
        name: f"{told[-1][name]:.5f}" for name in names
    }


def test_a_prompts_weight_changes_the_loss_and_no_accuracy(workshop: Workshop) -> None:
    """Of the first step, which the base model alone decides."""
    plain = finished(workshop, create(workshop, era=Era.FINE_TUNES))
    weighed = create(
        workshop, era=Era.FINE_TUNES, id="ftjob-2", hyperparameters={"prompt_loss_weight": 1.0}
    )
    weighed = finished(workshop, weighed)
    first, second = (metrics_of(workshop, job)[0] for job in (plain, weighed))
    assert first["train_loss"] != pytest.approx(second["train_loss"], rel=1e-2)
    assert first["train_mean_token_accuracy"] == second["train_mean_token_accuracy"]


def test_todays_jobs_tell_and_leave_what_they_always_did(workshop: Workshop) -> None:
    job = finished(workshop, create(workshop))
    for number, data in enumerate(metrics_of(workshop, job), 1):
        keys = TODAYS_KEYS | (VALID_KEYS if number % 3 == 0 else set())
        assert data.keys() == keys | {"tokens_per_second"}
    filename, text = result_file(workshop, job)
    assert filename == "step_metrics.csv"
    assert base64.b64decode(text).startswith(b"step,train_loss,train_accuracy,")


def test_classes_that_cannot_be_told_apart_fail_the_job_while_it_is_validated(
    workshop: Workshop,
) -> None:
    asked = {"classification": Classification(num_classes=3)}
    job = create(workshop, era=Era.FINE_TUNES, hyperparameters=asked)
    with pytest.raises(InvalidTrainingData, match="make only 2 classes"):
        walk(workshop, JobStatus.VALIDATING_FILES, stages.validate)
    assert not workshop.run_folder(job.id).exists()


@pytest.mark.parametrize("era", Era)
def test_a_job_paused_behind_its_last_step_succeeds_when_it_is_resumed(
    workshop: Workshop, era: Era
) -> None:
    """Nothing is told or named twice, though its end is walked through twice."""
    store, job = workshop.store, create(workshop, era=era)
    scope = Scope(job.organization_id, job.project_id)

    def pausing() -> datetime:
        """The time. Whoever asks for it when all is trained is too late to succeed."""
        if len(store.checkpoints.page(job.id, limit=10).items) == 3:
            with suppress(InvalidRequest):
                store.jobs.pause(scope, job.id)
        return now()

    walk(workshop, JobStatus.VALIDATING_FILES, stages.validate)
    with pytest.raises(stages.PutBack):
        walk(replace(workshop, clock=pausing), JobStatus.QUEUED, stages.run)
    (made,) = store.checkpoints.page(job.id, limit=1).items
    assert store.jobs.resume(scope, job.id)
    walk(workshop, JobStatus.QUEUED, stages.run)

    done = store.jobs.find(scope, job.id)
    assert done is not None
    assert (done.status, done.fine_tuned_model) == (JobStatus.SUCCEEDED, made.model_name)
    assert [data["step"] for data in metrics_of(workshop, job)] == list(range(1, 10))
    for told_by in Era:
        told = [event.message for event in store.events.since(job.id, told_by)[0]]
        assert len(told) == len(set(told))
