"""Where the tokens of a text begin in it."""

import codecs
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Spelling:
    """A text, and for each of its tokens the number of characters before it.

    A character of several tokens begins with the first and is counted with the last: cut at the
    offsets, the text falls into parts that give it back together, some of them empty.
    """

    text: str
    offsets: list[int]

    def without_first(self) -> "Spelling":
        return Spelling(self.text[1:], [max(offset - 1, 0) for offset in self.offsets])


def spell(tokens: Iterable[bytes]) -> Spelling:
    """What tokens of these bytes say together; bytes that are no text become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    parts: list[str] = []
    offsets: list[int] = []
    length = 0
    for token in tokens:
        offsets.append(length)
        parts.append(decoder.decode(token))
        length += len(parts[-1])
    parts.append(decoder.decode(b"", final=True))
    return Spelling("".join(parts), offsets)
