"""Lines of preferences: two answers to the same conversation."""

import json
from typing import Any

import pytest

from tests.unit.datasets.lines import (
    ANSWER,
    CALL,
    CONTENT,
    GOOD,
    STRUCTURE,
    TOOL,
    USER,
    check,
    refuse,
)
from tunesmith.catalog import PACKAGED
from tunesmith.datasets.render import Renderer
from tunesmith.domain.chat import Conversation, Message, Role
from tunesmith.domain.examples import Format, Preference

TINY = PACKAGED / "tunesmith-tiny"
OTHER: dict[str, Any] = {"role": "assistant", "content": "Go away"}
EARLIER = [USER, ANSWER, {"role": "user", "content": "How are you?"}]


def preference(**changes: Any) -> dict[str, Any]:
    line = {
        "input": {"messages": [USER]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [OTHER],
        **changes,
    }
    return {key: value for key, value in line.items() if value is not ...}


LINE = json.dumps(preference())


def checked(line: dict[str, Any]) -> Preference:
    """The third of twelve lines."""
    lines = [LINE, LINE, json.dumps(line), *[LINE] * 9]
    content = check("\n".join(lines), formats=(Format.PREFERENCES,))[2].content
    assert isinstance(content, Preference)
    return content


def refused(line: dict[str, Any], **options: Any) -> str:
    lines = [LINE, LINE, json.dumps(line), *[LINE] * 9]
    return refuse("\n".join(lines), formats=(Format.PREFERENCES,), **options).message


def test_a_line_becomes_two_conversations_that_differ_in_the_answer() -> None:
    """Earlier answers bear no weight: only the last ones are compared."""
    found = checked(preference(input={"messages": EARLIER}))
    said = (
        Message(Role.USER, "Hello"),
        Message(Role.ASSISTANT, "Hi", weight=0.0),
        Message(Role.USER, "How are you?"),
    )
    assert [replace_weight(m) for m in found.preferred.messages[:-1]] == [
        replace_weight(m) for m in said
    ]
    assert found.preferred.messages[-1] == Message(Role.ASSISTANT, "Hi")
    assert found.other.messages[-1] == Message(Role.ASSISTANT, "Go away")
    assert found.preferred.messages[:-1] == found.other.messages[:-1]
    assert [m.weight for m in found.other.messages if m.role is Role.ASSISTANT] == [0.0, 1.0]


def replace_weight(message: Message) -> tuple[Role, str | None, float]:
    is_answer = message.role is Role.ASSISTANT
    return message.role, message.content, message.weight if is_answer else 0.0


def test_the_later_spelling_means_the_same() -> None:
    later = preference(preferred_output=..., non_preferred_output=...) | {
        "preferred_completion": [ANSWER],
        "non_preferred_completion": [OTHER],
    }
    assert checked(later) == checked(preference())


def test_tools_and_calls_are_read() -> None:
    call = {"role": "assistant", "tool_calls": [CALL]}
    found = checked(
        preference(
            input={"messages": [USER], "tools": [TOOL], "parallel_tool_calls": False},
            preferred_output=[call],
        )
    )
    assert found.preferred.tools == (TOOL,)
    assert found.preferred.parallel_tool_calls is False
    assert found.preferred.messages[-1].tool_calls[0].name == "get_weather"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"input": ...}, ' is missing key "input".'),
        ({"input": "Hello"}, ' has something else than an object in "input".'),
        ({"input": {}}, ' is missing key "messages".'),
        ({"input": {"messages": []}}, ' has no messages in "input".'),
        (
            {"input": {"messages": [USER, ANSWER]}},
            ', message 2 has an "input" that ends with an answer of the assistant.',
        ),
        (
            {"input": {"messages": [{"role": "robot", "content": "x"}]}},
            ", message 1 No match for discriminator 'role' and value 'robot'",
        ),
        ({"preferred_output": ...}, ' is missing key "preferred_output".'),
        ({"non_preferred_output": ...}, ' is missing key "non_preferred_output".'),
        ({"preferred_output": "Hi"}, ' has "preferred_output" that is not a list'),
        ({"preferred_output": []}, ' has 0 messages in "preferred_output".'),
        ({"preferred_output": [ANSWER, ANSWER]}, ' has 2 messages in "preferred_output".'),
        (
            {"non_preferred_output": [USER]},
            ' has a message in "non_preferred_output" that is not the assistant\'s.',
        ),
    ],
)
def test_wrong_form_is_refused(changes: dict[str, Any], detail: str) -> None:
    message = refused(preference(**changes))
    assert message.startswith(f"{STRUCTURE}Invalid file format. Example 3{detail}")


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"extra": 1}, 'contains an extra "extra".'),
        ({"preferred_completion": [ANSWER]}, 'contains an extra "preferred_completion".'),
        ({"input": {"messages": [USER], "n": 1}}, 'contains an extra "n".'),
        ({"preferred_output": [{**ANSWER, "weight": 1}]}, 'contains an extra "weight".'),
        (
            {"input": {"messages": [USER, {**ANSWER, "weight": 0}, USER]}},
            'contains an extra "weight".',
        ),
        ({"non_preferred_output": [ANSWER]}, "has the same answer twice."),
    ],
)
def test_wrong_content_is_refused(changes: dict[str, Any], detail: str) -> None:
    message = refused(preference(**changes))
    assert message == f"{CONTENT}Invalid file format. Example 3 {detail}"


def test_conversations_are_no_preferences_and_the_reverse() -> None:
    """Refused as the hosted service does; the note says what to do."""
    error = refuse("\n".join([GOOD] * 12), formats=(Format.PREFERENCES,))
    assert error.message == f'{STRUCTURE}Invalid file format. Example 1 is missing key "input".'
    assert "create the job without that method" in error.notes[0]
    error = refuse("\n".join([LINE] * 12))
    assert error.message == f'{STRUCTURE}Invalid file format. Example 1 is missing key "messages".'
    assert "create the job with the method 'dpo'" in error.notes[0]


def test_a_model_that_takes_no_conversations_is_not_advised_to_learn_them() -> None:
    error = refuse("\n".join([LINE] * 12), formats=(Format.COMPLETIONS,))
    assert error.message == f'{STRUCTURE}Invalid file format. Example 1 is missing key "prompt".'
    assert "create the job with a chat model" in error.notes[0]


def test_a_preference_becomes_two_rows_that_weigh_the_last_answer() -> None:
    """Both are rows of a conversation with that one answer to learn."""
    renderer = Renderer.load(TINY)
    found = checked(preference(input={"messages": EARLIER}))
    rows = renderer.rows(found, 512)
    assert len(rows) == 2
    for row, conversation in zip(rows, (found.preferred, found.other), strict=True):
        assert [row] == renderer.rows(Conversation(conversation.messages), 512)
        learned = [t for t, w in zip(row.token_ids, row.loss_weights, strict=True) if w]
        assert renderer.decode(learned).strip() == conversation.messages[-1].content
