"""A job to be interrupted, and what must be true of it however often it was.

The base model has two layers, the job 16 steps; one run takes a fraction of a second. What a job
left behind is compared, number by number and byte by byte, with what the same job leaves when
nobody disturbs it.
"""

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.crash.parts import Launcher, Part, wait_until
from tests.crash.strikes import Point
from tests.small_models import make_model
from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.domain.files import FilePurpose, StoredFile
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import EventType, Job, JobStatus, MethodType
from tunesmith.domain.plan import Hyperparameters
from tunesmith.domain.tenancy import Scope
from tunesmith.jobs.janitor import Janitor
from tunesmith.store.blobs import file_blob_key
from tunesmith.store.store import Store

BASE = "tiny"
IDS = Ids()
NUM_STEPS = 16
# Beyond what an operator may choose: a snapshot about every third step, a death soon noticed.
SETTINGS = {"lease_s": 0.4, "snapshot_interval_s": 0.02}


def now() -> datetime:
    return datetime.now(UTC)


def furnish(data_dir: Path) -> None:
    """A data folder with a small base model."""
    make_model(data_dir / "weights", max_position_embeddings=128)
    entry = f'[models."{BASE}"]\nsource = "weights"\n'
    (data_dir / "models.toml").write_text(entry)


def examples(first: int, count: int) -> bytes:
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"What is {n} and {n}?"},
                {"role": "assistant", "content": f"It is {2 * n}."},
            ]
        }
        for n in range(first, first + count)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@dataclass(frozen=True)
class Outcome:
    """All that a client can see of a job that has ended, without what differs from run to run:
    ids, times, speed."""

    status: JobStatus
    trained_tokens: int | None
    model: str
    events: list[tuple[str, str, str, Any]]
    result_file: bytes
    checkpoints: list[Any]
    adapters: list[dict[str, bytes]]


