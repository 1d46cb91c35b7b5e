"""The form of a chat example: what is understood, and what is refused with which words."""

from typing import Any

import pytest

from tests.unit.datasets.lines import (
    ANSWER,
    CALL,
    EXTRA,
    FORM,
    TOOL,
    USER,
    conversation_of,
    example,
    expect_refusal,
    with_third_line,
)
from tunesmith.domain.chat import Message, Role, ToolCall


def test_weights_are_kept() -> None:
    messages = conversation_of(
        example(USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1.0}, USER, ANSWER)
    ).messages
    assert [message.weight for message in messages if message.role is Role.ASSISTANT] == [0, 1, 1]


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    messages = conversation_of(example({"role": "user", "content": parts}, ANSWER)).messages
    assert messages[0] == Message(Role.USER, "Hello")


def test_calls_and_results_are_understood() -> None:
    line = example(
        {"role": "developer", "content": "Be brief", "name": "boss"},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "Sunny.", "tool_calls": None, "name": None},
        tools=[TOOL],
        parallel_tool_calls=False,
    )
    conversation = conversation_of(line)
    assert conversation.messages == (
        Message(Role.DEVELOPER, "Be brief", name="boss"),
        Message(Role.USER, "Hello"),
        Message(
            Role.ASSISTANT,
            None,
            tool_calls=(ToolCall("call_1", "get_weather", '{"city": "Oslo"}'),),
        ),
        Message(Role.TOOL, "sunny", tool_call_id="call_1"),
        Message(Role.ASSISTANT, "Sunny."),
    )
    assert conversation.tools == (TOOL,)
    assert not conversation.parallel_tool_calls


def test_deprecated_functions_become_tools() -> None:
    line = example(
        USER,
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "function", "name": "get_weather", "content": "sunny"},
        ANSWER,
        functions=[TOOL["function"]],
    )
    conversation = conversation_of(line)
    assert conversation.tools == (TOOL,)
    assert conversation.messages[1].tool_calls == (ToolCall("", "get_weather", '{"city": "Oslo"}'),)
    assert conversation.messages[2] == Message(Role.FUNCTION, "sunny", name="get_weather")


def test_a_refusal_is_learned_like_content() -> None:
    line = example(USER, {"role": "assistant", "content": None, "refusal": "I can't."})
    assert conversation_of(line).messages[1].content == "I can't."


@pytest.mark.parametrize(
    "content", ["", " \n", "<|im_end|><|endoftext|>", "\x00", "\u2028 \u2029", "🙂" * 1000]
)
def test_any_text_is_content(content: str) -> None:
    messages = conversation_of(example({"role": "user", "content": content}, ANSWER)).messages
    assert messages[0].content == content


def test_a_conversation_may_begin_with_the_assistant_and_end_with_the_user() -> None:
    assert len(conversation_of(example(ANSWER, ANSWER, USER, USER)).messages) == 4


def test_a_result_may_come_long_after_its_call() -> None:
    call = {"role": "assistant", "tool_calls": [CALL]}
    result = {"role": "tool", "content": "sunny", "tool_call_id": CALL["id"]}
    assert len(conversation_of(example(USER, call, USER, ANSWER, result, ANSWER)).messages) == 6


ROLES = "'assistant', 'developer', 'function', 'system', 'tool', 'user'"

# The line, what the hosted service says after "Example 3", the code, what we advise.
BAD_EXAMPLES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "no messages": ({"prompt": 1}, ' is missing key "messages".', FORM, '"messages"'),
    "messages no list": (
        {"messages": {"role": "user"}},
        ' has "messages" that is not a list.',
        FORM,
        '"messages" must be a list, not {"role": "user"}.',
    ),
    "empty messages": ({"messages": []}, ' has no messages in "messages".', FORM, "one message"),
    "null messages": ({"messages": None}, ' has no messages in "messages".', FORM, "one message"),
    "extra key": (example(id=7), ' contains an extra "id".', EXTRA, 'Leave out the key "id"'),
    "no assistant": (
        example(USER),
        " must have at least one message from the assistant.",
        FORM,
        "Add the assistant's answer",
    ),
    "parallel_tool_calls": (
        example(parallel_tool_calls="yes"),
        ' has "parallel_tool_calls" that is not true or false.',
        FORM,
        'must be true or false, not "yes"',
    ),
    "tools no list": (example(tools=TOOL), ' has "tools" that is not a list.', FORM, "a list"),
    "tool no object": (
        example(tools=["get_weather"]),
        ' has something else than an object in "tools".',
        FORM,
        'not "get_weather"',
    ),
    "tool of another type": (
        example(tools=[{"type": "web_search"}]),
        ' has an item of "tools" whose "type" is not "function".',
        FORM,
        "there are no others",
    ),
    "tool without function": (
        example(tools=[{"type": "function"}]),
        ' has something else than an object in "functions".',
        FORM,
        "An object is expected",
    ),
    "function without name": (
        example(tools=[{"type": "function", "function": {}}]),
        ' is missing key "name".',
        FORM,
        'Add the key "name"',
    ),
    "function with a bad name": (
        example(functions=[{"name": "get weather"}]),
        ' has a function named "get weather".',
        EXTRA,
        "1 to 64 letters",
    ),
    "parameters no object": (
        example(functions=[{"name": "f", "parameters": "none"}]),
        ' has "parameters" that is not an object.',
        FORM,
        'must be an object, not "none"',
    ),
    "extra key of a function": (
        example(functions=[{"name": "f", "body": "x"}]),
        ' contains an extra "body".',
        EXTRA,
        "name, description, parameters, strict",
    ),
    "no functions": (
        example(functions=[]),
        ' has 0 items in "functions".',
        FORM,
        'leave "functions" out',
    ),
    "too many functions": (
        example(functions=[{"name": "f"}] * 129),
        ' has 129 items in "functions".',
        FORM,
        "128 at most",
    ),
}

