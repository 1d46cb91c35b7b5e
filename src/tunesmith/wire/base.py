"""What all wire types share: how strict requests are, and how replies and lists look."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError

from tunesmith.domain.pages import Page

T = TypeVar("T", bound=BaseModel)
Item = TypeVar("Item")

# Long enough for any id or model name; keeps texts that repeat it short.
Name = Annotated[str, Field(max_length=512)]
Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[str, Field(max_length=512)],
    ],
    Field(max_length=16),
]


class Request(BaseModel):
    """Something a client sends. Unknown keys, wrong types and non-finite numbers are refused."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )


def at_most(max_length: int) -> BeforeValidator:
    """For a list of models: refuses a longer one before any of its items is looked at. Pydantic's
    own `max_length` refuses it when all of them have been made, 17 µs each."""

    def refuse_longer(value: Any) -> Any:  # Any: nothing is checked yet
        if isinstance(value, list) and len(value) > max_length:
            raise PydanticKnownError(
                "too_long",
                {"field_type": "List", "max_length": max_length, "actual_length": len(value)},
            )
        return value

    return BeforeValidator(refuse_longer)


class Reply(BaseModel):
    """Something we send."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class ListReply(Reply, Generic[T]):
    """A page of a list whose clients go on by the id of its last item."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool


class IdentifiedListReply(ListReply[T], Generic[T]):
    """A page that also says which ids it begins and ends with; null on an empty page."""

    first_id: str | None = None
    last_id: str | None = None

    @classmethod
    def of(cls, items: list[T], ids: list[str], has_more: bool) -> Self:
        first, last = (ids[0], ids[-1]) if ids else (None, None)
        return cls(data=items, has_more=has_more, first_id=first, last_id=last)


class Identified(Protocol):
    """A reply that a list may begin or end with."""

    @property
    def id(self) -> str: ...

    def model_dump_json(self) -> str: ...


def list_json(
    parts: Iterable[Page[Item]], reply: Callable[[Item], Identified], *, tells_ends: bool = False
) -> Iterator[bytes]:
    """A `ListReply`, or with `tells_ends` an `IdentifiedListReply`, written part by part: it may be
    too long to be held whole."""
    ids: list[str] = []  # the first and the last
    has_more = False
    before = '{"object":"list","data":['
    for part in parts:
        replies = [reply(item) for item in part.items]
        if replies:
            yield (before + ",".join(one.model_dump_json() for one in replies)).encode()
            ids = [ids[0] if ids else replies[0].id, replies[-1].id]
            before = ","
        has_more = part.has_more
    rest: dict[str, Any] = {"has_more": has_more}
    if tells_ends:
        rest |= {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    yield f"{'' if ids else before}],{json.dumps(rest)[1:]}".encode()


class DeletedReply(Reply):
    id: str
    object: str
    deleted: bool = True


def unix_seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def unix_seconds_or_none(moment: datetime | None) -> int | None:
    return None if moment is None else unix_seconds(moment)


def is_none(value: object) -> bool:
    """For `Field(exclude_if=…)`: the key is left out instead of sent as null."""
    return value is None
