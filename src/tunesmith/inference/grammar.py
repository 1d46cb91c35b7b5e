"""Grammars: what an answer has to look like, made ready for one vocabulary.

    Grammars.get(form) → Grammar → one Guide for each sequence (`guide.py`)

A form is a JSON schema, or tags with schemas of their own. Its schemas are tried out
(`grammar_trial.py`), it is compiled once, in a thread of its own, and remembered, refusals too.
llguidance does the work; it is imported when the first form comes.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Sequence as List
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from tunesmith.domain import errors
from tunesmith.domain.tagged import Tagged, Text
from tunesmith.inference.grammar_trial import (
    SPELLING,
    Unusable,
    byte_tokenizer,
    compile_lark,
    compile_schema,
    try_out,
)
from tunesmith.inference.tag_grammar import FindControl, Marked, lark, marked

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

Form = str | Tagged  # a string is a JSON schema

MAX_KNOWN = 64  # forms that are remembered
MAX_UNDER_WAY = 64  # that are compiled or wait for it
IN_FORMAT, IN_TOOLS = "response_format", "tools"
NUM_COMPILERS = 2  # at once, so that one long trial doesn't hold up all others


class TokenTexts(Protocol):
    """What grammars need of a renderer."""

    @property
    def end_token_ids(self) -> tuple[int, ...]: ...

    def text_tokens(self) -> list[bytes]: ...

    def encode_part(self, text: str) -> list[int]: ...

    def control_tokens(self, text: str) -> list[tuple[int, int, int]]: ...


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

    def control_tokens(self, text: str) -> list[tuple[int, int, int]]:
        """Start, end and id of each control token that the text spells out."""
        return self._texts.control_tokens(text)

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
class Tags:
    """What a guide has to know of tags."""

    trigger: bytes  # as the byte matcher knows it
    shortest: bytes  # a whole tag, the shortest or nearly so
    text: Text
    token_ids: Mapping[bytes, int]  # of control tokens, by the bytes that stand for them

    @cached_property
    def marks(self) -> dict[int, bytes]:
        return {token_id: mark for mark, token_id in self.token_ids.items()}


@dataclass(frozen=True)
class Grammar:
    """A compiled form. The two matchers stand at the start and are copied for each sequence."""

    size: int  # characters of its largest schema
    vocabulary: Vocabulary
    matcher: "LLMatcher"
    byte_matcher: "LLMatcher"  # the same, with bytes for tokens: for `closing.py`
    shortest: bytes  # an answer, the shortest or nearly so
    param: str  # of the request that it comes from
    tags: Tags | None = None

    @cached_property
    def num_shortest(self) -> int | None:
        """Tokens; None if the vocabulary can't say it."""
        return None if (spelled := self.spell(self.shortest)) is None else len(spelled)

    def letters(self, token_id: int) -> bytes:
        """What the token is to the byte matcher."""
        if self.tags is not None and token_id in self.tags.marks:
            return self.tags.marks[token_id]
        return self.vocabulary.tokens[token_id]

    def spell(self, text: bytes) -> list[int] | None:
        """Tokens that say what the byte matcher reads; None if there are none for it."""
        if self.tags is None or not self.tags.token_ids:
            return self.vocabulary.spell(text)
        spelled: list[int] = []
        for part in re.split(b"([" + b"".join(self.tags.token_ids) + b"])", text):
            if part in self.tags.token_ids:
                spelled.append(self.tags.token_ids[part])
            elif (said := self.vocabulary.spell(part)) is not None:
                spelled += said
            else:
                return None
        return spelled


@dataclass(frozen=True)
class Refused:
    """A form that can't be used, and why. Remembered like a grammar."""

    message: str
    param: str

    def error(self) -> errors.InvalidRequest:
        """Made anew each time: one that is raised again and again grows by its traces."""
        return errors.InvalidRequest(self.message, param=self.param)


