"""Conversations: what training examples and chat requests are made of.

Both faces (a line of a training file, a chat request) become these, and `datasets/render.py`
turns them into token ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    FUNCTION = "function"


@dataclass(frozen=True)
class ToolCall:
    id: str
    name: str
    arguments: str  # JSON text, as the wire has it


@dataclass(frozen=True)
class Message:
    role: Role
    content: str | None  # text parts are joined before they get here
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    weight: float = 1.0  # of the loss on this message; only assistant messages bear loss


@dataclass(frozen=True)
class Conversation:
    messages: tuple[Message, ...]
    # Function tools as the wire has them: JSON for the template's eyes only, hence Any.
    tools: tuple[Mapping[str, Any], ...] = ()
    parallel_tool_calls: bool = True

    @property
    def bears_loss(self) -> bool:
        return any(m.role is Role.ASSISTANT and m.weight != 0 for m in self.messages)
