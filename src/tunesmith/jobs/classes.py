"""The classes of a classifier: found in its files, before there is a model to be measured.

A class is a completion. Training names them all; every completion of the validation file must be
one of them, or there would be nothing to take its example for. They are told apart by one token,
the first in which not all of them agree (behaviour reference, sections 20.2 and 24.2).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile

from tunesmith.datasets.render import Renderer, Row
from tunesmith.datasets.spelling import spell
from tunesmith.datasets.survey import read_notes
from tunesmith.domain.classification import NUM_CLASSES, Classification, ClassTokens
from tunesmith.domain.errors import InvalidTrainingData
from tunesmith.domain.examples import Format
from tunesmith.domain.surveys import TRAINING, VALIDATION, Problem
from tunesmith.jobs.data import JobFiles, Surveyed

DEFAULT_BETAS = (1.0,)
SHOWN_CLASSES = 5  # in a sentence
SHOWN_CHARACTERS = 40  # of one of them
WATCHED_EXAMPLES = 1000

Completion = tuple[int, ...]  # as tokens, with the one that ends it, or cut off


def find_classes(
    files: JobFiles, asked: Classification, renderer: Renderer, watch: Callable[[], None]
) -> ClassTokens:
    """What the metrics that are asked for need to know. `watch` is called now and then, and may
    raise. Raises InvalidTrainingData where the files don't allow them."""
    if asked.expected_classes not in NUM_CLASSES:
        raise _refusal(f"A classifier has {NUM_CLASSES[0]} to {NUM_CLASSES[-1]} classes.")
    if files.validation is None:
        text = "Classification metrics are measured on a validation file, and there is none."
        raise _refusal(text, VALIDATION)
    for file in (files.training, files.validation):
        if file.survey.format is not Format.COMPLETIONS:
            raise _refusal(
                "Classification metrics need lines with a prompt and a completion, which is the "
                "class.",
                file.param,
            )
    with files.rows() as (train_rows, valid_rows):
        completions = map(_completion, _watched(train_rows, watch))
        classes = _Classes.among(completions, asked.expected_classes, renderer)
        for index, row in enumerate(_watched(valid_rows, watch)):
            if not classes.has(_completion(row)):
                line = _line_of(files.validation, index)
                raise _refusal(classes.without(_completion(row), line), VALIDATION)
    return ClassTokens(
        token_ids=tuple(classes.token_ids),
        positive=None if asked.positive_class is None else classes.place_of(asked.positive_class),
        betas=tuple(map(float, dict.fromkeys(asked.betas or DEFAULT_BETAS))),
        num_shared=classes.num_shared,
    )


class _Classes:
    """The completions of all classes, in the order in which the training file shows them."""

    def __init__(self, completions: Sequence[Completion], renderer: Renderer) -> None:
        """Raises InvalidTrainingData if two of them can't be told apart."""
        self._completions = completions
        self._renderer = renderer
        self.num_shared = _num_shared(completions)
        self.token_ids: dict[int, Completion] = {}
        for completion in completions:
            alike = self.token_ids.setdefault(completion[self.num_shared], completion)
            if alike is not completion:
                raise _refusal(
                    f"The classes {self._shown([alike, completion])} begin alike, and classes are "
                    "told apart by the first token in which not all of them agree. Let them begin "
                    "with different words or letters."
                )

    @classmethod
    def among(
        cls, completions: Iterable[Completion], expected: int, renderer: Renderer
    ) -> "_Classes":
        """All distinct ones; what was cut off, at a long example's end, names no class. Raises
        InvalidTrainingData, as soon as possible, if they are more or fewer than expected."""
        found: dict[Completion, None] = {}
        for completion in completions:
            if completion[-1] in renderer.end_token_ids:
                found[completion] = None
            if len(found) > expected:
                break
        if len(found) != expected:
            number = f"more than {expected}" if len(found) > expected else f"only {len(found)}"
            raise _refusal(
                f"Its completions make {number} classes: {_shown(list(found), renderer)}. Let each "
                f"be one of {expected}, always written the same; classification_n_classes is their "
                "number, 2 where only classification_positive_class is given."
            )
        return cls(list(found), renderer)

    def has(self, completion: Completion) -> bool:
        """Of one that was cut off, by the token that decides."""
        decisive = completion[self.num_shared : self.num_shared + 1]
        known = self.token_ids.get(decisive[0]) if decisive else None
        is_whole = completion[-1] in self._renderer.end_token_ids
        return known == completion if is_whole else known is not None

    def without(self, completion: Completion, line: int) -> str:
        return (
            f"Example {line} has the completion {self._shown([completion])}, which the training "
            f"file never has. Its classes are {self._shown(self._completions)}. Take the example "
            "out, or add examples of its class to the training file."
        )

    def place_of(self, positive: str) -> int:
        """Of the class that is called so: to the letter, or else without white space around."""
        texts = [_text(completion, self._renderer) for completion in self._completions]
        for spelled in (str, str.strip):
            places = [n for n, text in enumerate(texts) if spelled(text) == spelled(positive)]
            if len(places) == 1:
                return places[0]
        raise _refusal(
            f"The classification_positive_class {_quoted(positive)} is none of the classes, or not "
            f"clearly one: they are {self._shown(self._completions)}. Write it as the completions "
            "do."
        )

    def _shown(self, completions: Sequence[Completion]) -> str:
        return _shown(completions, self._renderer)


def _num_shared(completions: Sequence[Completion]) -> int:
    """Tokens that all begin with."""
    places = zip(*completions, strict=False)
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, places))


def _completion(row: Row) -> Completion:
    start = next(place for place, weight in enumerate(row.loss_weights) if weight)
    return tuple(row.token_ids[start:])


def _shown(completions: Sequence[Completion], renderer: Renderer) -> str:
    """The first few."""
    shown = [_quoted(_text(completion, renderer)) for completion in completions[:SHOWN_CLASSES]]
    num_more = len(completions) - len(shown)
    return ", ".join(shown) + (f" and {num_more} more" if num_more else "")


def _text(completion: Completion, renderer: Renderer) -> str:
    return spell(map(renderer.token_bytes, completion)).text


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
