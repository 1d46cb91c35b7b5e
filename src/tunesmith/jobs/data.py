"""From a job's files to what the training loop takes, with what its owner should know.

The files are read twice: while validating, when only the findings matter, and again when
training starts, perhaps by another worker. Both go through here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tunesmith.datasets.check import check_chat_file
from tunesmith.datasets.render import Renderer, Row
from tunesmith.domain.chat import Example
from tunesmith.domain.errors import InvalidTrainingData
from tunesmith.domain.jobs import EventLevel, Job, NewEvent
from tunesmith.domain.plan import MIN_EXAMPLES
from tunesmith.store.store import Store
from tunesmith.training.loop import TrainingData

LISTED_LINES = 10


@dataclass(frozen=True)
class CheckedFiles:
    train: list[Example]
    valid: list[Example]


@dataclass(frozen=True)
class RenderedFile:
    """The rows of a file's examples, in order. Examples without a loss-bearing token are left
    out: their lines are in `unusable`. `truncated`: lines that were cut at the end."""

    rows: list[list[Row]]
    num_tokens: int  # Σ of the examples' lengths after truncation: what an epoch is billed
    truncated: list[int]
    unusable: list[int]

    def remarks(self, kind: str, max_tokens: int) -> list[NewEvent]:
        """Warnings for the job's owner, as events."""
        remarks = []
        if self.truncated:
            remarks.append(
                f"{len(self.truncated)} example(s) of the {kind} file have more than {max_tokens} "
                f"tokens and were truncated at the end: {_lines(self.truncated)}."
            )
        if self.unusable:
            remarks.append(
                f"{len(self.unusable)} example(s) of the {kind} file were left out, since nothing "
                f"in them is to be learned (weight 0, or all of it truncated): "
                f"{_lines(self.unusable)}."
            )
        return [NewEvent(text, level=EventLevel.WARN) for text in remarks]


def check_files(store: Store, job: Job, max_reported: int) -> CheckedFiles:
    """The job's examples. Raises InvalidTrainingData; if both files have bad lines, the training
    file's error, with what is wrong in the other among its notes."""
    problems: list[InvalidTrainingData] = []

    def check(file_id: str, blob: str, param: str, min_examples: int) -> list[Example]:
        with store.blobs.open(blob) as content:
            try:
                return check_chat_file(
                    content,
                    file_id=file_id,
                    param=param,
                    min_examples=min_examples,
                    max_reported=max_reported,
                )
            except InvalidTrainingData as problem:
                problems.append(problem)
                return []

    train = check(job.training_file_id, job.training_blob, "training_file", MIN_EXAMPLES)
    valid: list[Example] = []
    if job.validation_file_id is not None and job.validation_blob is not None:
        valid = check(job.validation_file_id, job.validation_blob, "validation_file", 1)
    if problems:
        first, *others = problems
        notes = [*first.notes]
        for other in others:
            notes += [other.message, *other.notes]
        raise InvalidTrainingData(
            first.message, param=first.param or "training_file", code=first.code, notes=tuple(notes)
        )
    return CheckedFiles(train, valid)


def render_file(
    renderer: Renderer, examples: Iterable[Example], max_tokens: int, param: str
) -> RenderedFile:
    """Token ids and loss weights of `examples`, which come from the file that `param` names.

    Raises InvalidTrainingData if the chat template refuses one of them, or if there is nothing to
    learn from in any.
    """
    kept: list[list[Row]] = []
    num_tokens = 0
    num_examples = 0
    truncated, unusable = [], []
    for example in examples:
        num_examples += 1
        rows = _rows(renderer, example, max_tokens, param)
        if any(row.is_truncated for row in rows):
            truncated.append(example.line)
        rows = [row for row in rows if any(row.loss_weights)]
        if not rows:
            unusable.append(example.line)
            continue
        kept.append(rows)
        num_tokens += max(len(row.token_ids) for row in rows)
    if num_examples and not kept:
        raise InvalidTrainingData(
            f"The job failed due to an invalid {param.replace('_', ' ')}. No example has assistant "
            f"text to learn from within the first {max_tokens} tokens. Give at least one assistant "
            "message of each example a weight of 1 and keep examples within that length.",
            param=param,
            code=f"invalid_{param}",
        )
    return RenderedFile(kept, num_tokens, truncated, unusable)


def _rows(renderer: Renderer, example: Example, max_tokens: int, param: str) -> list[Row]:
    try:
        return renderer.rows(example.conversation, max_tokens)
    except InvalidTrainingData as error:
        kind = param.replace("_", " ")
        raise InvalidTrainingData(
            f"The job failed due to an invalid {kind}. Invalid file format. Example {example.line} "
            f"can't be rendered by the base model's chat template: {error.message}",
            param=param,
            code=f"invalid_{param}",
        ) from error


def training_data(train: RenderedFile, valid: RenderedFile) -> TrainingData:
    return TrainingData(train_rows=train.rows, valid_rows=valid.rows)


def _lines(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:LISTED_LINES])
    more = len(numbers) - LISTED_LINES
    return f"line(s) {shown}" + (f" and {more} more" if more > 0 else "")
