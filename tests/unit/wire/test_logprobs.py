"""How log-probabilities are written where a real model hardly ever gets."""

import math

from tunesmith.domain.generation import ScoredToken
from tunesmith.wire.logprobs import LogprobWriter


class Vocabulary:
    """Two tokens of one text, half a character, a name, and an id without a token."""

    BYTES = (b"a", b"a", b"\xc3", b"", b"")
    NAMES = ("a", "<0x61>", "Ã", "<|end|>", "")

    def token_bytes(self, token_id: int) -> bytes:
        return self.BYTES[token_id]

    def token_name(self, token_id: int) -> str:
        return self.NAMES[token_id]


WRITER = LogprobWriter(Vocabulary())


def test_infinity_becomes_what_openai_writes_for_hopeless() -> None:
    token = ScoredToken(0, -math.inf, {0: -math.inf})
    assert WRITER.completions([token])["token_logprobs"] == [-9999.0]
    assert WRITER.completions([token])["top_logprobs"] == [{"a": -9999.0}]
    assert WRITER.chat([token], 1)["content"][0]["logprob"] == -9999.0


def test_of_two_tokens_with_one_text_the_likelier_one_stands_for_both() -> None:
    token = ScoredToken(1, -3.0, {0: -1.0, 2: -2.0, 1: -3.0})
    assert WRITER.completions([token])["top_logprobs"] == [{"a": -1.0, "bytes:\\xc3": -2.0}]
    top = WRITER.chat([token], 3)["content"][0]["top_logprobs"]
    assert [(one["token"], one["bytes"]) for one in top] == [
        ("a", [97]),
        ("\\xc3", [195]),
        ("a", [97]),
    ]


def test_every_id_has_something_to_be_called_by() -> None:
    tokens = [ScoredToken(token_id, -1.0, {}) for token_id in (3, 4)]
    assert WRITER.completions(tokens)["tokens"] == ["<|end|>", "token_id:4"]
    assert [entry["bytes"] for entry in WRITER.chat(tokens, 0)["content"]] == [None, None]
