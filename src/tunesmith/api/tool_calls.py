"""Calls of functions in chat answers: how the engine is to write them, and how clients read them.

    ToolUse + the template's syntax → Calling → Tagged → the engine's text → Answer

Each choice's text becomes a message, or the deltas of a stream, by an `Answer` of its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tunesmith.datasets.call_reader import Argued, Called, CallReader, Part, Said
from tunesmith.domain import errors
from tunesmith.domain.generation import FinishReason
from tunesmith.domain.tagged import Tag, Tagged, Text
from tunesmith.wire.chat_replies import CalledFunctionReply, ReplyMessage, ToolCallReply
from tunesmith.wire.generation import Json
from tunesmith.wire.tools import Era, ToolUse

if TYPE_CHECKING:
    from tunesmith.datasets.call_syntax import CallSyntax
    from tunesmith.datasets.render import Renderer

BEGINNING: Json = {"role": "assistant", "content": "", "refusal": None}


@dataclass(frozen=True)
class Calling:
    """How calls are written in the answers to one request, and told to its client."""

    use: ToolUse
    syntax: "CallSyntax"
    begins_apart: bool  # with a control token, which no other text has
    new_id: Callable[[], str]
    _ids: dict[tuple[int, int], str] = field(default_factory=dict)

    @classmethod
    def of(cls, use: ToolUse, renderer: "Renderer", new_id: Callable[[], str]) -> Self:
        """Raises InvalidRequest if the renderer's model can't call functions."""
        syntax = renderer.call_syntax
        if syntax is None:
            raise errors.InvalidRequest(
                "This model can't call functions: its chat template doesn't show it any, or writes "
                "calls in a way that this service doesn't understand. Leave out 'tools', or use a "
                "model whose template has them.",
                param=use.era.value,
                code="unsupported_parameter",
            )
        places = [start for start, _, _ in renderer.control_tokens(syntax.opening)]
        return cls(use, syntax, places[:1] == [0], new_id)

    def tagged(self, json_schema: str | None) -> Tagged:
        """What the engine may write. `json_schema`: of an answer that is no call. Raises
        InvalidRequest if the two couldn't be told apart."""
        syntax, may_answer = self.syntax, not self.use.must_call
        if may_answer and json_schema is not None and not self.begins_apart:
            raise errors.InvalidRequest(
                "This model writes its calls as bare JSON, which couldn't be told from an answer "
                "in JSON. Leave out 'response_format', or set 'tool_choice' to 'required' or "
                "'none'.",
                param="response_format",
                code="invalid_parameter_combination",
            )
        text = Text.NOWHERE
        if may_answer and json_schema is None:
            text = Text.INSTEAD if syntax.lead is None else Text.BEFORE
        return Tagged(
            tags=tuple(
                Tag(syntax.opening + each.name + syntax.middle, each.json_schema, syntax.closing)
                for each in self.use.functions
            ),
            trigger=syntax.opening,
            text=text,
            json_schema=json_schema if may_answer else None,
            separator=None if text is Text.BEFORE else syntax.separator,
            is_single=self.use.is_single or syntax.separator is None,
        )

    def id(self, index: int, number: int) -> str:
        """Of a choice's call: the same in a stream and in what is stored of it."""
        return self._ids.setdefault((index, number), self.new_id())


class Answer:
    """One choice's answer, as its text comes in."""

    def __init__(self, index: int, calling: Calling | None) -> None:
        self._index = index
        self._calling = calling
        self._reader = CallReader(calling.syntax) if calling else None
        self._has_begun = False
        self._text: list[str] = []
        self._calls: list[tuple[str, list[str]]] = []  # name, pieces of arguments

    def add(self, text: str, *, is_end: bool) -> list[Json]:
        """The deltas of a stream that it makes."""
        return list(self._deltas(self._parts(text, is_end)))

    def message(self) -> ReplyMessage:
        text = "".join(self._text)
        if self._calling is None or not self._calls:
            return ReplyMessage(content=text)
        calls = [
            CalledFunctionReply(name=name, arguments="".join(pieces))
            for name, pieces in self._calls
        ]
        if self._calling.use.era is Era.FUNCTIONS:
            return ReplyMessage(content=text or None, function_call=calls[0])
        return ReplyMessage(
            content=text or None,
            tool_calls=[
                ToolCallReply(id=self._calling.id(self._index, number), function=call)
                for number, call in enumerate(calls)
            ],
        )

    def reason(self, reason: FinishReason) -> str:
        """Why it ended, in the client's words (behaviour reference, section 15.2)."""
        if self._calling is None or not self._calls or reason is FinishReason.LENGTH:
            return reason.value
        if self._calling.use.is_named:
            return FinishReason.STOP.value
        return "tool_calls" if self._calling.use.era is Era.TOOLS else "function_call"

    def _parts(self, text: str, is_end: bool) -> list[Part]:
        if self._reader is None:
            return [Said(text)] if text else []
        parts = self._reader.add(text)
        return [*parts, *self._reader.finish()] if is_end else parts

    def _deltas(self, parts: list[Part]) -> Iterator[Json]:
        for part in parts:
            match part:
                case Said(text):
                    yield from self._beginning()
                    self._text.append(text)
                    yield {"content": text}
                case Called(name):
                    self._calls.append((name, []))
                    yield self._called(name)
                case Argued(text):
                    self._calls[-1][1].append(text)
                    yield self._argued({"arguments": text})

    def _beginning(self) -> Iterator[Json]:
        if not self._has_begun:
            self._has_begun = True
            yield BEGINNING

    def _called(self, name: str) -> Json:
        """Where nothing was said, a call is the beginning of the message."""
        begin = {} if self._has_begun else {**BEGINNING, "content": None}
        self._has_begun = True
        return {**begin, **self._argued({"name": name, "arguments": ""}, is_new=True)}

    def _argued(self, function: Json, *, is_new: bool = False) -> Json:
        assert self._calling is not None, "only a reader finds calls"
        if self._calling.use.era is Era.FUNCTIONS:
            return {"function_call": function}
        number = len(self._calls) - 1
        head = {"id": self._calling.id(self._index, number), "type": "function"} if is_new else {}
        return {"tool_calls": [{"index": number, **head, "function": function}]}

    def end(self) -> list[Json]:
        """The delta of a message that says nothing: it begins all the same."""
        return list(self._beginning())
