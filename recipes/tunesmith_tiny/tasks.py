"""One whole conversation, as it stands on the wire: messages, and the tools that they may use.

What `turns.py` cannot hold: instructions that the system prompt gives, tools, several messages that
belong together. `parts` renders it as the chat template does; a test holds it to that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

END = "<|end|>"

Message = Mapping[str, Any]  # JSON of the wire's own shape


@dataclass(frozen=True)
class Task:
    messages: tuple[Message, ...]
    tools: tuple[Message, ...] = ()

    @classmethod
    def of(cls, exchanges: Sequence[tuple[str, str]], system: str | None = None) -> Self:
        messages = [{"role": "system", "content": system}] if system else []
        for asked, answer in exchanges:
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": answer})
        return cls(tuple(messages))

    @property
    def prompt(self) -> list[Message]:
        return list(self.messages[:-1])

    @property
    def answer(self) -> Message:
        return self.messages[-1]

    def parts(self) -> tuple[tuple[str, float], ...]:
        """The rendered text in pieces, with loss on all that the assistant says."""
        parts = [(f"<|tools|>{_json(self.tools)}{END}", 0.0)] if self.tools else []
        for message in self.messages:
            parts.append((f"<|{message['role']}|>", 0.0))
            text = (message["content"] or "") + "".join(
                f'<|tool_call|>{{"name": {_json(call["function"]["name"])}, '
                f'"arguments": {call["function"]["arguments"]}}}'
                for call in message.get("tool_calls", [])
            )
            parts.append((text + END, float(message["role"] == "assistant")))
        return tuple(parts)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
