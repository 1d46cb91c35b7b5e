"""The texts of one conversation: all of it, the prompt before a message, the answer to a prompt.

All of them come from the same template with the same mark (`control_tokens.py`), so places found
in one text hold in the others. The marks are still in the texts given out; `unmarked` takes
them away.
"""

import json
import os.path
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from tunesmith.datasets.chat_template import ChatTemplate
from tunesmith.datasets.control_tokens import ControlTokens
from tunesmith.domain import errors
from tunesmith.domain.chat import Conversation, Message, Role

# Noncharacters, which Unicode keeps for a program's own use and which are in nobody's text; and
# for who tries them all, the private-use area.
MARKS = [chr(code) for code in (*range(0xFDD0, 0xFDF0), *range(0xE000, 0xF900))]

MAX_DEPTH = 100  # of the JSON in tools
FUNCTION_KEYS = ("name", "description", "parameters", "strict")  # as OpenAI's examples have them


class Transcript:
    def __init__(
        self, conversation: Conversation, template: ChatTemplate, control: ControlTokens
    ) -> None:
        """Raises InvalidRequest if tools are nested too deeply."""
        self._template = template
        self._control = control
        self._mark = _unused_mark(conversation)
        # JSON and Python's repr write the mark as an escape; templates may use either.
        self._mark_pattern = re.compile(f"{self._mark}|{re.escape(_escaped(self._mark))}")
        self.roles = [message.role for message in conversation.messages]
        self._messages = [self._as_template_sees(message) for message in conversation.messages]
        self._tools = [self._broken(_in_order(tool)) for tool in conversation.tools] or None
        self._prompts: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def unmarked(self, text: str) -> str:
        return self._mark_pattern.sub("", text)

    @cached_property
    def whole(self) -> str:
        return self._render(self._messages)

    def prompt(self, index: int) -> str:
        """What an assistant reads before it says message `index`."""
        if index not in self._prompts:
            self._prompts[index] = (
                self._render(self._messages[:index], has_generation_prompt=True)
                if index > 0
                else self._opening()
            )
        return self._prompts[index]

    def answer(self, index: int) -> str:
        """What the template adds to `prompt(index)` once message `index` is the last one."""
        is_last = index == len(self) - 1
        said = self.whole if is_last else self._render(self._messages[: index + 1])
        prompt = self.prompt(index)
        if said.startswith(prompt):
            return said[len(prompt) :]
        # The prompt ends with something that finished messages don't have (an opened thought,
        # say). The answer then begins where two different answers differ.
        other = self._render([*self._messages[:index], self._stand_in()])
        # By characters, not by parts of a path: just what ruff warns of is what we want here.
        return said[len(os.path.commonprefix([said, other])) :]  # noqa: RUF071

    def _opening(self) -> str:
        """The prompt when nothing was said yet. Many templates look at the first message without
        asking if there is one, so it is what they put before an assistant's first words."""
        return self._render([self._stand_in()]).partition(self._mark)[0]

    def _render(
        self, messages: list[dict[str, Any]], *, has_generation_prompt: bool = False
    ) -> str:
        return self._template.render(
            messages, self._tools, has_generation_prompt=has_generation_prompt
        )

    def _stand_in(self) -> dict[str, Any]:
        return {"role": "assistant", "content": self._mark}

    def _as_template_sees(self, message: Message) -> dict[str, Any]:
        content = message.content
        seen: dict[str, Any] = {
            "role": self._role(message.role),
            "content": self._template.absent_content if content is None else self._broken(content),
        }
        if message.name is not None:
            seen["name"] = self._broken(message.name)
        if message.tool_call_id is not None:
            seen["tool_call_id"] = self._broken(message.tool_call_id)
        elif message.role is Role.FUNCTION:
            seen["tool_call_id"] = ""  # that of its call, which had none either
        if message.tool_calls:
            seen["tool_calls"] = [
                {
                    "id": self._broken(call.id),
                    "type": "function",
                    "function": {
                        "name": self._broken(call.name),
                        "arguments": self._arguments(call.arguments),
                    },
                }
                for call in message.tool_calls
            ]
        return seen

    def _arguments(self, text: str) -> Any:
        """Templates expect an object; what isn't one stays the text it is."""
        try:
            value = json.loads(text)
            return self._broken(value if isinstance(value, dict) else text)
        except (ValueError, RecursionError, errors.InvalidRequest):
            return self._broken(text)

    def _role(self, role: Role) -> str:
        if role is Role.DEVELOPER and not self._template.knows_developer:
            return Role.SYSTEM.value
        if role is Role.FUNCTION:  # the deprecated name for the same thing
            return Role.TOOL.value
        return role.value

    def _broken(self, value: Any, depth: int = 0) -> Any:
        """A JSON value whose strings can't become control tokens."""
        if isinstance(value, str):
            return self._control.broken(value, self._mark)
        if depth > MAX_DEPTH:
            raise _too_deep()
        if isinstance(value, Mapping):
            return {self._broken(key): self._broken(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._broken(item, depth + 1) for item in value]
        return value


def _in_order(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Templates print a tool as it stands, and clients write its keys in any order: what was
    trained in one order must not be asked in another."""
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return tool
    known = {key: function[key] for key in FUNCTION_KEYS if key in function}
    return {**tool, "function": {**known, **function}}


def _unused_mark(conversation: Conversation) -> str:
    # Marks aren't printable: repr writes each as its escape, which arguments (JSON text) may
    # also hold, in capitals too.
    try:
        text = repr(conversation).lower()
    except RecursionError:
        raise _too_deep() from None
    for mark in MARKS:
        if _escaped(mark) not in text:
            return mark
    raise errors.InvalidRequest(
        "The messages use every private-use character of Unicode; leave one out.", param="messages"
    )


def _too_deep() -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f"Tools can be nested {MAX_DEPTH} levels deep at most.", param="tools"
    )


def _escaped(mark: str) -> str:
    return f"\\u{ord(mark):04x}"
