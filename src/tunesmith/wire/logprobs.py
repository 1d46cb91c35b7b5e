"""Log-probabilities as the two routes write them (behaviour reference, sections 15.2 and 16).

A token is written as its text. Bytes that are no text of their own, such as a part of an emoji,
are written out (`\\xf0\\x9f`; text completions say `bytes:` before), and what texts leave out
goes by its name in the tokenizer (`<|endoftext|>`).
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple, Protocol

from tunesmith.domain.generation import ScoredToken
from tunesmith.wire.base import Reply
from tunesmith.wire.generation import Json

LEAST = -9999.0  # what OpenAI writes for hopelessly unlikely tokens; JSON has no infinity


class Vocabulary(Protocol):
    def token_bytes(self, token_id: int) -> bytes:
        """What the token adds to a text; nothing for tokens that texts leave out."""

    def token_name(self, token_id: int) -> str:
        """What the tokenizer calls it; nothing for an id without a token."""


class TokenChance(Reply):
    token: str
    logprob: float
    bytes: list[int] | None  # null: texts leave the token out


class TokenLogprob(TokenChance):
    top_logprobs: list[TokenChance]


class ChatLogprobs(Reply):
    content: list[TokenLogprob]
    refusal: None = None


class CompletionLogprobs(Reply):
    """Four lists with an item for each token; null: nothing came before it."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class _Spelled(NamedTuple):
    text: str  # as chat has it
    marked_text: str  # as text completions have it
    data: list[int] | None


class LogprobWriter:
    """Remembers how tokens are written: one answer may name a hundred thousand."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._spelled: dict[int, _Spelled] = {}

    def chat(self, tokens: Iterable[ScoredToken], num_top: int) -> Json:
        """A `ChatLogprobs`: beside each token the `num_top` likeliest ones in its place."""
        return {"content": [self._entry(token, num_top) for token in tokens], "refusal": None}

    def completions(self, tokens: Sequence[ScoredToken]) -> Json:
        """A `CompletionLogprobs`."""
        return {
            "tokens": [self._spell(token.token_id).marked_text for token in tokens],
            "token_logprobs": [_written(token.logprob) for token in tokens],
            "top_logprobs": [self._top(token) for token in tokens],
            "text_offset": [token.text_offset for token in tokens],
        }

    def _entry(self, token: ScoredToken, num_top: int) -> Json:
        likeliest = _likeliest(token)[:num_top] if num_top else ()
        top = [self._chance(token_id, logprob) for token_id, logprob in likeliest]
        return {**self._chance(token.token_id, token.logprob), "top_logprobs": top}

    def _chance(self, token_id: int, logprob: float | None) -> Json:
        text, _, data = self._spell(token_id)
        return {"token": text, "logprob": _written(logprob), "bytes": data}

    def _top(self, token: ScoredToken) -> dict[str, float] | None:
        if token.logprob is None:
            return None
        top: dict[str, float] = {}
        for token_id, logprob in _likeliest(token):
            # Two tokens may have the same text; the likelier one stands for it.
            top.setdefault(self._spell(token_id).marked_text, max(logprob, LEAST))
        return top

    def _spell(self, token_id: int) -> _Spelled:
        if token_id not in self._spelled:
            self._spelled[token_id] = self._find(token_id)
        return self._spelled[token_id]

    def _find(self, token_id: int) -> _Spelled:
        data = self._vocabulary.token_bytes(token_id)
        if not data:
            name = self._vocabulary.token_name(token_id) or f"token_id:{token_id}"
            return _Spelled(name, name, None)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            escaped = "".join(f"\\x{byte:02x}" for byte in data)
            return _Spelled(escaped, f"bytes:{escaped}", list(data))
        return _Spelled(text, text, list(data))


def _likeliest(token: ScoredToken) -> list[tuple[int, float]]:
    return sorted(token.top.items(), key=itemgetter(1), reverse=True)


def _written(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, LEAST)
