"""What is known of a training file once every line of it has been looked at.

A `Survey` tells its numbers, and what is wrong in two ways: a `Problem` has a `text`, which is what
the hosted service says, and `advice` on what to do. A failed job shows the first problem's text as
its error and all the advice as events; a report shows both of each. Source of the texts and
codes: behaviour reference, section 9.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tunesmith.domain.errors import InvalidTrainingData
from tunesmith.domain.examples import Format

SHOWN_LINES = 10  # in a sentence
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


@dataclass(frozen=True)
class Lines:
    """Some lines of a file: how many, and the numbers of the first few."""

    count: int = 0
    first: tuple[int, ...] = ()

    def __str__(self) -> str:
        numbers = self.first[:SHOWN_LINES]
        more = f" and {self.count - len(numbers)} more" if self.count > len(numbers) else ""
        return f"line(s) {', '.join(map(str, numbers))}{more}"


@dataclass(frozen=True)
class Lengths:
    count: int
    total: int
    shortest: int
    mean: float
    median: int
    percentile_95: int
    longest: int
    histogram: tuple[tuple[int, int], ...]  # up to so many tokens (and above the bin before): n


@dataclass(frozen=True)
class Survey:
    format: Format | None  # None if no line shows one
    num_lines: int  # without blank ones
    problems: tuple[Problem, ...]  # of the first bad lines, or the one of the whole file
    num_bad_lines: int
    is_something_else: bool  # not a training file at all, or not one for this model
    bears_loss: bool
    max_tokens: int  # per example
    lengths: Lengths | None  # of the examples that can be trained on; None: there is none
    truncated: Lines
    unusable: Lines
    duplicates: Lines  # without the first of each kind

    @property
    def num_examples(self) -> int:
        """Those that can be trained on."""
        return self.lengths.count if self.lengths else 0

    def all_problems(self, file_id: str, min_examples: int) -> list[Problem]:
        """What keeps the file from being used: empty if it can be."""
        if self.is_something_else:
            return list(self.problems)
        numbers = (self.num_lines, self.num_bad_lines, self.bears_loss, min_examples)
        found = [*self.problems, *as_a_whole(file_id, *numbers)]
        if not found and not self.num_examples:
            found.append(_nothing_within(self.max_tokens))
        return found

    def refusal(self, file_id: str, param: str, min_examples: int) -> InvalidTrainingData | None:
        """The error that says why the file can't be used; None if it can be."""
        found = self.all_problems(file_id, min_examples)
        return refusal(found, self.num_bad_lines - len(self.problems), param) if found else None

    def warnings(self, param: str) -> list[str]:
        """What the owner of a file should know although it can be used."""
        kind = param.replace("_", " ")
        texts = []
        if self.truncated.count:
            texts.append(
                f"{self.truncated.count} example(s) of the {kind} have more than "
                f"{self.max_tokens} tokens and were truncated at the end: {self.truncated}."
            )
        if self.unusable.count:
            texts.append(
                f"{self.unusable.count} example(s) of the {kind} were left out, since nothing in "
                f"them is to be learned (weight 0, or all of it truncated): {self.unusable}."
            )
        if self.duplicates.count:
            texts.append(
                f"{self.duplicates.count} example(s) of the {kind} repeat an earlier one and are "
                f"trained on again: {self.duplicates}."
            )
        return texts


@dataclass(frozen=True)
class ExampleNote:
    """What is known of one good example."""

    line: int
    num_tokens: int  # after truncation
    num_learned: int  # of these, the ones that bear loss
    is_truncated: bool
    is_used: bool  # not if nothing in it is to be learned


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


def as_a_whole(
    file_id: str, num_lines: int, num_bad_lines: int, bears_loss: bool, min_examples: int
) -> list[Problem]:
    """What is wrong with a file whatever its single lines are like."""
    if num_lines < min_examples:
        text = (
            f"{file_id} has {num_lines} example(s), but must have at least {min_examples} examples"
        )
        return [Problem(text, f"{text}.", Flaw.COUNT)]
    if not bears_loss and num_bad_lines == 0:
        return [
            Problem(
                "Invalid file format. No message from the assistant has a weight of 1.",
                "Every assistant message has the weight 0, so there is nothing to learn.",
                Flaw.CONTENT,
            )
        ]
    return []


def _nothing_within(max_tokens: int) -> Problem:
    return Problem(
        f"No example has text to learn from within the first {max_tokens} tokens.",
        "Give at least one assistant message of each example a weight of 1 and keep examples "
        "within that length.",
    )
