"""Offsets of tokens, worked out by hand."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.datasets.spelling import Spelling, spell


@pytest.mark.parametrize(
    ("tokens", "text", "offsets"),
    [
        ([], "", []),
        ([b"ab", b" c"], "ab c", [0, 2]),
        # A character of several tokens begins with the first and is counted with the last.
        ([b"\xf0\x9f", b"\x91\x8d", b"!"], "👍!", [0, 0, 1]),
        ([b"e", b"\xcc", b"\x81"], "e\u0301", [0, 1, 1]),
        # A token may end one character and begin the next.
        ([b"\xc3", b"\xa9\xc3", b"\xa9"], "éé", [0, 0, 1]),
        # What texts leave out takes no room.
        ([b"", b"a", b"", b"b"], "ab", [0, 0, 1, 1]),
        # Bytes that are no text become one U+FFFD each time a text can't go on.
        ([b"\xff", b"a", b"\xc3"], "\ufffda\ufffd", [0, 1, 2]),
    ],
)
def test_offsets_count_the_characters_before_a_token(
    tokens: list[bytes], text: str, offsets: list[int]
) -> None:
    assert spell(tokens) == Spelling(text, offsets)


@given(st.binary(), st.lists(st.integers(0, 50)))
def test_the_text_does_not_depend_on_how_it_is_cut(data: bytes, places: list[int]) -> None:
    cuts = [0, *sorted(place for place in places if place < len(data)), len(data)]
    spelling = spell(data[start:end] for start, end in pairwise(cuts))
    assert spelling.text == data.decode(errors="replace")
    assert spelling.offsets == sorted(spelling.offsets)
    assert all(0 <= offset <= len(spelling.text) for offset in spelling.offsets)


def test_a_blank_in_front_can_be_taken_away() -> None:
    assert spell([b" a", b" b"]).without_first() == Spelling("a b", [0, 1])
