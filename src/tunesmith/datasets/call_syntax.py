"""How a model writes calls of functions, read off its chat template.

A template shows calls that were made in the words in which the model makes them, so a message
with known calls shows what comes before a name, between a name and its arguments, and so on:

    <tool_call>\\n{"name": "  f  ", "arguments":   {"a": 1}  }\\n</tool_call>
    opening                  name  middle         arguments  closing

What was found is tried on other calls. A template that writes more than that, such as the call's
id, or that writes arguments otherwise than as JSON, isn't understood.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from tunesmith.domain import errors
from tunesmith.domain.chat import Conversation, Message, Role, ToolCall

# What an assistant writes as the last message of a conversation; None if it can't be rendered.
Write = Callable[[Conversation], str | None]

QUESTION = Message(Role.USER, "Hello")
SAID = "Good morning"
FIRST = ToolCall("call_1", "first_probe", json.dumps({"first key": "a value"}))
OTHER = ToolCall("call_22", "other-Probe2", json.dumps({"n": [1, {"x": None}], "é": '"{'}))
TOOLS = tuple(
    {
        "type": "function",
        "function": {"name": call.name, "parameters": {"type": "object", "properties": {}}},
    }
    for call in (FIRST, OTHER)
)


@dataclass(frozen=True)
class CallSyntax:
    opening: str  # before a name
    middle: str  # between a name and its arguments
    closing: str  # behind the arguments
    separator: str | None  # between one call's closing and the next one's opening; None: one call
    lead: str | None  # between a text and the first call; None: no text stands before calls

    def written(self, call: ToolCall) -> str:
        arguments = json.dumps(json.loads(call.arguments), ensure_ascii=False)
        return self.opening + call.name + self.middle + arguments + self.closing


def find_call_syntax(write: Write) -> CallSyntax | None:
    """None if the template writes no calls, or in a way that isn't understood."""
    one = _written(write, None, FIRST)
    if one is None:
        return None
    opening, found, rest = one.partition(FIRST.name)
    middle, found_too, closing = rest.partition(FIRST.arguments)
    if not (found and found_too and opening):
        return None
    syntax = CallSyntax(opening, middle, closing, separator=None, lead=None)
    if _written(write, None, OTHER) != syntax.written(OTHER):
        return None
    return CallSyntax(
        opening, middle, closing, _separator(write, syntax), _lead(write, syntax.written(FIRST))
    )


def _separator(write: Write, syntax: CallSyntax) -> str | None:
    both = _written(write, None, FIRST, OTHER)
    first, other = syntax.written(FIRST), syntax.written(OTHER)
    if both is None or not (both.startswith(first) and both.endswith(other)):
        return None
    separator = both[len(first) : len(both) - len(other)]
    return separator if first + separator + other == both else None


def _lead(write: Write, first: str) -> str | None:
    written = _written(write, SAID, FIRST)
    if written is None or not (written.startswith(SAID) and written.endswith(first)):
        return None
    return written[len(SAID) : len(written) - len(first)]


def _written(write: Write, text: str | None, *calls: ToolCall) -> str | None:
    """Up to where an answer that is only text would end, too."""
    message = Message(Role.ASSISTANT, text, tool_calls=calls)
    return write(Conversation((QUESTION, message), TOOLS))


def shows_tools(prompt: Callable[[Conversation], str]) -> bool:
    """Whether the template tells a model which tools there are."""
    try:
        return FIRST.name in prompt(Conversation((QUESTION,), TOOLS))
    except errors.InvalidRequest:
        return False
