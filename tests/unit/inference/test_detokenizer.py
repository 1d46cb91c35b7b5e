import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from tunesmith.inference.detokenizer import Detokenizer


def from_bytes(token_ids: list[int]) -> str:
    """A byte-level tokenizer's decoding: one token a byte."""
    return bytes(token_ids).decode(errors="replace")


def pieces(detokenizer: Detokenizer, token_ids: list[int]) -> list[str]:
    return [*(detokenizer.add(token_id) for token_id in token_ids), detokenizer.finish()]


def test_a_character_is_shown_with_its_last_byte() -> None:
    found = pieces(Detokenizer(from_bytes), list("a🙂é".encode()))
    assert found == ["a", "", "", "", "🙂", "", "é", ""]


def test_a_character_that_is_never_completed_is_shown_as_broken() -> None:
    """What the tokenizer itself makes of it, at the latest possible moment."""
    assert pieces(Detokenizer(from_bytes), list("a🙂".encode()[:-1])) == ["a", "", "", "", "\ufffd"]


def test_bytes_that_are_no_characters_do_not_hold_the_text_back_for_ever() -> None:
    detokenizer = Detokenizer(from_bytes)
    shown = [detokenizer.add(0xFF) for _ in range(1000)]
    assert len("".join(shown)) > 990
    assert detokenizer.add(ord("a")).endswith("a")


@given(st.lists(st.sampled_from([*b"ab", *"é🙂".encode(), 0xFF, 0x80]), max_size=30))
def test_the_pieces_are_the_whole(token_ids: list[int]) -> None:
    """Whatever the bytes: nothing is shown that later bytes would change, nothing is lost."""
    assert "".join(pieces(Detokenizer(from_bytes), token_ids)) == from_bytes(token_ids)


@given(st.text(max_size=12))
def test_any_text_comes_through_byte_by_byte(text: str) -> None:
    found = pieces(Detokenizer(from_bytes), list(text.encode()))
    assert "".join(found) == text
    assert "\ufffd" not in "".join(found) or "\ufffd" in text


def test_sentencepiece_keeps_the_blanks_between_words() -> None:
    """Such a tokenizer drops the blank before a text's first word: text decoded by parts would
    run together."""
    vocabulary = {"▁Hello": 0, "▁world": 1, "▁again": 2}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.decoder = decoders.Metaspace()
    assert pieces(Detokenizer(tokenizer.decode), [0, 1, 2, 1]) == [
        "Hello",
        " world",
        " again",
        " world",
        "",
    ]


def test_byte_fallback_shows_whole_characters() -> None:
    """Tokenizers of that kind decode a run of byte tokens together, or all of it as broken."""
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    assert "".join(pieces(Detokenizer(tokenizer.decode), list("🙂🙃".encode()))) == "🙂🙃"


def letters(stop: list[str], text: str) -> list[str]:
    """What is shown of `text` as it comes letter by letter."""
    return pieces(Detokenizer(from_bytes, stop), list(text.encode()))


def test_a_stop_string_is_never_shown_not_even_its_beginning() -> None:
    assert letters(["STOP"], "go STOP on") == ["g", "o", " ", *[""] * 8]


def test_text_that_only_began_like_a_stop_string_is_shown_once_that_is_clear() -> None:
    assert letters(["###"], "a##b") == ["a", "", "", "##b", ""]


def test_text_held_back_is_shown_when_nothing_follows() -> None:
    assert letters(["###"], "a##") == ["a", "", "", "##"]


def test_a_stop_string_inside_one_token_ends_the_text_there() -> None:
    detokenizer = Detokenizer(lambda token_ids: "yes\nno" * len(token_ids), ["\n"])
    assert detokenizer.add(0) == "yes"
    assert detokenizer.is_stopped


def test_a_stop_string_may_begin_inside_itself() -> None:
    assert "".join(letters(["aab"], "aaab")) == "a"


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_of_several_stop_strings_the_first_to_be_complete_counts(size: int) -> None:
    """In whatever pieces the text comes."""
    text = "xabcdy"
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    detokenizer = Detokenizer(
        lambda token_ids: "".join(parts[token_id] for token_id in token_ids), ["abcd", "bc"]
    )
    assert "".join(pieces(detokenizer, list(range(len(parts))))) == "xa"


@given(
    st.text("ab", max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_stop_strings_by_definition(text: str, stop: list[str]) -> None:
    """Against the plain definition: the shortest beginning of the text that ends with a stop
    string, without that (the longest such, if there are several)."""
    expected = text
    for end in range(1, len(text) + 1):
        found = [word for word in stop if text[:end].endswith(word)]
        if found:
            expected = text[: end - max(map(len, found))]
            break
    assert "".join(letters(stop, text)) == expected
