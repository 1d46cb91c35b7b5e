"""A tokenizer that puts the blank before a word into the word's token, as Llama 2's does.

It drops the blank at the start of a text. A chat reply is a text of its own; a text completion
goes on from its prompt, and what it lacks would be missing between the two.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.api.conftest import KEY, client_of, live_api, live_engine
from tests.contract.checker import CheckedTransport
from tests.server import listening
from tests.small_models import SPECIAL_TOKENS, make_model

LETTERS = "aehlopx"
FORCED = {"temperature": 0, "max_tokens": 2}


def write_tokenizer(folder: Path) -> None:
    words = ["▁" + letter for letter in LETTERS]
    names = [*SPECIAL_TOKENS, "<unk>", "▁", *LETTERS, *words]
    vocabulary = {name: token_id for token_id, name in enumerate(names)}
    merges = [("▁", letter) for letter in LETTERS]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_model(tmp_path_factory.mktemp("blanks"))
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def vocabulary(folder: Path) -> dict[str, int]:
    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()


@pytest.fixture(scope="module")
def client(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    transport: CheckedTransport,
) -> Iterator[OpenAI]:
    data_dir = tmp_path_factory.mktemp("data")
    with (
        closing(listening()) as listener,
        live_engine(folder, data_dir, listener) as engine,
        live_api(folder, data_dir, engine.url) as api,
    ):
        yield client_of(api, KEY, transport)


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("logprobs", [None, 0])
def test_a_text_completion_begins_with_its_blank(
    client: OpenAI, vocabulary: dict[str, int], echo: bool, logprobs: int | None
) -> None:
    options: dict[str, Any] = {"model": "tiny", "prompt": "hello", "echo": echo, **FORCED}
    options |= {"logit_bias": {str(vocabulary["▁a"]): 100}, "logprobs": logprobs}
    (choice,) = client.completions.create(**options).choices
    assert choice.text == ("hello a a" if echo else " a a")
    pieces = [piece.choices[0] for piece in client.completions.create(stream=True, **options)]
    assert "".join(piece.text for piece in pieces) == choice.text
    if logprobs is not None:
        assert choice.logprobs is not None
        assert choice.logprobs.tokens == [*([" h", *"ello"] if echo else []), " a", " a"]
        assert choice.logprobs.text_offset == ([0, 1, 2, 3, 4, 5, 7] if echo else [0, 2])
        offsets = [place for one in pieces if one.logprobs for place in one.logprobs.text_offset]
        assert offsets == choice.logprobs.text_offset


def test_a_document_s_first_word_has_no_blank(client: OpenAI, vocabulary: dict[str, int]) -> None:
    biases = {str(vocabulary["▁a"]): 100}
    for prompt in ("", [0]):
        completion = client.completions.create(
            model="tiny", prompt=prompt, logit_bias=biases, **FORCED
        )
        assert completion.choices[0].text == "a a"


def test_a_blank_that_the_client_sent_is_echoed(client: OpenAI, vocabulary: dict[str, int]) -> None:
    prompts = [" hello", "hello", ""]
    completion = client.completions.create(model="tiny", prompt=prompts, max_tokens=0, echo=True)
    assert [choice.text for choice in completion.choices] == prompts
    ids = [[vocabulary["▁h"], vocabulary["e"]], [vocabulary["e"], vocabulary["▁h"]]]
    completion = client.completions.create(model="tiny", prompt=ids, max_tokens=0, echo=True)
    assert [choice.text for choice in completion.choices] == ["he", "e h"]


def test_a_chat_reply_is_a_text_of_its_own(client: OpenAI, vocabulary: dict[str, int]) -> None:
    reply = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "hello"}],
        logit_bias={str(vocabulary["▁a"]): 100},
        **FORCED,
    )
    assert reply.choices[0].message.content == "a a"
