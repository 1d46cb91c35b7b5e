"""Grammars: what an answer has to look like, as a JSON schema, made ready for one vocabulary.

    Grammars.get(schema) → Grammar → one Guide for each sequence (`guide.py`)

A schema is tried out (`grammar_trial.py`), compiled once, in a thread of its own, and remembered,
refusals too. llguidance does the work; it is imported when the first schema comes.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence as List
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from tunesmith.domain import errors
from tunesmith.inference.grammar_trial import byte_tokenizer, compile_schema, try_out

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MAX_KNOWN = 64  # schemas that are remembered
MAX_UNDER_WAY = 64  # that are compiled or wait for it
NUM_COMPILERS = 2  # at once, so that one long trial doesn't hold up all others


class TokenTexts(Protocol):
    """What grammars need of a renderer."""

    @property
    def end_token_ids(self) -> tuple[int, ...]: ...

    def text_tokens(self) -> list[bytes]: ...

    def encode_part(self, text: str) -> list[int]: ...


class Vocabulary:
    """Tokens as the bytes that they stand for; those that stand for no text are never taken."""

    def __init__(self, texts: TokenTexts, size: int) -> None:
        """`size`: of the logits; a model may have more of them than its tokenizer has tokens."""
        self._texts = texts
        self.size = size
        self._lock = threading.Lock()

    @cached_property
    def tokens(self) -> list[bytes]:
        tokens = self._texts.text_tokens()[: self.size]
        return tokens + [b""] * (self.size - len(tokens))

    @cached_property
    def tokenizer(self) -> "LLTokenizer":
        from llguidance import LLTokenizer

        ends = [token_id for token_id in self._texts.end_token_ids if token_id < self.size]
        wrapper = _ForCompiler(self.tokens, ends[0], self._texts)
        return LLTokenizer(wrapper, eos_token=ends)  # type: ignore[arg-type]  # it has what is asked

    @cached_property
    def _byte_tokens(self) -> dict[int, int]:
        singles = enumerate(self.tokens)
        return {token[0]: token_id for token_id, token in singles if len(token) == 1}

    def load(self) -> None:
        """Reads all of it, which takes a second for a large one; from then on it is there."""
        with self._lock:
            _ = self.tokenizer, self._byte_tokens

    @property
    def end_token_id(self) -> int:
        return self.tokenizer.eos_token

    def spell(self, text: bytes) -> list[int] | None:
        """Tokens that say the text, the longest first each time; None if there are none for it.
        It may begin in the middle of a character."""
        start = 0
        while start < len(text) and text[start] & 0xC0 == 0x80:
            start += 1
        if not all(byte in self._byte_tokens for byte in text[:start]):
            return None
        head = [self._byte_tokens[byte] for byte in text[:start]]
        return head + self.tokenizer.greedy_tokenize(text[start:].decode())


class _ForCompiler:
    is_tokenizer_wrapper = True
    bos_token_id = None
    special_token_ids: tuple[int, ...] = ()

    def __init__(self, tokens: List[bytes], end_token_id: int, texts: TokenTexts) -> None:
        self.tokens = tokens
        self.eos_token_id = end_token_id
        self._texts = texts

    def __call__(self, text: str) -> list[int]:
        """Of what a grammar leaves no choice about, so that it is cut as the model knows it."""
        return self._texts.encode_part(text)


@dataclass(frozen=True)
class Grammar:
    """A compiled schema. The two matchers stand at the start and are copied for each sequence."""

    schema: str
    vocabulary: Vocabulary
    matcher: "LLMatcher"
    byte_matcher: "LLMatcher"  # the same, with bytes for tokens: for `closing.py`
    shortest: bytes  # an answer, the shortest or nearly so
    num_shortest: int | None  # its tokens; None if the vocabulary can't say it


@dataclass(frozen=True)
class Refused:
    """A schema that can't be used, and why. Remembered like a grammar."""

    message: str


class Grammars:
    """The grammars of one vocabulary."""

    def __init__(self, texts: TokenTexts, vocab_size: int) -> None:
        self._vocabulary = Vocabulary(texts, vocab_size)
        self._compilers = ThreadPoolExecutor(NUM_COMPILERS, thread_name_prefix="grammars")
        self._known: OrderedDict[str, Future[Grammar | Refused]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, schema: str) -> Grammar:
        """Blocks while it is compiled. Raises InvalidRequest, Unavailable."""
        return usable(self.start(schema).result())

    def start(self, schema: str) -> Future[Grammar | Refused]:
        """What becomes of the schema, as soon as it is compiled: see `usable`. The future is
        shared, so it mustn't be cancelled; it raises Unavailable if compiling was prevented.

        Raises Unavailable if too many are being compiled.
        """
        with self._lock:
            future = self._known.get(schema)
            if future is None or (future.done() and future.exception() is not None):
                future = self._begin(schema)
            self._known.move_to_end(schema)
            return future

    def _begin(self, schema: str) -> Future[Grammar | Refused]:
        done = [known for known, future in self._known.items() if future.done()]
        if len(self._known) - len(done) >= MAX_UNDER_WAY:
            raise errors.Unavailable(
                "The engine has too many new schemas to compile. Try again in a moment."
            )
        for known in done[: max(len(self._known) + 1 - MAX_KNOWN, 0)]:
            del self._known[known]
        self._known[schema] = self._compilers.submit(self._compile, schema)
        return self._known[schema]

    def _compile(self, schema: str) -> Grammar | Refused:
        try:
            shortest = try_out(schema)
            self._vocabulary.load()
            matcher = compile_schema(self._vocabulary.tokenizer, schema)
            byte_matcher = compile_schema(byte_tokenizer(), schema)
        except ValueError as error:
            return Refused(str(error))
        spelled = self._vocabulary.spell(shortest)
        num_shortest = None if spelled is None else len(spelled)
        return Grammar(schema, self._vocabulary, matcher, byte_matcher, shortest, num_shortest)


def usable(compiled: Grammar | Refused) -> Grammar:
    """Raises InvalidRequest for a schema that was refused."""
    if isinstance(compiled, Grammar):
        return compiled
    # Made anew each time: one that is raised again and again grows by its traces.
    raise errors.InvalidRequest(
        f"Invalid schema for response_format: {compiled.message.rstrip('.')}.",
        param="response_format",
    )
