"""The tokens' own bytes give the text back, for each way that tokenizers have to spell bytes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tests.contract.test_rendering import spec
from tests.small_models import make_model
from tunesmith.datasets.render import Renderer
from tunesmith.datasets.tokenizer import Tokenizer

LETTERS = ["▁", *"abcdeéh"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
BLANKS = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]


def sentencepiece(scheme: str) -> Tokenizer:
    """Letters, words, and bytes for whatever else a text may hold."""
    vocabulary = {name: place for place, name in enumerate(["<unk>", "<s>", *BYTES, *LETTERS])}
    merges = [("a", "b"), ("▁", "ab"), ("▁", "▁")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    model = models.BPE(
        vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    tokenizer = Reference(model)
    if scheme == "prepended":
        blank = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        tokenizer.normalizer = normalizers.Sequence(blank)
        tokenizer.decoder = decoders.Sequence([*BLANKS, decoders.Strip(" ", 1, 0)])
    elif scheme == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        steps = [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")]
        tokenizer.decoder = decoders.Sequence(steps)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.decoder = decoders.Sequence(BLANKS)
    tokenizer.add_special_tokens(["<unk>", "<s>"])
    return Tokenizer(json.loads(tokenizer.to_str()))


TEXTS = st.text() | st.text(alphabet="ab <|im_end|>é👍🏽\n▁\u2028\ufffd")


def joined(tokenizer: Tokenizer, text: str) -> bytes:
    return b"".join(map(tokenizer.token_bytes, tokenizer.encode_text(text)))


@pytest.mark.parametrize("splitting", ["gpt4", "gpt2", "none"])
@given(text=TEXTS)
def test_tokens_of_letters_for_bytes_give_the_text(splitting: str, text: str) -> None:
    tokenizer = Tokenizer(json.loads(spec("qwen3", splitting)))  # type: ignore[arg-type]
    assert joined(tokenizer, text) == text.encode()


@pytest.mark.parametrize("scheme", ["prepended", "metaspace", "plain"])
@given(text=TEXTS)
def test_words_and_bytes_give_the_text_behind_its_first_blank(scheme: str, text: str) -> None:
    """Where a text itself writes their sign for a blank, that is a blank to these tokenizers."""
    told = joined(sentencepiece(scheme), text)
    expected = text.replace("▁", " ").encode()
    assert told == expected or (scheme != "plain" and told == b" " + expected)


def test_a_word_keeps_its_blank_and_half_a_character_its_bytes() -> None:
    tokenizer = sentencepiece("prepended")
    first, *snowman = tokenizer.encode_text("ab☃")
    assert tokenizer.token_bytes(first) == b" ab"
    assert [tokenizer.token_bytes(token_id) for token_id in snowman] == [
        bytes([byte]) for byte in "☃".encode()
    ]
    assert tokenizer.token_name(first) == "▁ab"


def test_special_tokens_and_ids_without_a_token_have_no_bytes() -> None:
    tokenizer = sentencepiece("plain")
    assert tokenizer.token_bytes(1) == b""
    assert tokenizer.token_name(1) == "<s>"
    assert tokenizer.token_bytes(100_000) == b""
    assert tokenizer.token_name(100_000) == ""


def test_no_text_is_the_start_of_a_document(tmp_path: Path) -> None:
    renderer = Renderer.load(make_model(tmp_path))
    (start,) = renderer.encode_text("")
    assert renderer.token_name(start) == "<|endoftext|>"
    assert start not in renderer.encode_text("<|endoftext|>")
