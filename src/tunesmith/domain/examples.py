"""Examples: what a line of a training file holds once it has passed the checks."""

from dataclasses import dataclass, field
from enum import StrEnum

from tunesmith.domain.chat import Conversation


class Format(StrEnum):
    """What the lines of a training file are."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    PREFERENCES = "preferences"


# What supervised training takes; preferences are for direct preference optimisation.
SUPERVISED_FORMATS = (Format.CHAT, Format.COMPLETIONS)


@dataclass(frozen=True)
class Pair:
    """A prompt and how it goes on."""

    prompt: str  # may be empty: the start of a document
    completion: str


@dataclass(frozen=True)
class Preference:
    """Two conversations that differ in nothing but the last answer, which alone bears weight."""

    preferred: Conversation
    other: Conversation


Content = Conversation | Pair | Preference


@dataclass(frozen=True)
class Example:
    line: int  # in the file, from 1
    content: Content = field(repr=False)

    @property
    def bears_loss(self) -> bool:
        """Whether anything in it is to be learned."""
        return not isinstance(self.content, Conversation) or self.content.bears_loss
