"""A job's files: surveyed once, trained on later, by whoever takes the job."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.small_models import make_model
from tests.unit.store.builders import a_job
from tunesmith.datasets.render import Row
from tunesmith.domain.errors import InvalidTrainingData, LeaseLost, UnsupportedModel
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import Job
from tunesmith.domain.models import BaseModel, Mode
from tunesmith.jobs.data import ROWS_FOLDER, JobFiles, check_files, survey_files
from tunesmith.store.blobs import file_blob_key
from tunesmith.store.store import Store, open_store

PAIRS = [{"prompt": f"{n}", "completion": f" {n}"} for n in range(10)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "data", ids=Ids(), clock=lambda: datetime.now(UTC))
    yield store
    store.close()


@pytest.fixture
def base(tmp_path: Path) -> BaseModel:
    return BaseModel("small", str(make_model(tmp_path / "base")))


class Visit:
    """One worker's look at the job's files; `num_chunks`: how much it had to do."""

    def __init__(
        self, store: Store, job: Job, base: BaseModel, run_folder: Path, **options: int
    ) -> None:
        self.num_chunks = 0
        self.files: JobFiles = survey_files(
            store.blobs, job, base, run_folder, 20, self._watch, **options
        )

    def _watch(self) -> None:
        self.num_chunks += 1

    @property
    def rows(self) -> tuple[list[list[Row]], list[list[Row]]]:
        with self.files.rows() as (train, valid):
            return list(train), list(valid)


def put(store: Store, file_id: str, lines: list[Any]) -> None:
    content = "\n".join(map(json.dumps, lines)).encode()
    store.blobs.put_bytes(file_blob_key(file_id), content)


def job_with(store: Store, train: list[Any], valid: list[Any] | None = None) -> Job:
    put(store, "file-1", train)
    if valid is None:
        return a_job()
    put(store, "file-2", valid)
    return a_job(validation_file_id="file-2", validation_blob=file_blob_key("file-2"))


def test_what_was_rendered_is_trained_on(store: Store, base: BaseModel, tmp_path: Path) -> None:
    job = job_with(store, PAIRS, PAIRS[:3])
    first = Visit(store, job, base, tmp_path / "run")
    second = Visit(store, job, base, tmp_path / "run")
    assert (first.num_chunks, second.num_chunks) == (2, 0)
    assert first.rows == second.rows
    assert [len(rows) for rows in second.rows] == [10, 3]


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_what_is_not_there_any_more_is_rendered_again_to_the_same(
    store: Store, base: BaseModel, tmp_path: Path, damage: str
) -> None:
    job = job_with(store, PAIRS)
    before = Visit(store, job, base, tmp_path / "run").rows
    (folder,) = (tmp_path / "run" / ROWS_FOLDER).iterdir()
    if damage == "gone":
        shutil.rmtree(folder)
    else:
        (folder / "rows.bin").write_bytes((folder / "rows.bin").read_bytes()[:-4])
    again = Visit(store, job, base, tmp_path / "run")
    assert again.num_chunks == 1
    assert again.rows == before


def test_other_weights_under_the_name_are_rendered_for_anew(
    store: Store, base: BaseModel, tmp_path: Path
) -> None:
    """The operator may point the base model elsewhere between validation and training."""
    job = job_with(store, PAIRS)
    Visit(store, job, base, tmp_path / "run")
    config = Path(base.source) / "tokenizer_config.json"
    config.write_text(config.read_text() + " ")
    assert Visit(store, job, base, tmp_path / "run").num_chunks == 1


def test_what_a_killed_worker_left_is_swept_away(
    store: Store, base: BaseModel, tmp_path: Path
) -> None:
    left = tmp_path / "run" / ROWS_FOLDER / ".unfinished-abc"
    left.mkdir(parents=True)
    (left / "rows.bin").write_bytes(b"half")
    assert len(Visit(store, job_with(store, PAIRS), base, tmp_path / "run").rows[0]) == 10
    assert not left.exists()


def test_both_files_problems_are_told_at_once(
    store: Store, base: BaseModel, tmp_path: Path
) -> None:
    job = job_with(store, [*PAIRS, {"prompt": "a"}], [{"prompt": "a", "completion": ""}])
    with pytest.raises(InvalidTrainingData) as caught:
        Visit(store, job, base, tmp_path / "run")
    error = caught.value
    assert 'Example 11 is missing key "completion"' in error.message
    assert (error.param, error.code) == ("training_file", "invalid_training_file")
    assert error.notes[0].startswith("Line 11: ")
    assert "Example 1 has an empty" in error.notes[1]
    assert error.notes[2].startswith("Line 1: ")


def test_a_bad_validation_file_alone_is_the_error(
    store: Store, base: BaseModel, tmp_path: Path
) -> None:
    job = job_with(store, PAIRS, [])
    with pytest.raises(InvalidTrainingData) as caught:
        Visit(store, job, base, tmp_path / "run")
    assert caught.value.param == "validation_file"
    assert "must have at least 1 examples" in caught.value.message


def test_repeated_and_shared_examples_are_remarked(
    store: Store, base: BaseModel, tmp_path: Path
) -> None:
    job = job_with(store, [*PAIRS, PAIRS[0]], [{"prompt": "new", "completion": "!"}, PAIRS[4]])
    first, second = Visit(store, job, base, tmp_path / "run").files.remarks()
    assert (first.level, second.level) == ("warn", "warn")
    assert first.message.startswith("1 example(s) of the training file repeat an earlier one")
    assert "line(s) 11" in first.message
    assert second.message.startswith("1 example(s) of the validation file are in the training file")
    assert "line(s) 2" in second.message


def test_a_model_that_only_chats_refuses_pairs(
    store: Store, base: BaseModel, tmp_path: Path
) -> None:
    chatting = BaseModel("chatting", base.source, formats=(Mode.CHAT,))
    with pytest.raises(InvalidTrainingData, match="in the prompt-completion format"):
        Visit(store, job_with(store, PAIRS), chatting, tmp_path / "run")


def test_a_large_file_is_surveyed_apart_with_the_same_result(
    store: Store, base: BaseModel, tmp_path: Path
) -> None:
    """So that a file of 50 MB doesn't hold up the job that trains meanwhile."""
    job = job_with(store, PAIRS, [{"prompt": "b", "completion": "c"}])
    inline = Visit(store, job, base, tmp_path / "inline")
    apart = Visit(store, job, base, tmp_path / "apart", inline_bytes=0)
    assert apart.rows == inline.rows
    assert apart.files.training.survey == inline.files.training.survey
    assert Visit(store, job, base, tmp_path / "apart").num_chunks == 0


