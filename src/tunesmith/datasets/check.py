"""The checks that a training or validation file must pass before anything is trained.

`check_chat_file` gives examples, or says everything that is wrong at once: the error's message is
what the hosted service says of the first problem, its notes name each bad line and what to do.
The way of a line: `json_lines.py` parses it, `chat_line.py` knows its form.
Source: behaviour reference, sections 9.2 and 10.
"""

from typing import BinaryIO

from tunesmith.datasets.chat_line import parse_chat
from tunesmith.datasets.json_lines import BadLine, parse_line, read_lines, shown
from tunesmith.domain.chat import Example, Role
from tunesmith.domain.errors import InvalidTrainingData
from tunesmith.domain.plan import MIN_EXAMPLES

VALIDATION = "validation_file"

UNEXPECTED_FORMAT = (
    "Unexpected file format, expected either prompt/completion pairs or chat messages."
)
PROMPT_COMPLETION = (
    "Invalid file format. Input file is in the prompt-completion format, but the specified model "
    "is a chat model and requires chat-formatted data."
)
NOT_JSONL = "Expected file to have JSONL format, where every line is a valid JSON dictionary."


def check_chat_file(
    source: BinaryIO,
    *,
    file_id: str,
    param: str = "training_file",
    min_examples: int = MIN_EXAMPLES,
    max_reported: int = 20,
) -> list[Example]:
    """The file's examples, in its order. Of a validation file (by `param`) one is enough.

    Raises InvalidTrainingData.
    """
    findings = _Findings(param, max_reported)
    examples: list[Example] = []
    num_lines = 0
    for number, line in read_lines(source):
        num_lines += 1
        if num_lines == 1:
            _refuse_other_formats(number, line, param)
        try:
            examples.append(Example(number, parse_chat(_object(number, line))))
        except BadLine as problem:
            findings.add(number, problem)
    least = 1 if param == VALIDATION else min_examples
    too_few = f"{file_id} has {num_lines} example(s), but must have at least {least} examples"
    if findings.num_lines:
        raise findings.error(*[too_few + "."] * (num_lines < least))
    if num_lines < least:
        raise InvalidTrainingData(too_few, param=param, code="invalid_n_examples")
    _refuse_without_loss(examples, param)
    return examples


class _Findings:
    """Bad lines so far: the first in full, a sentence for each of the first few, their number."""

    def __init__(self, param: str, max_reported: int) -> None:
        self._param = param
        self._max_reported = max_reported
        self._first: tuple[int, BadLine] | None = None
        self._notes: list[str] = []
        self.num_lines = 0

    def add(self, number: int, problem: BadLine) -> None:
        self._first = self._first or (number, problem)
        self.num_lines += 1
        if self.num_lines <= self._max_reported:
            place = f", message {problem.message}" if problem.message else ""
            self._notes.append(f"Line {number}{place}: {problem.advice}")

    def error(self, *more_notes: str) -> InvalidTrainingData:
        assert self._first is not None, "there is no error without a bad line"
        number, problem = self._first
        # The service's own text for an extra key names the line only.
        is_extra = problem.detail.startswith("contains an extra")
        place = f", message {problem.message}" if problem.message and not is_extra else ""
        notes = [*self._notes, *more_notes]
        if (num_left := self.num_lines - len(self._notes)) > 0:
            notes.append(f"… and {num_left} more lines that can't be used.")
        return _error(
            f"Invalid file format. Example {number}{place} {problem.detail}",
            self._param,
            tuple(notes),
            is_content=problem.is_content,
        )


def _object(number: int, line: bytes) -> dict[str, object]:
    value = parse_line(number, line)
    if not isinstance(value, dict):
        raise BadLine(
            f"is not a dictionary (it starts with: {_start(line)})",
            'Each line is an object with a list of "messages".',
        )
    return value


def _refuse_other_formats(number: int, line: bytes, param: str) -> None:
    """Raises InvalidTrainingData if the first line shows that the whole file is something else:
    the same finding for each line would help nobody."""
    if line.lstrip().startswith(b"[") or line.strip() == b"{":
        advice = (
            f"{NOT_JSONL} Line {number} is not a dictionary (it starts with: {_start(line)}): "
            "write each example on a line of its own, without a list around them."
        )
        raise _error(UNEXPECTED_FORMAT, param, (advice,))
    try:
        example = _object(number, line)
    except BadLine:
        return
    if "messages" not in example and {"prompt", "completion"} <= example.keys():
        advice = (
            'Write each pair as {"messages": [{"role": "user", "content": "the prompt"}, '
            '{"role": "assistant", "content": "the completion"}]}.'
        )
        raise _error(PROMPT_COMPLETION, param, (advice,))


def _refuse_without_loss(examples: list[Example], param: str) -> None:
    for example in examples:
        for message in example.conversation.messages:
            if message.role is Role.ASSISTANT and message.weight:
                return
    raise _error(
        "Invalid file format. No message from the assistant has a weight of 1.",
        param,
        ("Every assistant message has the weight 0, so there is nothing to learn.",),
        is_content=True,
    )


def _error(
    message: str, param: str, notes: tuple[str, ...], *, is_content: bool = False
) -> InvalidTrainingData:
    kind = "validation" if param == VALIDATION else "training"
    reason = f"a file format error in the {kind} file" if is_content else f"an invalid {kind} file"
    code = "invalid_file_format" if is_content else f"invalid_{kind}_file"
    if kind == "validation":
        code = "invalid_validation_file"
    return InvalidTrainingData(
        f"The job failed due to {reason}. {message}", param=param, code=code, notes=notes
    )


def _start(line: bytes) -> str:
    return shown(line[:20].decode("utf-8", "replace"))