class Grammars:
    """The grammars of one vocabulary."""

    def __init__(self, texts: TokenTexts, vocab_size: int) -> None:
        self._vocabulary = Vocabulary(texts, vocab_size)
        self._compilers = ThreadPoolExecutor(NUM_COMPILERS, thread_name_prefix="grammars")
        self._known: OrderedDict[Form, Future[Grammar | Refused]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, form: Form) -> Grammar:
        """Blocks while it is compiled. Raises InvalidRequest, Unavailable."""
        return usable(self.start(form).result())

    def start(self, form: Form) -> Future[Grammar | Refused]:
        """What becomes of the form, as soon as it is compiled: see `usable`. The future is
        shared, so it mustn't be cancelled; it raises Unavailable if compiling was prevented.

        Raises Unavailable if too many are being compiled.
        """
        with self._lock:
            future = self._known.get(form)
            if future is None or (future.done() and future.exception() is not None):
                future = self._begin(form)
            self._known.move_to_end(form)
            return future

    def _begin(self, form: Form) -> Future[Grammar | Refused]:
        done = [known for known, future in self._known.items() if future.done()]
        if len(self._known) - len(done) >= MAX_UNDER_WAY:
            raise errors.Unavailable(
                "The engine has too many new schemas to compile. Try again in a moment."
            )
        for known in done[: max(len(self._known) + 1 - MAX_KNOWN, 0)]:
            del self._known[known]
        self._known[form] = self._compilers.submit(self._compile, form)
        return self._known[form]

    def _compile(self, form: Form) -> Grammar | Refused:
        return self._compile_tags(form) if isinstance(form, Tagged) else self._compile_json(form)

    def _compile_json(self, schema: str) -> Grammar | Refused:
        try:
            (shortest,) = try_out([schema])
            self._vocabulary.load()
            matcher = compile_schema(self._vocabulary.tokenizer, schema)
            byte_matcher = compile_schema(byte_tokenizer(), schema)
        except ValueError as error:
            return _refused(schema, error)
        return Grammar(len(schema), self._vocabulary, matcher, byte_matcher, shortest, IN_FORMAT)

    def _compile_tags(self, tagged: Tagged) -> Grammar | Refused:
        schemas = _schemas(tagged)
        try:
            known = marked(tagged, self._vocabulary.control_tokens)
            in_bytes = lark(known.tagged, SPELLING)
            shortest = try_out(schemas, in_bytes)
            self._vocabulary.load()
            in_tokens = lark(known.tagged, SPELLING, known.token_ids)
            matcher = compile_lark(self._vocabulary.tokenizer, in_tokens)
            byte_matcher = compile_lark(byte_tokenizer(), in_bytes)
        except ValueError as error:
            return _refused(tagged, error)
        tags = _tags(known, shortest)
        answers = [tags.shortest, *shortest[len(tagged.tags) :]]
        return Grammar(
            size=max(map(len, schemas)),
            vocabulary=self._vocabulary,
            matcher=matcher,
            byte_matcher=byte_matcher,
            shortest=min(answers, key=len) if tagged.text is Text.NOWHERE else b"",
            param=IN_TOOLS,
            tags=tags,
        )


def try_form(form: Form, control_tokens: FindControl) -> Refused | None:
    """Why a form can't be used, whatever the vocabulary; None if it can. Raises Unavailable."""
    try:
        if isinstance(form, Tagged):
            try_out(_schemas(form), lark(marked(form, control_tokens).tagged, SPELLING))
        else:
            try_out([form])
    except ValueError as error:
        return _refused(form, error)
    return None


def usable(compiled: Grammar | Refused) -> Grammar:
    """Raises InvalidRequest for a form that was refused."""
    if isinstance(compiled, Grammar):
        return compiled
    raise compiled.error()


def _schemas(tagged: Tagged) -> list[str]:
    schemas = [tag.json_schema for tag in tagged.tags]
    return schemas if tagged.json_schema is None else [*schemas, tagged.json_schema]


def _tags(known: Marked, shortest: List[bytes]) -> Tags:
    tagged = known.tagged
    whole = [
        tag.begin.encode() + arguments + tag.end.encode()
        for tag, arguments in zip(tagged.tags, shortest, strict=False)
    ]
    return Tags(
        trigger=tagged.trigger.encode(),
        shortest=min(whole, key=len),
        text=tagged.text,
        token_ids={mark.encode(): token_id for mark, token_id in known.token_ids.items()},
    )


def _refused(form: Form, error: ValueError) -> Refused:
    if isinstance(form, str):
        return Refused(f"Invalid schema for response_format: {_reason(error)}", IN_FORMAT)
    if not isinstance(error, Unusable):
        return Refused(f"Invalid schemas for tools: {_reason(error)}", IN_TOOLS)
    if error.number is None:
        return Refused(f"Invalid schemas for tools: together, {_reason(error)}", IN_TOOLS)
    if error.number < len(form.tags):
        begin = form.tags[error.number].begin
        return Refused(f"Invalid schema for what follows {begin!r}: {_reason(error)}", IN_TOOLS)
    return Refused(f"Invalid schema for response_format: {_reason(error)}", IN_FORMAT)


def _reason(error: ValueError) -> str:
    return f"{str(error).rstrip('.')}."
