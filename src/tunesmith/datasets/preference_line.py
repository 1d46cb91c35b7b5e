"""One line of a file of preferences: from parsed JSON to a `Preference`, or `BadLine`.

The form is OpenAI's for direct preference optimisation (behaviour reference, section 10.4): what
was said before, and two answers to it. The answers have two spellings, of 2024 and of 2025.
"""

from dataclasses import replace
from typing import Any

from tunesmith.datasets import fields
from tunesmith.datasets.chat_line import parse_message, parse_tools, refuse_results_without_call
from tunesmith.datasets.fields import Object
from tunesmith.datasets.json_lines import BadLine
from tunesmith.domain.chat import Conversation, Message, Role
from tunesmith.domain.examples import Preference

INPUT = "input"
ANSWERS = (
    ("preferred_output", "non_preferred_output"),
    ("preferred_completion", "non_preferred_completion"),
)
PREFERENCE_KEYS = (INPUT, *ANSWERS[0], *ANSWERS[1])
INPUT_KEYS = ("messages", "tools", "parallel_tool_calls")


def parse_preference(example: Object) -> Preference:
    """Raises BadLine with the first problem."""
    if INPUT not in example:
        raise BadLine(
            f'is missing key "{INPUT}".',
            'Give it an "input" with "messages", and two answers to them: "preferred_output" and '
            '"non_preferred_output".',
        )
    names = next((pair for pair in ANSWERS if any(name in example for name in pair)), ANSWERS[0])
    fields.refuse_extra_keys(example, (INPUT, *names))
    asked = _asked(fields.as_object(example[INPUT], INPUT))
    preferred, other = (_answer(example, name) for name in names)
    if preferred == other:
        raise BadLine(
            "has the same answer twice.",
            "The preferred and the other answer must differ: there is nothing to prefer.",
            is_content=True,
        )
    return Preference(
        replace(asked, messages=(*asked.messages, preferred)),
        replace(asked, messages=(*asked.messages, other)),
    )


def _asked(value: Object) -> Conversation:
    fields.refuse_extra_keys(value, INPUT_KEYS)
    messages = fields.required(value, "messages", list, "a list")
    if not messages:
        raise BadLine('has no messages in "input".', "Give it at least one message.")
    tools = parse_tools(value)
    parsed = tuple(_unweighted(message, number) for number, message in enumerate(messages, 1))
    if parsed[-1].role is Role.ASSISTANT:
        raise BadLine(
            'has an "input" that ends with an answer of the assistant.',
            "End it with what the two answers answer; the answers stand beside it.",
            message=len(parsed),
        )
    refuse_results_without_call(parsed)
    is_parallel = fields.optional(value, "parallel_tool_calls", bool, "true or false")
    return Conversation(parsed, tools, True if is_parallel is None else is_parallel)


def _answer(example: Object, name: str) -> Message:
    messages = fields.required(example, name, list, "a list with one message")
    if len(messages) != 1:
        raise BadLine(
            f'has {len(messages)} messages in "{name}".',
            f'Give "{name}" exactly one message, of the assistant.',
        )
    answer = replace(_unweighted(messages[0], None), weight=1.0)
    if answer.role is not Role.ASSISTANT:
        raise BadLine(
            f'has a message in "{name}" that is not the assistant\'s.',
            f'Give the message in "{name}" the role "assistant".',
        )
    return answer


def _unweighted(message: Any, number: int | None) -> Message:
    """Only the last answer is compared, so a weight would say nothing."""
    parsed = parse_message(message, number)
    if "weight" in message:
        raise BadLine(
            'contains an extra "weight".',
            'Leave out the key "weight": of a preference, the last answers alone are compared.',
            message=number,
            is_content=True,
        )
    return replace(parsed, weight=0.0)
