"""Pieces, blanks and control tokens, against the tokenizers package itself where it can tell."""

import json
from itertools import chain
from pathlib import Path

import pytest
from tokenizers import (
    Tokenizer as Reference,
)
from tokenizers import (
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from tunesmith.datasets.tokenizer import Tokenizer
from tunesmith.domain.errors import UnsupportedModel

LETTERS = "▁abcdehilnost"


def spelling(*special: str, words: dict[str, tuple[str, str]] | None = None) -> Reference:
    """A tokenizer of letters, and of `words`, each merged from two parts. Special tokens first."""
    vocabulary = {text: index for index, text in enumerate((*special, "?!", *LETTERS))}
    for word in words or {}:
        vocabulary[word] = len(vocabulary)
    merges = list((words or {}).values())
    tokenizer = Reference(models.BPE(vocab=vocabulary, merges=merges, unk_token="?!"))
    tokenizer.add_special_tokens([*special, "?!"])
    return tokenizer


def ours(reference: Reference) -> Tokenizer:
    return Tokenizer(json.loads(reference.to_str()))


def test_control_tokens_are_found_in_what_a_template_wrote() -> None:
    reference = spelling("<s>", "</s>")
    assert ours(reference).encode(["<s>ab</s>c"]) == [
        reference.encode("<s>ab</s>c", add_special_tokens=False).ids
    ]


def test_marked_text_is_no_control_token_and_loses_its_marks() -> None:
    tokenizer = ours(spelling("<s>"))
    (token_ids,) = tokenizer.encode(["a<s>b<#s>"], lambda text: text.replace("#", ""))
    plain = tokenizer.encode_text("b<s>")
    assert token_ids == [*tokenizer.encode_text("a"), 0, *plain]
    assert 0 not in plain


def test_no_token_reaches_over_the_end_of_a_piece() -> None:
    tokenizer = ours(spelling("<s>", words={"ab": ("a", "b")}))
    assert tokenizer.encode(["cab"])[0] == tokenizer.encode_text("cab")
    a, b, c = (tokenizer.encode_text(letter)[0] for letter in "abc")
    assert tokenizer.encode(["ca", "b"]) == [[c, a], [b]]


def test_a_vocabulary_with_control_tokens_among_its_words_does_not_give_them_to_text() -> None:
    """Merges can build the very word; hiding added tokens wouldn't be enough then."""
    words = {"ab": ("a", "b"), "abc": ("ab", "c")}
    reference = spelling(words=words)
    reference.add_special_tokens(["abc"])
    special_id = reference.token_to_id("abc")
    tokenizer = ours(reference)
    assert tokenizer.encode(["abc"]) == [[special_id]]
    text_ids = tokenizer.encode_text("dabc")
    assert special_id not in text_ids
    assert text_ids == [tokenizer.encode_text(letter)[0] for letter in "dabc"]


def test_unknown_letters_do_not_disturb_the_words_around_them() -> None:
    tokenizer = ours(spelling(words={"ab": ("a", "b")}))
    assert len(tokenizer.encode_text("ab☃ab")) == 3


PREPEND = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


@pytest.mark.parametrize("text", ["a b", " a", "<s>a<s> b<s>", "a<s>a", "<s><s>", ""])
@pytest.mark.parametrize("scheme", ["always", "never", "first", "prepend", "bytes"])
def test_blanks_before_words_stand_where_the_tokenizer_puts_them(scheme: str, text: str) -> None:
    reference = spelling("<s>")
    if scheme == "prepend":
        reference.normalizer = PREPEND
    elif scheme == "bytes":
        reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    else:
        reference.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    expected = reference.encode(text, add_special_tokens=False).ids
    assert ours(reference).encode([text]) == [expected]


def test_a_piece_that_goes_on_gets_no_blank() -> None:
    reference = spelling("<s>")
    reference.normalizer = PREPEND
    tokenizer = ours(reference)
    whole = reference.encode("abc<s>de", add_special_tokens=False).ids
    assert list(chain(*tokenizer.encode(["ab", "c<s>", "d", "e"]))) == whole


def test_blanks_of_an_older_tokenizer_json_are_understood() -> None:
    reference = spelling("<s>")
    reference.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    spec = json.loads(reference.to_str())
    spec["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    expected = reference.encode("a", add_special_tokens=False).ids
    assert Tokenizer(spec).encode_text("a") == expected


def test_a_bare_text_begins_as_the_model_expects_and_its_control_tokens_are_text() -> None:
    reference = spelling("<s>", "</s>")
    reference.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    token_ids = ours(reference).encode_text("ab</s>")
    assert token_ids[0] == 0
    assert 1 not in token_ids


def test_decoding_leaves_out_special_tokens_and_shows_other_control_tokens() -> None:
    reference = spelling("<s>")
    reference.add_tokens(["<call>"])
    reference.decoder = decoders.Fuse()
    tokenizer = ours(reference)
    (token_ids,) = tokenizer.encode(["<s>ab<call>c"])
    assert tokenizer.decode(token_ids) == "ab<call>c"
    assert len(token_ids) == 5


def test_runs_of_blanks_stay_tokens_of_text() -> None:
    reference = spelling("<s>")
    reference.add_tokens(["    "])
    tokenizer = ours(reference)
    run_id = reference.token_to_id("    ")
    assert run_id in tokenizer.encode_text("a    b")
    assert tokenizer.decode([run_id]) == "    "


def test_truncation_and_padding_of_the_file_are_ignored() -> None:
    reference = spelling("<s>")
    reference.enable_truncation(2)
    reference.enable_padding(length=8)
    assert len(ours(reference).encode(["abcde"])[0]) == 5


@pytest.mark.parametrize("content", [b"{}", b"[]", b"\xff", b'{"added_tokens": [], "model": 7}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(UnsupportedModel, match=r"tokenizer\.json of .* can't be used"):
        Tokenizer.load(tmp_path)


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"has no tokenizer\.json"):
        Tokenizer.load(tmp_path)