def test_a_process_is_ended_when_nobody_wants_its_work(
    store: Store, base: BaseModel, tmp_path: Path
) -> None:
    def unwanted() -> None:
        raise LeaseLost("cancelled")

    job = job_with(store, PAIRS)
    with pytest.raises(LeaseLost):
        survey_files(store.blobs, job, base, tmp_path / "run", 20, unwanted, inline_bytes=0)
    assert not list((tmp_path / "run").glob(f"{ROWS_FOLDER}/training*"))


def test_a_refusal_comes_out_of_the_process(store: Store, base: BaseModel, tmp_path: Path) -> None:
    (Path(base.source) / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModel, match="has no tokenizer"):
        Visit(store, job_with(store, PAIRS), base, tmp_path / "run", inline_bytes=0)


def test_a_process_that_is_killed_is_an_error_of_its_own(
    store: Store, base: BaseModel, tmp_path: Path
) -> None:
    """By the kernel, for lack of memory, say: the attempt ends as if the trainer had died."""

    def kill() -> None:
        for children in Path("/proc/self/task").glob("*/children"):
            for process_id in map(int, children.read_text().split()):
                if b"survey_process" in Path(f"/proc/{process_id}/cmdline").read_bytes():
                    os.kill(process_id, signal.SIGKILL)

    job = job_with(store, PAIRS * 2000)
    with pytest.raises(ChildProcessError, match="status -9"):
        survey_files(store.blobs, job, base, tmp_path / "run", 20, kill, inline_bytes=0)


def test_a_bad_file_is_found_before_there_is_a_tokenizer(store: Store, tmp_path: Path) -> None:
    """Nobody should wait for gigabytes of weights to read that line 3 isn't JSON."""
    absent = BaseModel("absent", str(tmp_path / "nowhere"))
    lines = [*PAIRS, {"prompt": "a"}]
    job = job_with(store, lines, [{"prompt": "a", "completion": ""}])
    with pytest.raises(InvalidTrainingData, match="Example 11 is missing") as caught:
        check_files(store.blobs, job, absent, 20, lambda: None)
    assert len(caught.value.notes) == 3
    check_files(store.blobs, job_with(store, PAIRS), absent, 20, lambda: None)
