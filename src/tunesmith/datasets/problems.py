"""What keeps a file from being used, told in two ways and gathered.

A `Problem` has a `text`, which is what the hosted service says, and `advice` on what to do. A
failed job shows the first problem's text as its error and all the advice as events; a report
shows both of each. Source of the texts and codes: behaviour reference, section 9.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from tunesmith.datasets.json_lines import BadLine
from tunesmith.domain.errors import InvalidTrainingData

TRAINING, VALIDATION = "training_file", "validation_file"


class Flaw(StrEnum):
    FORM = "form"  # something is missing, or isn't what it should be
    CONTENT = "content"  # the right form, but something in it isn't allowed
    COUNT = "count"  # too few examples


@dataclass(frozen=True)
class Problem:
    text: str
    advice: str
    flaw: Flaw = Flaw.FORM
    line: int | None = None  # from 1; None: the file as a whole
    message: int | None = None  # of the line's, from 1

    @classmethod
    def of_line(cls, line: int, bad: BadLine) -> Self:
        # The service's own text for an extra key names the line only.
        is_extra = bad.detail.startswith("contains an extra")
        place = f", message {bad.message}" if bad.message and not is_extra else ""
        return cls(
            f"Invalid file format. Example {line}{place} {bad.detail}",
            bad.advice,
            Flaw.CONTENT if bad.is_content else Flaw.FORM,
            line,
            bad.message,
        )

    def code(self, param: str) -> str:
        if self.flaw is Flaw.COUNT:
            return "invalid_n_examples"
        if self.flaw is Flaw.CONTENT and param == TRAINING:
            return "invalid_file_format"
        return f"invalid_{param}"

    def message_in(self, param: str) -> str:
        """The text as a failed job's error has it."""
        if self.flaw is Flaw.COUNT:
            return self.text
        kind = param.replace("_", " ")
        reason = f"an invalid {kind}"
        if self.flaw is Flaw.CONTENT:
            reason = f"a file format error in the {kind}"
        return f"The job failed due to {reason}. {self.text}"

    @property
    def note(self) -> str:
        """The advice, with the place it is about."""
        if self.line is None:
            return self.advice
        place = f", message {self.message}" if self.message else ""
        return f"Line {self.line}{place}: {self.advice}"


class Problems:
    """The problems of a file's lines: the first few in full, and how many there are."""

    def __init__(self, max_kept: int) -> None:
        self._max_kept = max_kept
        self.kept: list[Problem] = []
        self.count = 0

    def add(self, problem: Problem) -> None:
        self.count += 1
        if len(self.kept) < self._max_kept:
            self.kept.append(problem)


def refusal(problems: Sequence[Problem], num_more: int, param: str) -> InvalidTrainingData:
    """The error that tells of `problems`, the first of which is its message, and of the number of
    bad lines that aren't among them."""
    first = problems[0]
    notes = [problem.note for problem in problems if problem is not first]
    if first.flaw is not Flaw.COUNT:
        notes.insert(0, first.note)
    if num_more > 0:
        notes.append(f"… and {num_more} more lines that can't be used.")
    return InvalidTrainingData(
        first.message_in(param), param=param, code=first.code(param), notes=tuple(notes)
    )
