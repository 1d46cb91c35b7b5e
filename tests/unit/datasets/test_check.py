"""A file as a whole: what is accepted, and how everything that is wrong is told at once."""

import json
from contextlib import suppress
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.datasets.lines import (
    ANSWER,
    GOOD,
    STRUCTURE,
    USER,
    check,
    example,
    refuse,
    with_third_line,
)
from tunesmith.datasets.chat_line import EXAMPLE_KEYS, MESSAGE_KEYS
from tunesmith.domain.chat import Role
from tunesmith.domain.errors import InvalidTrainingData
from tunesmith.domain.models import Mode


def test_examples_come_in_order_with_their_line_numbers() -> None:
    lines = [json.dumps(example(USER, {"role": "assistant", "content": str(n)})) for n in range(12)]
    examples = check("\n".join(lines))
    assert [item.line for item in examples] == list(range(1, 13))
    assert [item.content.messages[1].content for item in examples] == list(map(str, range(12)))


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + "\n".join([GOOD] * 10),
        "\r\n".join([GOOD] * 10) + "\r\n",
        "\n".join([GOOD] * 10) + "\n\n  \n\n",
        "\n\n" + "\n\n".join([GOOD] * 10),
    ],
    ids=["byte order mark", "CRLF", "blank lines at the end", "blank lines between"],
)
def test_marks_and_blank_lines_of_editors_are_harmless(content: str) -> None:
    assert len(check(content)) == 10


def test_blank_lines_count_as_lines() -> None:
    assert check("\n\n" + "\n".join([GOOD] * 10))[0].line == 3


def test_every_bad_line_is_reported_and_the_first_is_the_message() -> None:
    lines = [GOOD] * 5 + ["{"] + [GOOD] * 5 + ["null", json.dumps(example(USER))]
    error = refuse("\n".join(lines))
    assert error.message.startswith(f"{STRUCTURE}Invalid file format. Example 6 cannot be parsed.")
    assert [note.split(":")[0] for note in error.notes] == ["Line 6", "Line 12", "Line 13"]


def test_no_more_than_the_stated_number_is_reported() -> None:
    error = refuse("\n".join([GOOD] + ["7"] * 30), max_reported=4)
    assert [note.split(":")[0] for note in error.notes[:4]] == [f"Line {n}" for n in range(2, 6)]
    assert error.notes[4:] == ("… and 26 more lines that can't be used.",)


@pytest.mark.parametrize("count", [0, 1, 4, 9])
def test_too_few_examples_are_counted(count: int) -> None:
    error = refuse("\n".join([GOOD] * count))
    assert error.message == f"file-X has {count} example(s), but must have at least 10 examples"
    assert (error.code, error.param) == ("invalid_n_examples", "training_file")


def test_bad_lines_of_a_short_file_come_first_and_the_number_is_noted() -> None:
    error = refuse("\n".join([GOOD, "7"]))
    assert "Example 2 is not a dictionary" in error.message
    assert error.notes[-1] == "file-X has 2 example(s), but must have at least 10 examples."


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([example()] * 12),
        json.dumps([example()] * 12, indent=2),
        json.dumps(example(), indent=2),
        "\ufeff[\n" + GOOD + "\n]",
    ],
    ids=["array", "pretty array", "pretty object", "array by hand"],
)
def test_one_json_value_over_the_whole_file_is_recognised(content: str) -> None:
    error = refuse(content)
    assert error.message == (
        STRUCTURE
        + "Unexpected file format, expected either prompt/completion pairs or chat messages."
    )
    assert error.code == "invalid_training_file"
    (note,) = error.notes
    assert note.startswith("Expected file to have JSONL format, where every line is a valid JSON")
    assert "Line 1 is not a dictionary" in note


def test_prompts_and_completions_are_recognised() -> None:
    content = "\n".join([json.dumps({"prompt": "a", "completion": "b"})] * 12)
    error = refuse(content, formats=(Mode.CHAT,))
    assert error.message == (
        STRUCTURE + "Invalid file format. Input file is in the prompt-completion format, but the "
        "specified model is a chat model and requires chat-formatted data."
    )
    assert "Write each pair as" in error.notes[0]


def test_a_file_without_anything_to_learn_is_refused() -> None:
    error = refuse("\n".join([json.dumps(example(USER, {**ANSWER, "weight": 0}))] * 10))
    assert error.message.endswith("No message from the assistant has a weight of 1.")


def test_a_validation_file_needs_one_example() -> None:
    assert len(check(GOOD, param="validation_file")) == 1
    error = refuse("", param="validation_file")
    assert error.message == "file-X has 0 example(s), but must have at least 1 examples"


def test_a_bad_validation_file_is_called_by_its_name() -> None:
    error = refuse(GOOD + "\n{}", param="validation_file")
    assert error.message == (
        "The job failed due to an invalid validation file. Invalid file format. Example 2 is "
        'missing key "messages".'
    )
    assert (error.code, error.param) == ("invalid_validation_file", "validation_file")


def test_what_a_client_wrote_is_shown_short_and_in_ascii() -> None:
    error = refuse(with_third_line(example(**{"schlüssel" * 50: 1})))
    assert error.message.isascii()
    assert len(error.message) < 250


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from(
    [*EXAMPLE_KEYS, *chain(*MESSAGE_KEYS.values()), "function", "type", "arguments", "parameters"]
)
WORDS = st.sampled_from([*Role, "function", "text", "image_url"])
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
LIKELY_LINES = st.fixed_dictionaries({"messages": st.lists(VALUES, max_size=3)}) | VALUES


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-16")))
def test_arbitrary_bytes_are_refused_in_an_orderly_way(content: bytes) -> None:
    error = refuse(content)
    assert error.message.encode()
    assert all(note.encode() for note in error.notes)


@settings(deadline=None, max_examples=200)
@given(st.lists(LIKELY_LINES.map(json.dumps), min_size=1, max_size=3))
def test_arbitrary_json_is_accepted_or_refused_in_an_orderly_way(lines: list[str]) -> None:
    with suppress(InvalidTrainingData):
        check("\n".join(lines), min_examples=1)
