"""The shortest way to end an answer that has to follow a grammar.

A search over bytes: from where the answer stands to a place where it may end, by the fewest bytes.
It asks a matcher that knows every byte as a token of its own, so that the vocabulary's size
doesn't matter, and it is a matter of some milliseconds at most.

It is A* (Hart, Nilsson, Raphael 1968): brackets and the string that are still open are a lower
bound of what is missing. Three things keep it small, at the price that the way found may not be
the very shortest: what can end ends, from a number to the whole; in a string only some letters
are tried; and places that look alike, with the same bytes to follow, are taken for the same place.
"""

import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLMatcher

END_OF_TEXT = 256  # the token after those of the 256 bytes

OPENING, CLOSING, MARKS = b"{[", b"}]", b"{[]},:"
QUOTE, BACKSLASH, COLON = b'"\\:'
BLANKS = b" \t\r\n"
# In a string that can't end yet: one of each kind of letter that a pattern may ask for.
TRIED_LETTERS = frozenset(b'0129aAzZ -_.@:/+T"')
FEW = 12  # so many are all tried


@dataclass(frozen=True)
class Nesting:
    """What is open at the end of a piece of JSON."""

    depth: int = 0  # brackets
    is_in_string: bool = False
    is_escaped: bool = False  # the byte before was a backslash
    num_marks: int = 0  # brackets, commas and colons so far: items of an array may be counted
    length: int = 0  # bytes since the last of them: so may the letters of a string
    key: bytes = b""  # whose value this is, if it is one's
    since_mark: bytes = field(default=b"", compare=False)

    @property
    def num_missing(self) -> int:
        """No end is nearer than by this many bytes."""
        return self.depth + self.is_in_string

    def after(self, text: bytes) -> "Nesting":
        depth, is_in_string, is_escaped = self.depth, self.is_in_string, self.is_escaped
        num_marks, key, mark = self.num_marks, self.key, 0
        text = self.since_mark + text
        for place in range(self.length, len(text)):
            byte = text[place]
            if is_escaped:
                is_escaped = False
            elif is_in_string:
                is_escaped = byte == BACKSLASH
                is_in_string = byte != QUOTE
            elif byte == QUOTE:
                is_in_string = True
            elif byte in MARKS:
                depth += (byte in OPENING) - (byte in CLOSING)
                num_marks += 1
                key = text[mark:place] if byte == COLON else b""
                mark = place + 1
        since = text[mark:]
        return Nesting(depth, is_in_string, is_escaped, num_marks, len(since), key, since)


def find_end(
    matcher: "LLMatcher", nesting: Nesting, max_places: int, max_bytes: int
) -> bytes | None:
    """What could follow as the rest of the answer; None if nothing was found within the limits.

    `matcher` knows bytes as tokens, and is left where it is.
    """
    order = count()
    # Of equally good places, the one that has come furthest.
    heap = [(nesting.num_missing, 0, next(order), matcher.deep_copy(), nesting, b"")]
    seen = set()
    for _ in range(max_places):
        if not heap:
            return None
        _, _, _, here, nesting, way = heapq.heappop(heap)
        if here.is_accepting():
            return way
        steps = [here.compute_ff_bytes()]  # what must follow
        if not steps[0]:
            mask = here.compute_bitmask()
            if (mask, nesting) in seen:
                continue
            seen.add((mask, nesting))
            steps = _steps(mask, nesting)
        for step in steps:
            there = here if step is steps[-1] else here.deep_copy()
            length = len(way) + len(step)
            if length <= max_bytes and there.consume_tokens(list(step)):
                after = nesting.after(step)
                bound = length + after.num_missing
                heapq.heappush(heap, (bound, -length, next(order), there, after, way + step))
    return None


def completes(text: bytes, matcher: "LLMatcher") -> bool:
    """Whether the answer may end behind this text. `matcher` is left where it is."""
    matcher = matcher.deep_copy()
    return matcher.consume_tokens(list(text)) and matcher.is_accepting()


def _steps(mask: bytes, nesting: Nesting) -> list[bytes]:
    return [bytes([byte]) for byte in _worth_trying(mask, nesting)]


def _worth_trying(mask: bytes, nesting: Nesting) -> list[int]:
    """Most places are settled by a look at some bytes: only the others are listed in full."""

    def is_allowed(byte: int) -> bool:
        return bool(mask[byte // 8] >> (byte % 8) & 1)

    if nesting.is_in_string:
        if is_allowed(QUOTE) and not nesting.is_escaped:
            return [QUOTE]
        allowed = list(filter(is_allowed, range(END_OF_TEXT)))
        if len(allowed) <= FEW:
            return allowed
        return [byte for byte in allowed if byte in TRIED_LETTERS] or allowed[:FEW]
    for endings in (CLOSING, b","):
        if found := list(filter(is_allowed, endings)):
            return found
    return [byte for byte in filter(is_allowed, range(END_OF_TEXT)) if byte not in BLANKS]