BAD_MESSAGES: dict[str, tuple[Any, str, str, str]] = {
    "no role": (
        {"content": "x"},
        ", message 2 Discriminator 'role' is missing in value",
        FORM,
        'Give the message a "role"',
    ),
    "text instead of a message": (
        "Hello",
        ", message 2 Unable to extract tag using discriminator 'role'",
        EXTRA,
        'not "Hello"',
    ),
    "unknown role": (
        {"role": "bot", "content": "x"},
        f", message 2 No match for discriminator 'role' and value 'bot' (allowed values: {ROLES})",
        FORM,
        "The role 'bot' isn't known",
    ),
    "role no text": (
        {"role": ["user"], "content": "x"},
        f", message 2 No match for discriminator 'role' and value ['user'] "
        f"(allowed values: {ROLES})",
        FORM,
        "isn't known",
    ),
    "role null": (
        {"role": None, "content": "x"},
        f", message 2 No match for discriminator 'role' and value null (allowed values: {ROLES})",
        FORM,
        "isn't known",
    ),
    "no content": (
        {"role": "user"},
        ', message 2 is missing key "content".',
        FORM,
        'Add the key "content"',
    ),
    "content null": (
        {"role": "system", "content": None},
        ', message 2 has "content" that is not text.',
        FORM,
        '"content" must be text, not null.',
    ),
    "content a number": (
        {"role": "user", "content": 7},
        ', message 2 has "content" that is not text.',
        FORM,
        "not 7",
    ),
    "assistant without content": (
        {"role": "assistant"},
        ', message 2 is missing key "content".',
        FORM,
        "content",
    ),
    "assistant with null content": (
        {"role": "assistant", "content": None, "tool_calls": []},
        ', message 2 has "content" that is not text.',
        FORM,
        "not null",
    ),
    "no parts": (
        {"role": "user", "content": []},
        ', message 2 has no parts in "content".',
        FORM,
        "at least one part",
    ),
    "part without type": (
        {"role": "user", "content": ["Hello"]},
        ', message 2 has a part of "content" without a type.',
        FORM,
        '{"type": "text"',
    ),
    "image": (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        ', message 2 has a part of "content" of type "image_url".',
        EXTRA,
        "reads text only",
    ),
    "part without text": (
        {"role": "user", "content": [{"type": "text"}]},
        ', message 2 is missing key "text".',
        FORM,
        "text",
    ),
    # As the hosted service words it, without the message; the advice names it.
    "extra key": (
        {"role": "user", "content": "x", "weight": 1},
        ' contains an extra "weight".',
        EXTRA,
        "Line 3, message 2: Leave out",
    ),
    "weight out of range": (
        {**ANSWER, "weight": 0.5},
        ', message 2 has a "weight" of 0.5, but it must be 0 or 1.',
        EXTRA,
        "Use 1 to learn",
    ),
    "weight true": (
        {**ANSWER, "weight": True},
        ', message 2 has a "weight" of true, but it must be 0 or 1.',
        EXTRA,
        "Use 1 to learn",
    ),
    "name no text": (
        {**USER, "name": 7},
        ', message 2 has "name" that is not text.',
        FORM,
        "not 7",
    ),
    "tool result without id": (
        {"role": "tool", "content": "x"},
        ', message 2 is missing key "tool_call_id".',
        FORM,
        "tool_call_id",
    ),
    "function result without name": (
        {"role": "function", "content": "x"},
        ', message 2 is missing key "name".',
        FORM,
        "name",
    ),
    "result of no call": (
        {"role": "tool", "content": "x", "tool_call_id": "call_9"},
        ', message 2 has a "tool_call_id" of "call_9", which no call before it has.',
        EXTRA,
        'the "id" of the tool call',
    ),
    "content and refusal": (
        {**ANSWER, "refusal": "No."},
        ', message 2 has both "content" and "refusal".',
        FORM,
        "leave one out",
    ),
    "called function with a bad name": (
        {"role": "assistant", "function_call": {"name": "a b", "arguments": "{}"}},
        ', message 2 has a function named "a b".',
        EXTRA,
        "1 to 64 letters",
    ),
    "call without id": (
        {"role": "assistant", "tool_calls": [{**CALL, "id": None}]},
        ', message 2 has "id" that is not text.',
        FORM,
        "not null",
    ),
    "call of another type": (
        {"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]},
        ', message 2 has an item of "tool_calls" whose "type" is not "function".',
        FORM,
        "no others",
    ),
    "call no object": (
        {"role": "assistant", "tool_calls": ["f"]},
        ', message 2 has something else than an object in "tool_calls".',
        FORM,
        'not "f"',
    ),
    "arguments an object": (
        {"role": "assistant", "function_call": {"name": "f", "arguments": {"a": 1}}},
        ', message 2 has "arguments" that is not text that holds JSON.',
        FORM,
        'not {"a": 1}',
    ),
}


@pytest.mark.parametrize("case", BAD_EXAMPLES.values(), ids=BAD_EXAMPLES)
def test_an_example_of_the_wrong_form_is_refused(case: tuple[Any, str, str, str]) -> None:
    line, detail, code, advice = case
    expect_refusal(with_third_line(line), detail, code, advice)


@pytest.mark.parametrize("case", BAD_MESSAGES.values(), ids=BAD_MESSAGES)
def test_a_message_of_the_wrong_form_is_refused(case: tuple[Any, str, str, str]) -> None:
    message, detail, code, advice = case
    expect_refusal(with_third_line(example(USER, message, ANSWER)), detail, code, advice)
