"""What a file is like as training data: an extension of OpenAI's files API.

Where OpenAI has a word for a thing (`n_epochs`, `trained_tokens`), it is used here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tunesmith.domain.pages import Page
from tunesmith.domain.plan import TrainingPlan
from tunesmith.domain.surveys import TRAINING, ExampleNote, Lengths, Lines, Problem, Survey
from tunesmith.wire.base import IdentifiedListReply, Reply

LINE_ID = "line-"


class ProblemReply(Reply):
    """What would fail a job, as the job's error and events say it."""

    line: int | None  # null: the file as a whole
    message: int | None  # which one of the line's messages, from 1
    code: str
    text: str
    advice: str


class BinReply(Reply):
    up_to: int  # tokens; and more than in the bin before
    num_examples: int


class TokensReply(Reply):
    """Per example, as they are trained; `total` is what an epoch counts in `trained_tokens`."""

    total: int
    min: int
    mean: float
    median: int
    p95: int
    max: int
    histogram: list[BinReply]


class LinesReply(Reply):
    count: int
    lines: list[int]  # the first of them


class PlannedReply(Reply):
    """What "auto" gives for this file."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float


class FileReportReply(Reply):
    object: Literal["file.report"] = "file.report"
    file_id: str
    model: str
    format: Literal["chat", "completions", "preferences"] | None  # null: no line shows one
    max_tokens: int  # per example; what is longer is truncated
    is_usable: bool
    num_lines: int
    num_bad_lines: int
    num_examples: int  # that can be trained on
    problems: list[ProblemReply]
    warnings: list[str]
    truncated: LinesReply
    unusable: LinesReply
    duplicates: LinesReply
    # Null if the file can't be used: of the good lines alone they would mislead.
    tokens: TokensReply | None
    hyperparameters: PlannedReply | None
    trained_tokens: int | None  # with these hyperparameters
    estimated_cost_usd: float | None  # of these, by the price in the catalogue


class ExampleReply(Reply):
    object: Literal["file.report.example"] = "file.report.example"
    id: str  # to go on after it
    line: int
    num_tokens: int
    num_learned_tokens: int  # of these, those that bear loss
    is_truncated: bool
    is_used: bool  # not if nothing in it is to be learned


class ExampleListReply(IdentifiedListReply[ExampleReply]):
    pass


@dataclass(frozen=True)
class Report:
    """A survey, and what follows from it for one model."""

    file_id: str
    model: str
    survey: Survey
    problems: Sequence[Problem]
    warnings: Sequence[str]
    plan: TrainingPlan | None
    training_price: float  # USD per million tokens

    @property
    def trained_tokens(self) -> int | None:
        lengths = self.survey.lengths
        return lengths.total * self.plan.n_epochs if lengths and self.plan else None


def report_reply(report: Report) -> FileReportReply:
    survey, plan, lengths = report.survey, report.plan, report.survey.lengths
    trained = report.trained_tokens
    return FileReportReply(
        file_id=report.file_id,
        model=report.model,
        format=survey.format.value if survey.format else None,
        max_tokens=survey.max_tokens,
        is_usable=not report.problems,
        num_lines=survey.num_lines,
        num_bad_lines=survey.num_bad_lines,
        num_examples=survey.num_examples,
        problems=[_problem_reply(problem) for problem in report.problems],
        warnings=list(report.warnings),
        truncated=_lines_reply(survey.truncated),
        unusable=_lines_reply(survey.unusable),
        duplicates=_lines_reply(survey.duplicates),
        tokens=_tokens_reply(lengths) if lengths and plan else None,
        hyperparameters=_planned_reply(plan) if plan else None,
        trained_tokens=trained,
        estimated_cost_usd=(
            None if trained is None else round(trained * report.training_price / 1e6, 6)
        ),
    )


def example_list_reply(page: Page[ExampleNote]) -> ExampleListReply:
    items = [_example_reply(note) for note in page.items]
    return ExampleListReply.of(items, [item.id for item in items], page.has_more)


def _example_reply(note: ExampleNote) -> ExampleReply:
    return ExampleReply(
        id=f"{LINE_ID}{note.line}",
        line=note.line,
        num_tokens=note.num_tokens,
        num_learned_tokens=note.num_learned,
        is_truncated=note.is_truncated,
        is_used=note.is_used,
    )


def _problem_reply(problem: Problem) -> ProblemReply:
    return ProblemReply(
        line=problem.line,
        message=problem.message,
        code=problem.code(TRAINING),
        text=problem.text,
        advice=problem.advice,
    )


def _tokens_reply(lengths: Lengths) -> TokensReply:
    return TokensReply(
        total=lengths.total,
        min=lengths.shortest,
        mean=round(lengths.mean, 2),
        median=lengths.median,
        p95=lengths.percentile_95,
        max=lengths.longest,
        histogram=[BinReply(up_to=end, num_examples=count) for end, count in lengths.histogram],
    )


def _lines_reply(lines: Lines) -> LinesReply:
    return LinesReply(count=lines.count, lines=list(lines.first))


def _planned_reply(plan: TrainingPlan) -> PlannedReply:
    return PlannedReply(
        n_epochs=plan.n_epochs,
        batch_size=plan.batch_size,
        learning_rate_multiplier=plan.learning_rate_multiplier,
    )
