"""Stored chat completions on the wire (behaviour reference, section 15.4).

They are written once as JSON and passed on as they are: what a later version adds to replies is
then simply not in the older ones.
"""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from tunesmith.domain.pages import Page
from tunesmith.domain.stored_completions import StoredCompletion, StoredMessage
from tunesmith.wire.base import DeletedReply, IdentifiedListReply, Metadata, Reply, Request, is_none
from tunesmith.wire.chat import ChatRequest
from tunesmith.wire.chat_messages import ChatMessage, text_of
from tunesmith.wire.chat_replies import ChatReply
from tunesmith.wire.generation import Json

# What is told of the request, by the names that it has there.
UNLESS_ASKED: Json = {
    "seed": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "response_format": None,
    "tools": None,
    "tool_choice": None,
}


class UpdateCompletionRequest(Request):
    metadata: Metadata | None  # null: none


class StoredCompletionReply(ChatReply):
    """The reply that the client got, and what it had asked for beside the messages."""

    request_id: str
    input_user: str | None
    seed: int | None
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    response_format: Json | None
    tools: list[Json] | None
    tool_choice: str | Json | None
    metadata: dict[str, str]


class StoredMessageReply(Reply):
    id: str
    role: str
    content: str | None
    refusal: str | None
    name: str | None
    content_parts: list[Json] | None  # the content as it was sent, if that was in parts
    # Only there where they were sent, of a message whose role has them.
    tool_calls: list[Json] | None = Field(default=None, exclude_if=is_none)
    tool_call_id: str | None = Field(default=None, exclude_if=is_none)
    function_call: Json | None = Field(default=None, exclude_if=is_none)
    annotations: list[Any] | None = Field(default=None, exclude_if=is_none)


class StoredCompletionListReply(IdentifiedListReply[StoredCompletionReply]):
    pass


class StoredMessageListReply(IdentifiedListReply[StoredMessageReply]):
    pass


def to_stored_reply(request: ChatRequest, reply: ChatReply, request_id: str) -> str:
    asked = request.model_dump(
        mode="json", by_alias=True, include=set(UNLESS_ASKED), exclude_none=True, exclude_unset=True
    )
    stored = StoredCompletionReply(
        **dict(reply),
        **{**UNLESS_ASKED, **asked},
        request_id=request_id,
        input_user=request.user,
        metadata={},
    )
    return stored.model_dump_json(exclude={"metadata"})


def to_stored_messages(completion_id: str, messages: Sequence[ChatMessage]) -> list[StoredMessage]:
    return [
        StoredMessage(
            id=f"{completion_id}-{number}",
            completion_id=completion_id,
            number=number,
            content=_message_content(message),
        )
        for number, message in enumerate(messages)
    ]


def stored_completion_reply(completion: StoredCompletion) -> Json:
    return {**json.loads(completion.reply), "metadata": dict(completion.metadata)}


def stored_completion_list_reply(page: Page[StoredCompletion]) -> Json:
    items = [stored_completion_reply(completion) for completion in page.items]
    return _list_reply(items, page.has_more)


def stored_message_list_reply(page: Page[StoredMessage]) -> Json:
    items = [{"id": message.id, **json.loads(message.content)} for message in page.items]
    return _list_reply(items, page.has_more)


def completion_deleted_reply(completion_id: str) -> DeletedReply:
    return DeletedReply(id=completion_id, object="chat.completion.deleted")


def _message_content(message: ChatMessage) -> str:
    sent = message.model_dump(mode="json", by_alias=True, exclude_none=True)
    parts = sent["content"] if isinstance(sent.get("content"), list) else None
    refusals = [part["refusal"] for part in parts or () if part["type"] == "refusal"]
    shown = {
        "name": None,
        **sent,
        "content": None if refusals else text_of(message.content),
        "refusal": refusals[0] if refusals else sent.get("refusal"),
        "content_parts": None if refusals else parts,
    }
    return StoredMessageReply(id="", **shown).model_dump_json(exclude={"id"})


def _list_reply(items: list[Json], has_more: bool) -> Json:
    ids = [item["id"] for item in items]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    head = {"object": "list", "first_id": first, "last_id": last, "has_more": has_more}
    return {**head, "data": items}
