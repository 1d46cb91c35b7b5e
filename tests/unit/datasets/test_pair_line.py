"""Prompts and completions: the form of a line, and of a file that has nothing else."""

import json
from typing import Any

import pytest

from tests.unit.datasets.lines import CONTENT, GOOD, STRUCTURE, check, refuse
from tunesmith.domain.examples import Example, Pair
from tunesmith.domain.models import Mode

PAIR = json.dumps({"prompt": "a", "completion": "b"})


def file_with(third: Any) -> str:
    return "\n".join([PAIR] * 2 + [json.dumps(third)] + [PAIR] * 8)


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        ("Company: BHFF ->", " yes\n"),
        ("", "Once"),
        ("x", " "),
        ("\x00🙂", "\u202eabc<|endoftext|>"),
    ],
)
def test_both_texts_are_kept_as_they_are(prompt: str, completion: str) -> None:
    found = check(file_with({"prompt": prompt, "completion": completion}))
    assert found[2] == Example(3, Pair(prompt, completion))


@pytest.mark.parametrize(
    ("line", "detail", "advice"),
    [
        ({"prompt": "a"}, 'is missing key "completion".', 'Add the key "completion"'),
        ({"completion": "a"}, 'is missing key "prompt".', 'Add the key "prompt"'),
        ({}, 'is missing key "prompt".', 'Add the key "prompt"'),
        ({"prompt": 1, "completion": "b"}, 'has "prompt" that is not text.', "not 1"),
        ({"prompt": "a", "completion": None}, 'has "completion" that is not text.', "not null"),
        ({"prompt": ["a"], "completion": "b"}, 'has "prompt" that is not text.', 'not ["a"]'),
    ],
)
def test_a_pair_of_the_wrong_form_is_refused(line: Any, detail: str, advice: str) -> None:
    error = refuse(file_with(line))
    assert error.message == f"{STRUCTURE}Invalid file format. Example 3 {detail}"
    assert error.code == "invalid_training_file"
    assert advice in error.notes[0]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ({"prompt": "a", "completion": "b", "id": 1}, 'contains an extra "id".'),
        ({"prompt": "a", "completion": ""}, 'has an empty "completion".'),
    ],
)
def test_what_a_pair_may_not_hold_is_refused(line: Any, detail: str) -> None:
    error = refuse(file_with(line))
    assert error.message == f"{CONTENT}Invalid file format. Example 3 {detail}"
    assert error.code == "invalid_file_format"


def test_a_file_has_one_format_throughout() -> None:
    """The first line that shows one decides; each other line is named."""
    error = refuse("\n".join([PAIR] * 5 + [GOOD] * 2 + [PAIR] * 5))
    assert error.message.endswith('Example 6 is missing key "prompt".')
    assert [note.split(":")[0] for note in error.notes] == ["Line 6", "Line 7"]
    assert 'Line 1 has "prompt" and "completion"' in error.notes[0]
    error = refuse("\n".join(["{}}", *[GOOD] * 5, PAIR]))
    assert error.notes[1].startswith('Line 7: Line 2 has "messages", this one has not')


def test_a_model_for_completions_takes_no_conversations() -> None:
    error = refuse("\n".join([GOOD] * 12), formats=(Mode.COMPLETIONS,))
    assert error.message == (
        STRUCTURE + "Invalid file format. Input file is in the chat format, but the specified "
        "model is a completions model and requires prompt/completion pairs."
    )
    assert error.code == "invalid_training_file"
    assert 'Write each example as {"prompt"' in error.notes[0]
    assert len(check("\n".join([PAIR] * 12), formats=(Mode.COMPLETIONS,))) == 12
    error = refuse("\n".join(['{"text": 1}'] * 12), formats=(Mode.COMPLETIONS,))
    assert 'Example 1 is missing key "prompt".' in error.message
