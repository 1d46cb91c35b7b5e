"""Control tokens, and how a user's text is kept from ever becoming one.

Control tokens (`<|im_end|>`, `<tool_call>` …) are the added tokens of a `tokenizer.json`, apart
from runs of white space, which some vocabularies keep there as well. Only a template may write
them. A rendered text no longer tells who wrote what, so before rendering we put a *mark*, a
character that occurs nowhere else, into whatever a user wrote that looks like a control token
(`broken`); in the rendered text we look for control tokens while the marks are still there
(`find`), and drop the marks from what lies between. Whoever holds the mark knows it: see
`transcript.py`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from tunesmith.domain import errors

Json = dict[str, Any]  # an entry of a tokenizer.json


@dataclass(frozen=True)
class ControlTokens:
    ids: Mapping[str, int]
    _pattern: re.Pattern[str]  # a control token, with the blanks around it that it swallows
    _starts: re.Pattern[str]  # the empty place where one begins, also inside another one
    _heads: frozenset[str]  # proper prefixes of control tokens
    _tails: frozenset[str]  # proper suffixes
    _longest: int  # characters of the longest
    _joined: str  # all of them, to look for what is inside one

    @classmethod
    def of(cls, added_tokens: Iterable[Json]) -> Self:
        """Raises UnsupportedModel for one that is a single character: it can't be broken."""
        tokens = sorted(added_tokens, key=lambda token: len(token["content"]), reverse=True)
        texts = [token["content"] for token in tokens]
        for text in texts:
            if len(text) < 2:
                raise errors.UnsupportedModel(
                    f"The tokenizer's special token {text!r} is a single character, which can't be "
                    "told apart from what users write."
                )
        never = r"(?!)"
        return cls(
            ids={token["content"]: token["id"] for token in tokens},
            _pattern=re.compile("|".join(map(_pattern, tokens)) or never),
            _starts=re.compile(f"(?={'|'.join(map(re.escape, texts))})" if texts else never),
            _heads=frozenset(text[:end] for text in texts for end in range(1, len(text))),
            _tails=frozenset(text[start:] for text in texts for start in range(1, len(text))),
            _longest=max(map(len, texts), default=0),
            _joined="\0".join(texts),
        )

    def find(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Start, end and id of each control token in a rendered text."""
        for match in self._pattern.finditer(text):
            found = match.group()
            yield (
                match.start(),
                match.end(),
                self.ids[found if found in self.ids else found.strip()],
            )

    def broken(self, text: str, mark: str) -> str:
        """`text`, marked so that it holds no control token and makes none together with whatever
        a template puts around it."""
        if not text:
            return text
        marked = text
        if self._pattern.search(text):
            cuts = [0, *(match.start() + 1 for match in self._starts.finditer(text)), len(text)]
            marked = mark.join(text[a:b] for a, b in pairwise(cuts))
        lengths = range(1, self._longest)
        if text in self._joined or not self._heads.isdisjoint([text[-n:] for n in lengths]):
            marked += mark
        if not self._tails.isdisjoint([text[:n] for n in lengths]):
            marked = mark + marked
        return marked


def is_control(token: Json) -> bool:
    return bool(token["special"]) or not str(token["content"]).isspace()


def _pattern(token: Json) -> str:
    """The token as tokenizers look for it: some swallow the blanks around them."""
    text: str = re.escape(token["content"])
    if token["single_word"]:
        text = rf"(?<!\w){text}(?!\w)"
    before, after = (r"\s*" if token[side] else "" for side in ("lstrip", "rstrip"))
    return before + text + after