@dataclass(frozen=True)
class Bench:
    """Where the jobs are run: one data folder, one project."""

    launcher: Launcher
    store: Store
    scope: Scope

    def create_job(self) -> str:
        training, validation = self._file(examples(0, 12)), self._file(examples(50, 3))
        job = Job(
            id=IDS.job(),
            organization_id=self.scope.organization_id,
            project_id=self.scope.project_id,
            created_at=now(),
            status=JobStatus.VALIDATING_FILES,
            model=BASE,
            base_model=BASE,
            method=MethodType.SUPERVISED,
            hyperparameters=Hyperparameters(n_epochs=4, batch_size=3),
            seed=11,
            suffix="crash",
            metadata=None,
            integrations=(),
            training_file_id=training.id,
            training_blob=training.blob_key,
            validation_file_id=validation.id,
            validation_blob=validation.blob_key,
        )
        self.store.jobs.create(job, [])
        # The job is the last to need its files: its end takes them away.
        self.store.files.delete(self.scope, training.id)
        self.store.files.delete(self.scope, validation.id)
        return job.id

    def _file(self, content: bytes) -> StoredFile:
        file_id = IDS.file()
        file = StoredFile(
            id=file_id,
            organization_id=self.scope.organization_id,
            project_id=self.scope.project_id,
            filename="examples.jsonl",
            purpose=FilePurpose.FINE_TUNE,
            size_bytes=len(content),
            created_at=now(),
            expires_at=None,
            blob_key=file_blob_key(file_id),
        )
        self.store.blobs.put_bytes(file.blob_key, content)
        self.store.files.add(file)
        return file

    def job(self, job_id: str) -> Job:
        job = self.store.jobs.find(self.scope, job_id)
        assert job is not None, f"{job_id} is lost"
        return job

    def run(self, job_id: str, *points: Point | float, cut: bool = False) -> list[Part]:
        """Workers on the job, one after the other: each dies at its point (or after so many
        seconds), the last one finishes. Gives them all."""
        workers = []
        for point in points:
            if self._has_ended(job_id):
                break
            at = {"point": point} if isinstance(point, Point) else {"after_s": point}
            workers.append(self.launcher.start("worker", cut=cut, **at))
            self._wait_for_death_or_end(job_id, workers[-1])
        if not self._has_ended(job_id):
            workers.append(self.launcher.start("worker"))
            wait_until(lambda: self._has_ended(job_id) or not workers[-1].is_alive, "the job's end")
        workers[-1].stop()
        return workers

    def _wait_for_death_or_end(self, job_id: str, worker: Part) -> None:
        wait_until(lambda: not worker.is_alive or self._has_ended(job_id), "death, or the end")
        if worker.is_alive:  # what comes after the job's end may be its point
            worker.stop()

    def _has_ended(self, job_id: str) -> bool:
        return self.job(job_id).status.is_terminal

    def outcome(self, job_id: str) -> Outcome:
        job = self.job(job_id)
        assert job.status is JobStatus.SUCCEEDED, job.error
        assert job.fine_tuned_model
        assert job.result_file_id
        result_file = self.store.files.find(self.scope, job.result_file_id)
        assert result_file
        content = b"".join(self.store.blobs.stream(result_file.blob_key))
        assert len(content) == result_file.size_bytes
        checkpoints = self.store.checkpoints.page(job_id, limit=100).items
        assert checkpoints[0].model_name == job.fine_tuned_model
        for checkpoint in checkpoints:
            tuned = self.store.tuned_models.find(self.scope, checkpoint.model_name)
            assert tuned, f"{checkpoint.model_name} is listed and can't be called"
            assert tuned.adapter_id == checkpoint.adapter_id
        return Outcome(
            status=job.status,
            trained_tokens=job.trained_tokens,
            model=_anonymous(job.fine_tuned_model),
            events=self._events(job_id),
            result_file=content,
            checkpoints=[
                (one.step, _anonymous(one.model_name), one.metrics) for one in checkpoints
            ],
            adapters=[self._adapter(one.adapter_id) for one in checkpoints],
        )

    def _events(self, job_id: str) -> list[tuple[str, str, str, Any]]:
        """Oldest first."""
        told = []
        for event in reversed(self.store.events.page(job_id, limit=1000).items):
            data = event.data and {k: v for k, v in event.data.items() if k != "tokens_per_second"}
            told.append((event.level.value, event.type.value, _anonymous(event.message), data))
        return told

    def _adapter(self, adapter_id: str) -> dict[str, bytes]:
        folder = self.launcher.data_dir / "adapters" / adapter_id
        return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}

    def check_steps(self, outcome: Outcome) -> None:
        steps = [data["step"] for _, kind, _, data in outcome.events if kind == EventType.METRICS]
        assert steps == list(range(1, NUM_STEPS + 1))
        rows = outcome.result_file.decode().splitlines()[1:]
        assert [int(row.split(",")[0]) for row in rows] == steps

    def check_nothing_is_left_over(self) -> None:
        """After a round of the janitor that regards nothing as too young: what is on the disk is
        what clients can ask for, and the database is sound."""
        data_dir = self.launcher.data_dir
        shelf = AdapterShelf(data_dir / "adapters")
        runs = data_dir / "runs"
        ago = timedelta(seconds=-1)
        reports = data_dir / "reports"
        Janitor(self.store, shelf, runs, reports, min_age=ago, min_blob_age=ago).tidy()
        assert [path.name for path in runs.glob("*")] == []
        adapters = {path.name for path in (data_dir / "adapters").glob("*")}
        assert adapters == self.store.tuned_models.adapters_in_use()
        blobs = {f"files/{path.name}" for path in (data_dir / "blobs" / "files").iterdir()}
        assert blobs == self._needed_blobs()
        with closing(sqlite3.connect(data_dir / "tunesmith.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []

    def _needed_blobs(self) -> set[str]:
        """Of files, and of jobs that have not ended (a client that had no answer made it twice)."""
        files = self.store.files.page(self.scope, limit=10_000).items
        needed = {file.blob_key for file in files}
        for job in self.store.jobs.page(self.scope, limit=10_000).items:
            if not job.status.is_terminal:
                needed |= {job.training_blob, job.validation_blob or job.training_blob}
        return needed


def _anonymous(text: str) -> str:
    text = re.sub(r"(ft:\S*?:)[0-9A-Za-z]{8}(?=:|$)", r"\1ID", text)
    return re.sub(r"(file|ftjob)-\w+", r"\1-ID", text)


def later(point: Point) -> Point:
    """The same write, at the end instead of the beginning."""
    return replace(point, when="after")
