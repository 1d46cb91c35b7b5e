"""The messages of a chat request."""

from typing import Any

from tests.contract.conformance.effects import all_of, reads
from tests.contract.conformance.rows import Row, no_effect, refused, works

HINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}
CALL = {"name": "f", "arguments": '{"a":1}'}
LONGER_ARGUMENTS = '{"a":12345}'
CONVERSATION: list[Any] = [
    {"role": "developer", "content": [{"type": "text", "text": "be kind", **HINT}], "name": "d"},
    {"role": "system", "content": [{"type": "text", "text": "be brief", **HINT}], "name": "s"},
    {"role": "user", "content": [{"type": "text", "text": "hello", **HINT}], "name": "u"},
    {"role": "assistant", "content": [{"type": "text", "text": "hi", **HINT}], "name": "a"},
    {"role": "user", "content": "what is it?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": CALL}],
    },
    {
        "role": "tool",
        "content": [{"type": "text", "text": "cold", **HINT}],
        "tool_call_id": "call_1",
    },
    {"role": "assistant", "content": None, "function_call": CALL},
    {"role": "function", "content": "warm", "name": "f"},
    {"role": "user", "content": "and?"},
]
SENT = {"messages": CONVERSATION}
NO_SUCH_CALL = [
    *CONVERSATION[:6],
    {**CONVERSATION[6], "tool_call_id": "call_2"},
    *CONVERSATION[7:],
]


def text(role: str) -> Row:
    """Content of a role that has parts of one kind."""
    content = f"messages[{role}].content"
    return works(
        f"messages[{role}]",
        content,
        f"{content}[].type",
        f"{content}[].text",
        text="a text, or parts, which are joined as they are",
        sends=SENT,
        sees=reads(f"{content}[].text"),
    )


def hint(part: str) -> Row:
    return no_effect(
        f"{part}.prompt_cache_breakpoint",
        f"{part}.prompt_cache_breakpoint.mode",
        text="a hint: the cache finds beginnings that it knows by itself",
        sends=SENT,
    )


def name(role: str) -> Row:
    return no_effect(
        f"messages[{role}].name",
        text="goes to the model's chat template, and few of those show it",
        sends=SENT,
    )


def other_medium(kind: str, what: object) -> Row:
    part = {"type": kind, kind: what}
    return refused(
        f"messages[user].content[{kind}]",
        text="the models here read text only",
        sends={"messages": [{"role": "user", "content": [part]}]},
        param="messages[0].content[0]",
        code="invalid_value",
    )


def assistant(**fields: Any) -> list[Any]:
    user = {"role": "user", "content": "hello"}
    return [user, {"role": "assistant", **fields}, user]


CALLS = "messages[assistant].tool_calls"
FUNCTION_CALL = "messages[assistant].function_call"

MESSAGES = (
    works(
        "messages",
        "messages[].role",
        text="1 to 2048; each tool call must be answered before anything else is said",
        sends=SENT,
        sees=lambda seen: seen.is_refused("messages", messages=[]),
    ),
    text("developer"),
    hint("messages[developer].content[]"),
    name("developer"),
    text("system"),
    hint("messages[system].content[]"),
    name("system"),
    works(
        "messages[user]",
        "messages[user].content",
        "messages[user].content[].type",
        "messages[user].content[text]",
        "messages[user].content[text].text",
        text="a text, or parts, which are joined as they are",
        sends=SENT,
        sees=reads("messages[user].content[text].text"),
    ),
    hint("messages[user].content[text]"),
    other_medium("image_url", {"url": "data:image/png;base64,AA=="}),
    other_medium("input_audio", {"data": "AA==", "format": "wav"}),
    other_medium("file", {"file_id": "file-1"}),
    name("user"),
    works(
        "messages[assistant]",
        "messages[assistant].content",
        "messages[assistant].content[].type",
        "messages[assistant].content[text]",
        "messages[assistant].content[text].text",
        text="a text, or parts, which are joined as they are",
        sends=SENT,
        sees=reads("messages[assistant].content[text].text"),
    ),
    hint("messages[assistant].content[text]"),
    works(
        "messages[assistant].content[refusal]",
        "messages[assistant].content[refusal].refusal",
        text="alone; the model reads it as what was said",
        sends={"messages": assistant(content=[{"type": "refusal", "refusal": "no"}])},
        sees=reads("messages[assistant].content[refusal].refusal"),
    ),
    works(
        "messages[assistant].refusal",
        text="in place of content; the model reads it as what was said",
        sends={"messages": assistant(refusal="no")},
        sees=reads("messages[assistant].refusal"),
    ),
    name("assistant"),
    refused(
        "messages[assistant].audio",
        text="the models here can't hear it; send its transcript as content",
        sends={"messages": assistant(audio={"id": "audio_1"})},
        param="messages[1].audio",
        code="unsupported_parameter",
    ),
    works(
        CALLS,
        f"{CALLS}[].type",
        f"{CALLS}[function]",
        f"{CALLS}[function].function",
        f"{CALLS}[function].function.name",
        f"{CALLS}[function].function.arguments",
        text="calls of functions, as earlier answers had them",
        sends=SENT,
        sees=all_of(
            reads(f"{CALLS}[function].function.name"),
            reads(f"{CALLS}[function].function.arguments", LONGER_ARGUMENTS),
        ),
    ),
    works(
        f"{CALLS}[function].id",
        "messages[tool].tool_call_id",
        text="an answer belongs to a call that was made",
        sends=SENT,
        sees=lambda seen: seen.is_refused("messages[6].role", messages=NO_SUCH_CALL),
    ),
    refused(
        f"{CALLS}[custom]",
        text="functions only",
        sends={
            "messages": assistant(
                tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}]
            )
        },
        param="messages[1].tool_calls[0].type",
        code="invalid_value",
    ),
    works(
        FUNCTION_CALL,
        f"{FUNCTION_CALL}.name",
        f"{FUNCTION_CALL}.arguments",
        text="deprecated; a call without an id",
        sends=SENT,
        sees=all_of(
            reads(f"{FUNCTION_CALL}.name"), reads(f"{FUNCTION_CALL}.arguments", LONGER_ARGUMENTS)
        ),
    ),
    text("tool"),
    hint("messages[tool].content[]"),
    works(
        "messages[function]",
        "messages[function].content",
        text="deprecated; what the function answered",
        sends=SENT,
        sees=reads("messages[function].content"),
    ),
    no_effect(
        "messages[function].name",
        text="required; goes to the chat template, as other messages' names do",
        sends=SENT,
        sees=lambda seen: seen.text == seen.with_(messages=_named("g")).text,
    ),
)


def _named(name: str) -> list[Any]:
    """The conversation with another function's name in its answer."""
    return [{**item, "name": name} if item["role"] == "function" else item for item in CONVERSATION]
