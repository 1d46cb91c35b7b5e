"""The checks of a file's lines, one after another: each is an example, or what is wrong with it.

The way of a line: `json_lines.py` parses it; `chat_line.py`, `pair_line.py` or
`preference_line.py` knows its form. A file is of one format throughout, the one that its first
example shows. Nothing of a line is kept here, so files may be of any size. Source: behaviour
reference, sections 9.2 and 10.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from tunesmith.datasets.chat_line import parse_chat
from tunesmith.datasets.fields import Object
from tunesmith.datasets.json_lines import BadLine, parse_line, read_lines, shown
from tunesmith.datasets.pair_line import PAIR_KEYS, parse_pair
from tunesmith.datasets.preference_line import INPUT, PREFERENCE_KEYS, parse_preference
from tunesmith.domain.eras import MIN_EXAMPLES, Era
from tunesmith.domain.examples import SUPERVISED_FORMATS, Content, Example, Format
from tunesmith.domain.surveys import TRAINING, VALIDATION, Flaw, Problem, as_a_whole, refusal

UNEXPECTED_FORMAT = (
    "Unexpected file format, expected either prompt/completion pairs or chat messages."
)
NOT_JSONL = "Expected file to have JSONL format, where every line is a valid JSON dictionary."

# For a file of a format that the model doesn't take: what it is, and what to do.
OTHER_FORMAT = {
    Format.COMPLETIONS: (
        "Invalid file format. Input file is in the prompt-completion format, but the specified "
        "model is a chat model and requires chat-formatted data.",
        'Write each pair as {"messages": [{"role": "user", "content": "the prompt"}, '
        '{"role": "assistant", "content": "the completion"}]}.',
    ),
    Format.CHAT: (
        "Invalid file format. Input file is in the chat format, but the specified model is a "
        "completions model and requires prompt/completion pairs.",
        'Write each example as {"prompt": "what the model reads", "completion": "what it answers"}'
        ", or choose a model that takes conversations.",
    ),
}
# Of preferences where none are taken, or something else where they are: by the missing key.
METHOD_ADVICE = {
    "messages": "The file holds preferences: create the job with the method 'dpo', or write each "
    'example as {"messages": [...]}.',
    PAIR_KEYS[0]: "The file holds preferences, and the specified model is a completions model: "
    'write each example as {"prompt": "what the model reads", "completion": "what it answers"}, or '
    "create the job with a chat model and the method 'dpo'.",
    INPUT: "The method 'dpo' needs preferences: write each example with an \"input\", a "
    '"preferred_output" and a "non_preferred_output", or create the job without that method.',
}
FORMAT_KEYS = {
    Format.CHAT: ("messages",),
    Format.COMPLETIONS: PAIR_KEYS,
    Format.PREFERENCES: (INPUT,),
}
PARSERS: Mapping[Format, Callable[[Object], Content]] = {
    Format.CHAT: parse_chat,
    Format.COMPLETIONS: parse_pair,
    Format.PREFERENCES: parse_preference,
}


class FileCheck:
    """Iterate over it once: every line that isn't blank gives an Example or a Problem. Once a line
    shows that the file is something else altogether, a last Problem says so: the same finding for
    each line would help nobody."""

    def __init__(self, source: BinaryIO, formats: Collection[Format] = SUPERVISED_FORMATS) -> None:
        self._source = source
        self._formats = formats
        self._format_line = 0
        self.format: Format | None = None  # as soon as a line shows it
        self.num_lines = 0  # without blank ones
        self.num_bytes = 0  # of them
        self.is_something_else = False

    def __iter__(self) -> Iterator[Example | Problem]:
        for number, line in read_lines(self._source):
            self.num_lines += 1
            self.num_bytes += len(line)
            yield self._item(number, line)
            if self.is_something_else:
                return

    def _item(self, number: int, line: bytes) -> Example | Problem:
        if self.num_lines == 1 and _is_one_value(line):
            self.is_something_else = True
            return Problem(UNEXPECTED_FORMAT, f"{NOT_JSONL} {_not_a_list(number, line)}")
        try:
            item: Example | Problem = self._example(number, line)
        except BadLine as bad:
            item = _problem(number, bad)
        if self.format is not None and self.format not in self._formats:
            self.is_something_else = True
            return self._of_other_format(number, self.format)
        return item

    def _of_other_format(self, number: int, found: Format) -> Problem:
        """A file of preferences where none are expected, or something else where they are, is
        refused as the hosted service does: by the key that is missing."""
        expects_preferences = set(self._formats) == {Format.PREFERENCES}
        if found is not Format.PREFERENCES and not expects_preferences:
            return Problem(*OTHER_FORMAT[found])
        expected = Format.CHAT if Format.CHAT in self._formats else next(iter(self._formats))
        missing = FORMAT_KEYS[expected][0]
        return Problem(
            f'Invalid file format. Example {number} is missing key "{missing}".',
            METHOD_ADVICE[missing],
            line=number,
        )

    def _example(self, number: int, line: bytes) -> Example:
        value = _object(number, line)
        shape = _shape(value)
        if self.format is None and shape is not None:
            self.format, self._format_line = shape, number
        format = self.format or next(iter(self._formats))
        if shape is not None and shape is not format:
            raise BadLine(
                f'is missing key "{FORMAT_KEYS[format][0]}".',
                f"Line {self._format_line} has {_quoted(FORMAT_KEYS[format])}, this one has not: "
                "a file has one format throughout. Put such examples into a file of their own.",
            )
        return Example(number, PARSERS[format](value))


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


def read_examples(source: BinaryIO, *, file_id: str, **options: Any) -> list[Example]:
    """All examples of a small file, in its order; `survey.py` goes through files of any size.
    Takes and raises what `checked_examples` does."""
    return list(checked_examples(source, file_id=file_id, **options))


def checked_examples(
    source: BinaryIO,
    *,
    file_id: str,
    param: str = TRAINING,
    min_examples: int = MIN_EXAMPLES[Era.JOBS],
    formats: Collection[Format] = SUPERVISED_FORMATS,
    max_reported: int = 20,
) -> Iterator[Example]:
    """The good examples of a file one after another; of a validation file (by `param`) one is
    enough.

    Raises InvalidTrainingData after the last one, if anything was wrong.
    """
    check = FileCheck(source, formats)
    problems = Problems(max_reported)
    bears_loss = False
    for item in check:
        if isinstance(item, Problem):
            problems.add(item)
        else:
            bears_loss = bears_loss or item.bears_loss
            yield item
    found = [*problems.kept]
    if not check.is_something_else:
        least = 1 if param == VALIDATION else min_examples
        found += as_a_whole(file_id, check.num_lines, problems.count, bears_loss, least)
    if found:
        raise refusal(found, problems.count - len(problems.kept), param)


def _problem(line: int, bad: BadLine) -> Problem:
    # The service's own text for an extra key names the line only.
    is_extra = bad.detail.startswith("contains an extra")
    place = f", message {bad.message}" if bad.message and not is_extra else ""
    return Problem(
        f"Invalid file format. Example {line}{place} {bad.detail}",
        bad.advice,
        Flaw.CONTENT if bad.is_content else Flaw.FORM,
        line,
        bad.message,
    )


def _is_one_value(first_line: bytes) -> bool:
    """Whether the file is a list, or one object over many lines."""
    return first_line.lstrip().startswith(b"[") or first_line.strip() == b"{"


def _not_a_list(number: int, line: bytes) -> str:
    return (
        f"Line {number} is not a dictionary (it starts with: {_start(line)}): write each example "
        "on a line of its own, without a list around them."
    )


def _shape(value: dict[str, Any]) -> Format | None:
    """The format that an object's keys speak for."""
    if "messages" in value:
        return Format.CHAT
    if any(key in value for key in PREFERENCE_KEYS):
        return Format.PREFERENCES
    return Format.COMPLETIONS if any(key in value for key in PAIR_KEYS) else None


def _object(number: int, line: bytes) -> dict[str, Any]:
    value = parse_line(number, line)
    if not isinstance(value, dict):
        raise BadLine(
            f"is not a dictionary (it starts with: {_start(line)})",
            'Each line is an object: with "messages", or with "prompt" and "completion".',
        )
    return value


def _quoted(keys: Sequence[str]) -> str:
    return " and ".join(f'"{key}"' for key in keys)


def _start(line: bytes) -> str:
    return shown(line[:20].decode("utf-8", "replace"))
