"""No field of a chat request is forgotten: the official SDK's types are the list."""

import typing

from openai.types.chat import completion_create_params as official

from tunesmith.wire.chat import NEVER, ChatRequest


def test_a_request_has_the_fields_that_the_sdk_sends_and_no_others() -> None:
    kinds = (
        official.CompletionCreateParamsNonStreaming,
        official.CompletionCreateParamsStreaming,
    )
    fields = {name for kind in kinds for name in typing.get_type_hints(kind)}
    assert ChatRequest.model_fields.keys() == fields


def test_fields_that_are_refused_are_fields() -> None:
    assert NEVER.keys() <= ChatRequest.model_fields.keys()
