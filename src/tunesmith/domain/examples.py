"""Examples: what a line of a training file holds once it has passed the checks."""

from dataclasses import dataclass, field

from tunesmith.domain.chat import Conversation


@dataclass(frozen=True)
class Pair:
    """A prompt and how it goes on."""

    prompt: str  # may be empty: the start of a document
    completion: str


@dataclass(frozen=True)
class Example:
    line: int  # in the file, from 1
    content: Conversation | Pair = field(repr=False)

    @property
    def bears_loss(self) -> bool:
        """Whether anything in it is to be learned."""
        return isinstance(self.content, Pair) or self.content.bears_loss
