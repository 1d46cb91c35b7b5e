"""One sequence's way through its grammar: which tokens may follow, and how to end in time.

`llguidance` says which tokens may follow. That alone gives valid JSON only if the answer ends
before `max_tokens`. So a guide also knows an *ending*, bytes that would complete the answer from
where it stands, and takes a sampled token only if an ending still fits behind it; otherwise it
goes the ending's way. As an ending was known before, that always works. A text may end anywhere,
so its ending is nothing at all, until a tag begins.

Far from the limit endings are looked for only now and then: whenever a quarter of the tokens to
spare may have been used up. Near it, at each token; nearly always the ending known before still
fits, or the rest of it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.domain import errors
from tunesmith.domain.tagged import Text
from tunesmith.inference.closing import Nesting, completes, find_end
from tunesmith.inference.grammar import Grammar, Tags

if TYPE_CHECKING:
    from llguidance import LLMatcher

NEAR = 64  # tokens to spare: from here on each token is looked at
MAX_PLACES = 500  # of one search, in the engine's thread: 20 ms at most
MAX_BYTES = 32_768
TOO_HARD = (
    "The schema is too hard to follow here: {}. Send one with plainer patterns, smaller bounds or "
    "fewer alternatives."
)


class Guide:
    def __init__(self, grammar: Grammar, max_tokens: int) -> None:
        self._grammar = grammar
        self.matcher = grammar.matcher.deep_copy()
        self._here = _Place.start(grammar)
        self._unread = b""  # taken since `_here`
        self.is_cut = False  # a text was ended, since a tag that was to follow had no room
        cost = grammar.num_shortest
        # What one token can add to an ending is a part of a schema, mostly; at most, a whole tag.
        self._near = NEAR + (cost or 0) + grammar.size // 4
        if grammar.tags is not None:
            self._near += len(grammar.tags.shortest)
        # Tokens left when endings are looked at next; never, if not even the shortest fits.
        self._next_look = -1
        if cost is not None and cost <= max_tokens:
            self._next_look = self._after_look(max_tokens, cost)

    @property
    def must_end(self) -> bool:
        """What was taken is a whole answer, and nothing can follow it."""
        return self.matcher.is_stopped()

    @property
    def is_whole(self) -> bool:
        """What was taken is a whole answer. Of a text without tags nobody knows if more was to
        come."""
        return self.matcher.is_accepting() and not self._here.is_text_after(self._unread)

    @property
    def error(self) -> errors.InvalidRequest | None:
        """Why the way doesn't go on, if it doesn't."""
        if not self.matcher.is_error():
            return None
        reason = self.matcher.get_error().partition("\n")[0]
        return errors.InvalidRequest(TOO_HARD.format(reason[:200]), param=self._grammar.param)

    def take(self, token_id: int, num_left: int) -> int:
        """Goes on by the sampled token, or by another one if there would be no end in time, and
        says by which. `num_left`: tokens that the sequence may still have, with this one."""
        letters = self._grammar.letters(token_id)
        if num_left <= self._next_look and letters:
            token_id = self._look(token_id, letters, num_left)
        else:
            self._unread += letters
        self.matcher.consume_token(token_id)
        return token_id

    def _look(self, token_id: int, letters: bytes, num_left: int) -> int:
        here = self._here.after(self._unread)
        there = here.after(letters)
        cost = self._cost(there.ending)
        if cost is None or cost > num_left - 1:
            way = None if here.ending is None else self._grammar.spell(here.ending)
            if way is not None and len(way) <= num_left:
                self.is_cut = not way and here.is_text
                token_id = way[0] if way else self._grammar.vocabulary.end_token_id
                cost = max(len(way) - 1, 0)
                there = here.after(self._grammar.letters(token_id))
        self._here, self._unread = there, b""
        self._next_look = self._after_look(num_left - 1, cost)
        return token_id

    def _after_look(self, num_left: int, cost: int | None) -> int:
        to_spare = num_left - cost if cost is not None else 0
        return num_left if to_spare <= self._near else num_left - to_spare // 4

    def _cost(self, ending: bytes | None) -> int | None:
        """In tokens."""
        if ending is None:
            return None
        token_ids = self._grammar.spell(ending)
        return None if token_ids is None else len(token_ids)


@dataclass(frozen=True)
class _Place:
    """A place in an answer, and how the answer could end from there."""

    matcher: "LLMatcher"  # with bytes for tokens
    ending: bytes | None  # None: no way was found
    nesting: Nesting
    tags: Tags | None = None  # that may come here, if what was said is text so far
    text: bytes = b""  # as much of that as can tell if a tag begins

    @classmethod
    def start(cls, grammar: Grammar) -> "_Place":
        tags = grammar.tags
        if tags is not None and tags.text is Text.NOWHERE:
            tags = None
        return cls(grammar.byte_matcher.deep_copy(), grammar.shortest, Nesting(), tags)

    @property
    def is_text(self) -> bool:
        return self.tags is not None

    def is_text_after(self, text: bytes) -> bool:
        return self.tags is not None and _tag_in(self.text + text, self.tags) is None

    def after(self, text: bytes) -> "_Place":
        if not text:
            return self
        matcher = self.matcher.deep_copy()
        matcher.consume_tokens(list(text))
        if self.tags is None:
            nesting = self.nesting.after(text)
            return _Place(matcher, self._ending_after(text, matcher, nesting), nesting)
        said = self.text + text
        tag = _tag_in(said, self.tags)
        if tag is None:  # a text may end anywhere
            known = len(self.tags.trigger)
            kept = said[:known] if self.tags.text is Text.INSTEAD else said[1 - known :]
            return _Place(matcher, b"", Nesting(), self.tags, kept)
        expected = _Place(self.matcher, self.tags.shortest, Nesting())
        nesting = Nesting().after(tag)
        return _Place(matcher, expected._ending_after(tag, matcher, nesting), nesting)

    def _ending_after(self, text: bytes, matcher: "LLMatcher", nesting: Nesting) -> bytes | None:
        known = self.ending
        if known is not None:
            if known.startswith(text):
                return known[len(text) :]
            # Letters leave what comes behind them as it was; a value stands for the one expected.
            likely = (known, known[1:]) if nesting.is_in_string else (known[1:], known)
            for ending in likely:
                if completes(ending, matcher):
                    return ending
        return find_end(matcher, nesting, MAX_PLACES, MAX_BYTES)


def _tag_in(text: bytes, tags: Tags) -> bytes | None:
    """The tag that begins in the text, as far as it goes."""
    if tags.text is Text.INSTEAD:
        return text if text.startswith(tags.trigger) else None
    start = text.find(tags.trigger)
    return text[start:] if start >= 0 else None
