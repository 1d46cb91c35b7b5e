"""From sampled tokens to text that may be shown, piece by piece. No torch here.

Two things hold text back. A token may be a part of a character: UTF-8 is never cut inside one.
And text may be the beginning of a stop string, of which nothing is ever shown.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from tunesmith.domain.generation import SamplingParams
from tunesmith.domain.tagged import Text

Decode = Callable[[Sequence[int]], str]

REPLACEMENT = "\ufffd"  # what tokenizers make of bytes that are no whole character
MAX_CHARACTER_TOKENS = 4  # a character has at most four bytes, a token at least one
LONGEST_TAIL = 64  # tokens of broken bytes after which we no longer look back


class Texts(Protocol):
    """What tokens say, by a renderer."""

    def decode(self, token_ids: Sequence[int]) -> str: ...

    def decode_all(self, token_ids: Sequence[int]) -> str: ...

    def control_tokens(self, text: str) -> list[tuple[int, int, int]]: ...


def detokenizer_for(params: SamplingParams, texts: Texts) -> "Detokenizer":
    """One that spells out control tokens where tags may need them. Inside a tag nothing stops."""
    tagged = params.tagged
    if tagged is None:
        return Detokenizer(texts.decode, params.stop)
    if tagged.text is Text.NOWHERE and tagged.json_schema is None:
        return Detokenizer(texts.decode_all)
    control = texts.control_tokens(tagged.trigger)
    begins_with_control = bool(control) and control[0][0] == 0
    until = tagged.trigger[: control[0][1]] if begins_with_control else tagged.trigger
    return Detokenizer(texts.decode_all, params.stop, until)


class Detokenizer:
    def __init__(self, decode: Decode, stop: Sequence[str] = (), until: str = "") -> None:
        """`until`: text from which on stop strings mean nothing."""
        self._characters = _Characters(decode)
        self._stops = _StopStrings(stop, until)
        self.num_characters = 0  # of the text that is certain, shown or held back
        self.num_shown = 0  # of these

    @property
    def is_stopped(self) -> bool:
        """A stop string was completed; nothing further is shown."""
        return self._stops.is_found

    def add(self, token_id: int) -> str:
        """The text that can be shown now."""
        return self._show(self._characters.add(token_id))

    def finish(self) -> str:
        """What was held back, once no token follows."""
        text = self._show(self._characters.finish())
        rest = self._stops.finish()
        self.num_shown += len(rest)
        return text + rest

    def _show(self, text: str) -> str:
        self.num_characters += len(text)
        shown = self._stops.add(text)
        self.num_shown += len(shown)
        return shown


class _Characters:
    """Whole characters from tokens.

    Only the tail of the tokens is decoded each time. It starts where text was whole before, with
    one settled piece in front, for some tokenizers treat a text's first token differently.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._tail: list[int] = []
        self._num_settled = 0  # tokens of the tail whose text was given away, whole
        self._given = ""  # text of the tail that was given away

    def add(self, token_id: int) -> str:
        self._tail.append(token_id)
        text = self._decode(self._tail)
        num_open = len(self._tail) - self._num_settled
        if not text.endswith(REPLACEMENT) or num_open == LONGEST_TAIL:
            piece = self._give(text)
            self._settle()
            return piece
        # The bytes at the end may be the beginning of a character, or just broken.
        if num_open < MAX_CHARACTER_TOKENS:
            return self._give(text.rstrip(REPLACEMENT))
        return self._give(text[:-1])

    def finish(self) -> str:
        return self._give(self._decode(self._tail)) if self._tail else ""

    def _give(self, text: str) -> str:
        piece = text[len(self._given) :]
        self._given += piece
        return piece

    def _settle(self) -> None:
        self._tail = self._tail[self._num_settled :]
        self._num_settled = len(self._tail)
        self._given = self._decode(self._tail)


class _StopStrings:
    """Lets text pass up to the first stop string; all of it, once `until` has come."""

    def __init__(self, stops: Sequence[str], until: str = "") -> None:
        self._stops = stops
        self._until = until
        self._awaited = (*stops, until) if until else tuple(stops)
        self._longest = max(map(len, self._awaited), default=0)
        self._held = ""
        self.is_found = False

    def add(self, text: str) -> str:
        if not self._stops or self.is_found:
            return "" if self.is_found else text
        text = self._held + text
        self._held = ""
        end = text.find(self._until) if self._until else -1
        start = self._find(text if end < 0 else text[:end])
        if start is not None:
            self.is_found = True
            return text[:start]
        if end >= 0:
            self._stops = ()
            return text
        shown = len(text) - self._num_to_hold(text)
        self._held = text[shown:]
        return text[:shown]

    def finish(self) -> str:
        text, self._held = self._held, ""
        return text

    def _find(self, text: str) -> int | None:
        """Where the stop string begins that is completed first, so that it doesn't matter in
        which pieces the text came."""
        found = [(text.find(stop) + len(stop), -len(stop)) for stop in self._stops if stop in text]
        if not found:
            return None
        end, minus_length = min(found)
        return end + minus_length

    def _num_to_hold(self, text: str) -> int:
        """The length of the longest end of `text` that something awaited begins with."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            if any(awaited.startswith(text[-length:]) for awaited in self._awaited):
                return length
        return 0
