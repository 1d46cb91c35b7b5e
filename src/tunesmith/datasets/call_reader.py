"""Reads what a model writes: text, and calls of functions in its template's syntax.

The text comes in pieces of any size, and what is certain is given out at once: a client sees
arguments grow. What may be the beginning of a call waits until that is clear, and so do blanks
before it, which belong to the syntax.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tunesmith.datasets.call_syntax import CallSyntax

BLANKS = " \t\r\n"


@dataclass(frozen=True)
class Said:
    text: str


@dataclass(frozen=True)
class Called:
    """A call begins; its arguments follow."""

    name: str


@dataclass(frozen=True)
class Argued:
    """More of the last call's arguments."""

    text: str


Part = Said | Called | Argued


class CallReader:
    """Its states are methods: each takes what it can from `_unread` and says which comes next."""

    def __init__(self, syntax: CallSyntax) -> None:
        self._syntax = syntax
        self._unread = ""
        self._read = self._text
        self._is_beginning = True
        self._has_calls = False

    def add(self, text: str) -> list[Part]:
        self._unread += text
        return list(self._parts())

    def finish(self) -> list[Part]:
        """What waited, once nothing follows. Half a name is of no use to anybody."""
        if self._read != self._text:
            return []
        return self._said(self._unread.rstrip(BLANKS) if self._has_calls else self._unread)

    def _parts(self) -> Iterator[Part]:
        while self._unread:
            before = self._read, self._unread
            yield from self._read()
            if (self._read, self._unread) == before:
                return  # until more has come

    def _text(self) -> list[Part]:
        opening, text = self._syntax.opening, self._unread
        if self._may_call:
            start = text.find(opening)
            if start == 0 or (start > 0 and self._syntax.lead is not None):
                self._unread = text[start + len(opening) :]
                self._read = self._name
                return self._said(text[:start].rstrip(BLANKS))
            num_sure = self._num_sure(text)
        else:
            num_sure = len(text)
        self._unread = text[num_sure:]
        return self._said(text[:num_sure])

    @property
    def _may_call(self) -> bool:
        return self._is_beginning or self._syntax.lead is not None

    def _num_sure(self, text: str) -> int:
        """Characters that neither are the beginning of an opening nor stand before one."""
        opening = self._syntax.opening
        if self._syntax.lead is None:
            return 0 if opening.startswith(text) else len(text)
        lengths = range(min(len(text), len(opening) - 1), 0, -1)
        num_open = next((n for n in lengths if opening.startswith(text[-n:])), 0)
        return len(text[: len(text) - num_open].rstrip(BLANKS))

    def _said(self, text: str) -> list[Part]:
        if not text:
            return []
        self._is_beginning = False
        return [Said(text)]

    def _name(self) -> list[Part]:
        name, found, rest = self._unread.partition(self._syntax.middle)
        if not found:
            return []
        self._unread = rest
        self._json_end = _JsonEnd()
        self._read = self._arguments
        self._is_beginning, self._has_calls = False, True
        return [Called(name)]

    def _arguments(self) -> list[Part]:
        end = self._json_end.find(self._unread)
        if end is not None:
            self._read = self._closing
        arguments, self._unread = self._unread[:end], self._unread[len(self._unread[:end]) :]
        return [Argued(arguments)]

    def _closing(self) -> list[Part]:
        closing = self._syntax.closing
        if closing.startswith(self._unread) and self._unread != closing:
            return []
        self._unread = self._unread.removeprefix(closing).lstrip(BLANKS)
        self._read = self._text
        return []


class _JsonEnd:
    """Finds where an object of JSON ends that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_in_string = self._is_escaped = False

    def find(self, text: str) -> int | None:
        """How much of this piece belongs to it; None: all, and there is more to come."""
        for place, character in enumerate(text, start=1):
            if self._is_in_string:
                self._read_in_string(character)
            elif character == '"':
                self._is_in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return place
        return None

    def _read_in_string(self, character: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif character == "\\":
            self._is_escaped = True
        elif character == '"':
            self._is_in_string = False
