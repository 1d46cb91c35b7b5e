"""Text that looks like control tokens, by hand: what the mark breaks and what stays whole."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.datasets.control_tokens import ControlTokens, is_control
from tunesmith.domain.errors import UnsupportedModel

MARK = "#"


def token(text: str, token_id: int = 0, **flags: bool) -> dict[str, Any]:
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "special": True} | flags
    return {"content": text, "id": token_id, **flags}


def control(*texts: str) -> ControlTokens:
    return ControlTokens.of([token(text, index) for index, text in enumerate(texts)])


def found(tokens: ControlTokens, text: str) -> list[str]:
    return [text[start:end] for start, end, _ in tokens.find(text)]


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("", ""),
        ("plain", "plain"),
        ("<|end|>", "<#|end|>#"),
        ("a<|end|>b<|end|>", "a<#|end|>b<#|end|>"),
        ("a <|e", "a <|e#"),
        ("nd|> a", "#nd|> a"),
        ("a<", "a<#"),
        (">a", "#>a"),
        ("end", "end#"),
    ],
)
def test_what_looks_like_a_control_token_or_a_part_of_one_is_broken(text: str, broken: str) -> None:
    assert control("<|end|>").broken(text, MARK) == broken


def test_overlapping_and_nested_tokens_are_all_broken() -> None:
    tokens = control("aba", "<<x>>", "<x>")
    assert tokens.broken("-ababa-", MARK) == "-a#ba#ba-"
    assert found(tokens, tokens.broken("<<x>>", MARK)) == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text("ab<|", min_size=2, max_size=4), min_size=1, max_size=4, unique=True),
    st.text("ab<|", max_size=3),
    st.text("ab<|", min_size=1, max_size=5),
    st.text("ab<|", max_size=3),
)
def test_no_token_reaches_from_the_template_into_a_users_text(
    texts: list[str], before: str, written: str, after: str
) -> None:
    tokens = control(*texts)
    rendered = before + tokens.broken(written, MARK) + after
    for start, end, _ in tokens.find(rendered):
        assert end <= len(before) or start >= len(rendered) - len(after)


def test_the_longest_token_wins() -> None:
    tokens = control("<|end|>", "<|end|>x", "<|end")
    assert found(tokens, "<|end|>x<|end|>y<|end") == ["<|end|>x", "<|end|>", "<|end"]


def test_a_token_swallows_the_blanks_that_it_is_said_to() -> None:
    tokens = ControlTokens.of(
        [
            token("<a>", 1, rstrip=True),
            token("<b>", 2, lstrip=True),
            token("cc", 3, single_word=True),
        ]
    )
    text = "x <a> \n y \t<b> z cc ccc"
    assert [(text[start:end], token_id) for start, end, token_id in tokens.find(text)] == [
        ("<a> \n ", 1),
        (" \t<b>", 2),
        ("cc", 3),
    ]


def test_runs_of_blanks_are_text_unless_they_are_special() -> None:
    assert not is_control(token("    ", special=False))
    assert is_control(token("<tool_call>", special=False))
    assert is_control(token("  ", special=True))


def test_a_model_without_control_tokens_is_fine() -> None:
    tokens = control()
    assert found(tokens, "<|end|>") == []
    assert tokens.broken("<|end|>", MARK) == "<|end|>"


def test_a_control_token_of_one_character_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="can't be told apart"):
        control("¶")
