"""Lines that can't be parsed, or that Python would parse too willingly."""

import pytest

from tests.unit.datasets.lines import (
    ANSWER,
    FORM,
    GOOD,
    check,
    example,
    expect_refusal,
    with_third_line,
)
from tunesmith.datasets import json_lines

# The line, what is wrong, what we advise.
UNPARSED: dict[str, tuple[bytes, str, str]] = {
    "broken JSON": (
        b'{"messages": [] "x"}',
        "Expecting ',' delimiter: line 1 column 17 (char 16)",
        "at character 17",
    ),
    "cut off": (GOOD.encode()[:-3], "Expecting ',' delimiter: line 1 column 90 (char 89)", "90"),
    "NaN": (b'{"messages": NaN}', "NaN is not a JSON number", "NaN"),
    "infinity": (b'{"messages": -Infinity}', "-Infinity is not a JSON number", "Infinity"),
    "huge float": (b'{"messages": 1e999}', "a number is too large", "too large"),
    "huge integer": (
        b'{"messages": ' + b"9" * 5000 + b"}",
        "a number has more than 400 digits",
        "digits",
    ),
    "key twice": (
        b'{"messages": [], "messages": []}',
        'an object has the key "messages" more than once',
        "more than once",
    ),
    "not UTF-8": ('{"messages": "é"}'.encode("latin-1"), "byte 15 is not UTF-8", "as UTF-8"),
    "half a pair": (
        rb'{"messages": "\ud83d"}',
        "an escape is one half of a surrogate pair",
        "half",
    ),
    "half a pair in a key": (
        rb'{"\udc00": 1}',
        "an escape is one half of a surrogate pair",
        "half",
    ),
    "raw control character": (
        b'{"messages": "\x00"}',
        "Invalid control character at: line 1 column 15 (char 14)",
        "control character",
    ),
    "deep": (b"[" * 200 + b"]" * 200, "too many levels", "100 levels"),
    "abysmal": (b"[" * 100_000, "too many levels", "100 levels"),
}


@pytest.mark.parametrize("case", UNPARSED.values(), ids=UNPARSED)
def test_a_line_that_is_no_strict_json_is_refused(case: tuple[bytes, str, str]) -> None:
    line, reason, advice = case
    detail = f" cannot be parsed. Error: line contains invalid json: {reason} (line 3)"
    expect_refusal(with_third_line(line), detail, FORM, advice)


def test_a_line_that_is_no_object_is_refused() -> None:
    detail = ' is not a dictionary (it starts with: "[1, 2]")'
    expect_refusal(with_third_line("[1, 2]"), detail, FORM, "is an object")


def test_a_line_that_is_too_long_is_refused_and_the_next_one_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 2 * 1024**2)
    line = example({"role": "user", "content": "x" * 9 * 1024**2}, ANSWER)
    expect_refusal(with_third_line(line), " is longer than 2 MiB", FORM, "2 MiB at most")


def test_a_line_as_long_as_allowed_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", len(GOOD))
    assert len(check("\n".join([GOOD] * 10))) == 10
    assert len(check("\r\n".join([GOOD] * 10))) == 10


def test_a_long_line_that_begins_blank_is_not_taken_for_a_blank_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 1024**2)
    line = " " * 2 * 1024**2 + GOOD
    expect_refusal(with_third_line(line), " is longer than 1 MiB", FORM, "shorten it")
