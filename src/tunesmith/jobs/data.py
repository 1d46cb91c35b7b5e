"""A job's files: surveyed while it is validated, and read again when it is trained.

    run folder/rows/
    ├── training_file-1f0c…/      surveys with rows (`datasets/survey.py`), named by all that
    └── validation_file-9a2b…/    decides what is in them

What was rendered while validating is trained on, if it is still there and whole; otherwise, on
another machine say or with other weights under the base model's name, it is rendered again, to the
same rows.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunesmith.datasets.folders import sweep_unfinished
from tunesmith.datasets.render import RENDERING_FILES, Renderer, Row
from tunesmith.datasets.rows import RowFile
from tunesmith.datasets.survey import lines_in_both, read_survey, survey_file
from tunesmith.domain.errors import InvalidTrainingData
from tunesmith.domain.jobs import EventLevel, Job, NewEvent
from tunesmith.domain.models import BaseModel
from tunesmith.domain.plan import MIN_EXAMPLES
from tunesmith.domain.surveys import TRAINING, VALIDATION, Lines, Survey
from tunesmith.modeling.shape import read_shape
from tunesmith.store.blobs import Blobs

ROWS_FOLDER = "rows"
# To be raised with every change to the checks, the renderer or a survey's files that makes an
# older survey wrong.
SURVEY_VERSION = 1


@dataclass(frozen=True)
class SurveyTask:
    """One file for one base model."""

    blob: str
    base: BaseModel
    max_problems: int
    keeps_rows: bool

    @property
    def max_tokens(self) -> int:
        return training_context(self.base)

    def key(self) -> str:
        """Names all that decides the result."""
        decisive = [SURVEY_VERSION, self.blob, self.max_tokens, self.base.formats]
        decisive += [self.max_problems, self.keeps_rows]
        digest = hashlib.sha256(json.dumps(decisive).encode())
        for name in RENDERING_FILES:
            path = Path(self.base.source) / name
            content = path.read_bytes() if path.is_file() else b""
            digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()[:32]

    def run(self, blobs: Blobs, folder: Path, watch: Callable[[], None] = lambda: None) -> Survey:
        """The survey in `folder`, made if it isn't there."""
        found = read_survey(folder)
        if found is not None:
            return found
        shutil.rmtree(folder, ignore_errors=True)  # it lost something, or isn't there
        with blobs.open(self.blob) as content:
            return survey_file(
                content,
                Renderer.load(Path(self.base.source)),
                folder,
                formats=self.base.formats,
                max_tokens=self.max_tokens,
                max_problems=self.max_problems,
                keeps_rows=self.keeps_rows,
                watch=watch,
            )


@dataclass(frozen=True)
class Surveyed:
    """One of a job's files, usable or not."""

    file_id: str
    param: str
    folder: Path
    survey: Survey

    def refusal(self) -> InvalidTrainingData | None:
        least = MIN_EXAMPLES if self.param == TRAINING else 1
        return self.survey.refusal(self.file_id, self.param, least)


@dataclass(frozen=True)
class JobFiles:
    """Those of a job that can be trained."""

    training: Surveyed
    validation: Surveyed | None

    def remarks(self) -> list[NewEvent]:
        """Warnings for the job's owner, as events."""
        texts = []
        for file in (self.training, self.validation):
            if file is not None:
                texts += file.survey.warnings(file.param)
        if self.validation is not None:
            texts += _overlap(lines_in_both(self.validation.folder, self.training.folder))
        return [NewEvent(text, level=EventLevel.WARN) for text in texts]

    @contextmanager
    def rows(self) -> Iterator[tuple[Sequence[list[Row]], Sequence[list[Row]]]]:
        """The rows of both files; none of a validation file that isn't there."""
        with ExitStack() as opened:
            train = opened.enter_context(closing(RowFile(self.training.folder)))
            valid: Sequence[list[Row]] = ()
            if self.validation is not None:
                valid = opened.enter_context(closing(RowFile(self.validation.folder)))
            yield train, valid


def survey_files(
    blobs: Blobs,
    job: Job,
    base: BaseModel,
    run_folder: Path,
    max_problems: int,
    watch: Callable[[], None],
) -> JobFiles:
    """Raises InvalidTrainingData; if both files can't be used, the training file's error, with
    what is wrong in the other among its notes."""
    parent = run_folder / ROWS_FOLDER
    sweep_unfinished(parent)

    def surveyed(file_id: str, blob: str, param: str) -> Surveyed:
        task = SurveyTask(blob, base, max_problems, keeps_rows=True)
        folder = parent / f"{param}-{task.key()}"
        return Surveyed(file_id, param, folder, task.run(blobs, folder, watch))

    training = surveyed(job.training_file_id, job.training_blob, TRAINING)
    validation = None
    if job.validation_file_id is not None and job.validation_blob is not None:
        validation = surveyed(job.validation_file_id, job.validation_blob, VALIDATION)
    files = [file for file in (training, validation) if file is not None]
    refusals = [refusal for file in files if (refusal := file.refusal())]
    if refusals:
        raise _joined(refusals)
    return JobFiles(training, validation)


def training_context(base: BaseModel) -> int:
    """Tokens per example: what the catalogue says, within what the weights allow."""
    possible = read_shape(Path(base.source)).max_positions
    return min(base.training_context or possible, possible)


def _overlap(lines: Lines) -> list[str]:
    if not lines.count:
        return []
    return [
        f"{lines.count} example(s) of the validation file are in the training file as well, so "
        f"its figures will look better than they are: {lines}."
    ]


def _joined(refusals: Sequence[InvalidTrainingData]) -> InvalidTrainingData:
    first, *others = refusals
    notes = [*first.notes]
    for other in others:
        notes += [other.message, *other.notes]
    return InvalidTrainingData(
        first.message, param=first.param or TRAINING, code=first.code, notes=tuple(notes)
    )
