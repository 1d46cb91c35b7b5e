"""The classes of a classifier: found in its files, before there is a model to be measured.

A class is a completion. Training names them all; every completion of the validation file must be
one of them, or there would be nothing to take its example for. They are told apart by their first
tokens (behaviour reference, sections 20.2 and 24.2).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tunesmith.datasets.render import Renderer, Row
from tunesmith.datasets.spelling import spell
from tunesmith.datasets.survey import read_notes
from tunesmith.domain.classification import MAX_CLASSES, Classification, ClassTokens
from tunesmith.domain.errors import InvalidTrainingData
from tunesmith.domain.models import Mode
from tunesmith.domain.surveys import TRAINING, VALIDATION, Problem
from tunesmith.jobs.data import JobFiles, Surveyed

DEFAULT_BETAS = (1.0,)
SHOWN_CLASSES = 5  # in a sentence
SHOWN_CHARACTERS = 40  # of one of them
WATCHED_EXAMPLES = 1000

Completion = tuple[int, ...]  # as tokens, without the one that ends it


def find_classes(
    files: JobFiles, asked: Classification, renderer: Renderer, watch: Callable[[], None]
) -> ClassTokens:
    """What the metrics that are asked for need to know. `watch` is called now and then, and may
    raise. Raises InvalidTrainingData where the files don't allow them."""
    if files.validation is None:
        text = "Classification metrics are measured on a validation file, and there is none."
        raise _refusal(text, VALIDATION)
    for file in (files.training, files.validation):
        if file.survey.format is not Mode.COMPLETIONS:
            raise _refusal(
                "Classification metrics need lines with a prompt and a completion, which is the "
                "class.",
                file.param,
            )
    if asked.expected_classes > MAX_CLASSES:
        raise _refusal(f"A classifier may have at most {MAX_CLASSES} classes.")
    classes = _Classes(asked.expected_classes, renderer)
    with files.rows() as (train_rows, valid_rows):
        for row in _watched(train_rows, watch):
            classes.learn(row)
        classes.refuse_too_few()
        for index, row in enumerate(_watched(valid_rows, watch)):
            if not classes.knows(row):
                line = _line_of(files.validation, index)
                raise _refusal(classes.unknown(row, line), VALIDATION)
    return ClassTokens(
        token_ids=tuple(classes.first_tokens),
        positive=None if asked.positive_class is None else classes.place_of(asked.positive_class),
        betas=tuple(map(float, dict.fromkeys(asked.betas or DEFAULT_BETAS))),
    )


@dataclass
class _Classes:
    """Those found so far, in the order in which the training file shows them."""

    expected: int
    renderer: Renderer
    first_tokens: dict[int, Completion] = field(default_factory=dict)

    def learn(self, row: Row) -> None:
        """Raises InvalidTrainingData as soon as there are too many, or two that begin alike."""
        completion, is_whole = self._completion(row)
        if not is_whole or self.first_tokens.get(completion[0]) == completion:
            return
        if len(self.first_tokens) == self.expected:
            raise _refusal(self._too_many(completion))
        if completion[0] in self.first_tokens:
            pair = [self.first_tokens[completion[0]], completion]
            raise _refusal(
                f"The classes {self._shown(pair)} begin with the same token, and classes are told "
                "apart by the first token of their completions. Let them begin differently: with "
                "other words, or with numbers."
            )
        self.first_tokens[completion[0]] = completion

    def refuse_too_few(self) -> None:
        if len(self.first_tokens) < self.expected:
            raise _refusal(
                f"Its completions make {len(self.first_tokens)} class(es), not {self.expected}: "
                f"{self._shown(self.first_tokens.values())}. {self._advice()}"
            )

    def knows(self, row: Row) -> bool:
        """Of a completion that was cut off, by its first token."""
        completion, is_whole = self._completion(row)
        known = self.first_tokens.get(completion[0])
        return known == completion if is_whole else known is not None

    def unknown(self, row: Row, line: int) -> str:
        completion, _ = self._completion(row)
        return (
            f"Example {line} has the completion {self._shown([completion])}, which the training "
            f"file never has. Its classes are {self._shown(self.first_tokens.values())}. Take the "
            "example out, or add examples of its class to the training file."
        )

    def place_of(self, positive: str) -> int:
        """Of the class that is called so: to the letter, or else without white space around."""
        texts = list(map(self._text, self.first_tokens.values()))
        for spelled in (str, str.strip):
            places = [n for n, text in enumerate(texts) if spelled(text) == spelled(positive)]
            if len(places) == 1:
                return places[0]
        raise _refusal(
            f"The classification_positive_class {_quoted(positive)} is none of the classes, or not "
            f"clearly one: they are {self._shown(self.first_tokens.values())}. Write it as the "
            "completion is written."
        )

    def _completion(self, row: Row) -> tuple[Completion, bool]:
        """And whether it is there to its end."""
        start = next(place for place, weight in enumerate(row.loss_weights) if weight)
        *completion, last = row.token_ids[start:]
        if completion and last in self.renderer.end_token_ids:
            return tuple(completion), True
        return (*completion, last), False

    def _too_many(self, completion: Completion) -> str:
        shown = self._shown([*self.first_tokens.values(), completion])
        return f"Its completions make more than {self.expected} classes: {shown}. {self._advice()}"

    def _advice(self) -> str:
        return (
            "Let each completion be one of the classes, always written the same, and "
            "classification_n_classes their number (2 where only classification_positive_class "
            "is given)."
        )

    def _shown(self, completions: Iterable[Completion]) -> str:
        texts = [_quoted(self._text(completion)) for completion in completions]
        more = f" and {len(texts) - SHOWN_CLASSES} more" if len(texts) > SHOWN_CLASSES else ""
        return ", ".join(texts[:SHOWN_CLASSES]) + more

    def _text(self, completion: Completion) -> str:
        return spell(map(self.renderer.token_bytes, completion)).text


def _watched(examples: Sequence[list[Row]], watch: Callable[[], None]) -> Iterator[Row]:
    """Of each example its one row: pairs have no more."""
    for index, (row,) in enumerate(examples):
        if index % WATCHED_EXAMPLES == 0:
            watch()
        yield row


def _line_of(file: Surveyed, index: int) -> int:
    """Of the example with this place among those that are used."""
    notes = read_notes(file.folder)
    return int(notes["line"][notes["is_used"]][index])


def _quoted(text: str) -> str:
    short = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
    return repr(short)


def _refusal(text: str, param: str = TRAINING) -> InvalidTrainingData:
    problem = Problem(text, advice="")
    return InvalidTrainingData(problem.message_in(param), param=param, code=problem.code(param))
