"""A job's files: surveyed while it is validated, and read again when it is trained.

    run folder/rows/
    ├── training_file-1f0c…/      surveys with rows (`datasets/survey.py`), named by all that
    └── validation_file-9a2b…/    decides what is in them

What was rendered while validating is trained on, if it is still there and whole; otherwise, on
another machine say or with other weights under the base model's name, it is rendered again, to the
same rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunesmith.datasets.check import checked_examples
from tunesmith.datasets.render import Row
from tunesmith.datasets.rows import RowFile
from tunesmith.datasets.survey import lines_in_both, read_survey
from tunesmith.disk import sweep_unfinished
from tunesmith.domain.eras import MIN_EXAMPLES
from tunesmith.domain.errors import InvalidTrainingData
from tunesmith.domain.examples import Format
from tunesmith.domain.jobs import EventLevel, Job, MethodType, NewEvent
from tunesmith.domain.models import BaseModel
from tunesmith.domain.surveys import TRAINING, VALIDATION, Lines, Survey
from tunesmith.jobs.survey_process import survey_apart
from tunesmith.jobs.surveys import SurveyTask
from tunesmith.store.blobs import Blobs

ROWS_FOLDER = "rows"
INLINE_BYTES = 2**20  # files up to here take less time than a process to start


@dataclass(frozen=True)
class Surveyed:
    """One of a job's files, usable or not."""

    file_id: str
    param: str
    folder: Path
    survey: Survey

    def refusal(self, min_examples: int) -> InvalidTrainingData | None:
        least = min_examples if self.param == TRAINING else 1
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
        return [NewEvent(text, level=EventLevel.WARN, era=None) for text in texts]

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
    inline_bytes: int = INLINE_BYTES,
) -> JobFiles:
    """Files of more than `inline_bytes` are surveyed in a process of their own.

    Raises InvalidTrainingData; if both files can't be used, the training file's error, with what
    is wrong in the other among its notes.
    """
    parent = run_folder / ROWS_FOLDER
    sweep_unfinished(parent)
    surveyed = []
    for file_id, blob, param in _files_of(job):
        task = SurveyTask.of(
            blob, base, _formats(job, base), max_problems=max_problems, keeps_rows=True
        )
        folder = parent / f"{param}-{task.key()}"
        survey = read_survey(folder)
        if survey is None:
            is_large = blobs.size(blob) > inline_bytes
            survey = (survey_apart if is_large else SurveyTask.run)(task, blobs, folder, watch)
        surveyed.append(Surveyed(file_id, param, folder, survey))
    least = MIN_EXAMPLES[job.era]
    _raise_all([refusal for file in surveyed if (refusal := file.refusal(least))])
    training, *others = surveyed
    return JobFiles(training, others[0] if others else None)


def check_files(
    blobs: Blobs, job: Job, base: BaseModel, max_problems: int, watch: Callable[[], None]
) -> None:
    """The part of `survey_files` that needs no tokenizer: a file that can't be used need not wait
    until the base model has been downloaded. Raises InvalidTrainingData."""
    refusals = []
    for file_id, blob, param in _files_of(job):
        try:
            with blobs.open(blob) as content:
                for _ in checked_examples(
                    content,
                    file_id=file_id,
                    param=param,
                    min_examples=MIN_EXAMPLES[job.era],
                    formats=_formats(job, base),
                    max_reported=max_problems,
                ):
                    watch()
        except InvalidTrainingData as refusal:
            refusals.append(refusal)
    _raise_all(refusals)


def _formats(job: Job, base: BaseModel) -> tuple[Format, ...]:
    """What the job's method and its base model take."""
    return (Format.PREFERENCES,) if job.method is MethodType.DPO else base.formats


def _files_of(job: Job) -> Iterator[tuple[str, str, str]]:
    """File id, blob and parameter: the training file, and the validation file if there is one."""
    yield job.training_file_id, job.training_blob, TRAINING
    if job.validation_file_id is not None and job.validation_blob is not None:
        yield job.validation_file_id, job.validation_blob, VALIDATION


def _overlap(lines: Lines) -> list[str]:
    if not lines.count:
        return []
    return [
        f"{lines.count} example(s) of the validation file are in the training file as well, so "
        f"its figures will look better than they are: {lines}."
    ]


def _raise_all(refusals: Sequence[InvalidTrainingData]) -> None:
    """Raises the first, if there is one, with what the others say among its notes."""
    if not refusals:
        return
    first, *others = refusals
    notes = [*first.notes]
    for other in others:
        notes += [other.message, *other.notes]
    raise InvalidTrainingData(
        first.message, param=first.param or TRAINING, code=first.code, notes=tuple(notes)
    )
