"""Completions with tags: pieces of JSON, each between a beginning and an end that are given.

That is how models write calls of functions. The words are those of the structural tags that vLLM
speaks.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Tag:
    begin: str  # it may hold control tokens, spelled out
    json_schema: str  # of what follows, as text
    end: str


class Text(StrEnum):
    """Where a completion with tags may hold any text."""

    NOWHERE = "nowhere"
    INSTEAD = "instead"  # of tags
    BEFORE = "before"  # them, and instead


@dataclass(frozen=True)
class Tagged:
    """What a completion may be: tags one after another, and what `text` and `json_schema` allow."""

    tags: tuple[Tag, ...]
    trigger: str  # every tag begins with it, and text never holds it
    text: Text = Text.NOWHERE
    json_schema: str | None = None  # what the completion may be instead, where no text is allowed
    separator: str | None = None  # between two tags; None: any few blanks, or nothing
    is_single: bool = False  # one tag at most
