"""Files and lines for the tests of the checks, and what a refusal must look like."""

import io
import json
from typing import Any

import pytest

from tunesmith.datasets.check import read_examples
from tunesmith.domain.errors import InvalidTrainingData
from tunesmith.domain.examples import Example

EXTRA = "invalid_file_format"
FORM = "invalid_training_file"

STRUCTURE = "The job failed due to an invalid training file. "
CONTENT = "The job failed due to a file format error in the training file. "

USER: dict[str, Any] = {"role": "user", "content": "Hello"}
ANSWER: dict[str, Any] = {"role": "assistant", "content": "Hi"}
CALL: dict[str, Any] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object"}, "description": "Sky"},
}


def example(*messages: Any, **keys: Any) -> dict[str, Any]:
    return {"messages": list(messages or (USER, ANSWER)), **keys}


GOOD = json.dumps(example())


def check(content: bytes | str, **options: Any) -> list[Example]:
    data = content.encode() if isinstance(content, str) else content
    return read_examples(io.BytesIO(data), file_id="file-X", **options)


def refuse(content: bytes | str, **options: Any) -> InvalidTrainingData:
    with pytest.raises(InvalidTrainingData) as caught:
        check(content, **options)
    return caught.value


def with_third_line(line: bytes | str | dict[str, Any]) -> bytes:
    """Twelve lines, the third of which is `line`."""
    text = json.dumps(line) if isinstance(line, dict) else line
    raw = text if isinstance(text, bytes) else text.encode()
    return b"\n".join([GOOD.encode()] * 2 + [raw] + [GOOD.encode()] * 9)


def conversation_of(line: dict[str, Any]) -> Any:
    return check(with_third_line(line))[2].content


def expect_refusal(content: bytes, detail: str, code: str, advice: str) -> None:
    error = refuse(content)
    intro = CONTENT if code == EXTRA else STRUCTURE
    assert error.message == f"{intro}Invalid file format. Example 3{detail}"
    assert (error.code, error.param) == (code, "training_file")
    (note,) = error.notes
    assert note.startswith("Line 3")
    assert advice in note
