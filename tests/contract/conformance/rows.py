"""What a row of the conformance table is made of.

Each row says of some fields of one operation what becomes of them here, and carries the request
that proves it. The tests send those requests (`tests/api/test_conformance.py`), the page is
written from the same rows (`page.py`).

Texts in braces stand for things that the tests make, each time anew: `{file}`, `{running job}`.
`tests/api/world.py` makes them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

Json = dict[str, Any]


class Status(StrEnum):
    WORKS = "works"
    NO_EFFECT = "without effect"
    REFUSED = "refused"


class Seen(Protocol):
    """An answered request, and what else can be asked about it."""

    sent: Json  # the fields as they were sent, nothing in braces any more
    reply: Any  # the body; of a stream, the list of its events

    @property
    def text(self) -> str:
        """Of the first choice."""

    def without(self, *names: str) -> "Seen":
        """The same request, but for these of its top-level fields."""

    def with_(self, **changes: Any) -> "Seen":
        """The same request with other fields. It must be taken, too."""

    def is_refused(self, param: str | None, **changes: Any) -> bool:
        """Whether the same request with other fields is a 400 about `param`."""

    def get(self, path: str, **query: Any) -> Any:
        """The body of another answer."""

    def post(self, path: str, **body: Any) -> Any:
        """The body of another answer."""

    def post_form(self, path: str, **parts: str) -> Any:
        """The body of another answer."""


Effect = Callable[[Seen], object]  # true if the field did what it is for


@dataclass(frozen=True)
class Row:
    """`fields`: paths as `description.py` writes them; `path=value` is about one value of a field
    that is otherwise treated differently. A refused field is refused with all that is below it."""

    fields: tuple[str, ...]
    status: Status
    text: str  # what it does, or why it does nothing, or why it is refused
    sends: Json  # fields that are put over the operation's own
    sees: Effect | None = None  # None: an error, or the same answer as without the fields
    param: str | None = None  # of an error, as are the two below
    code: str | None = None
    http_status: int = 400
    is_error: bool = False


@dataclass(frozen=True)
class Conformance:
    """One operation of the description."""

    operation: str
    python: str  # how the SDK calls it
    rows: tuple[Row, ...]
    note: str = ""
    path: Mapping[str, str] = field(default_factory=dict)  # what stands for its parameters
    base: Json = field(default_factory=dict)  # a request that is taken, if any is
    http_status: int = 200  # of that request
    among: str = ""  # what a list is to have some of

    @property
    def node(self) -> str:
        """The same call in JavaScript."""
        return re.sub("_([a-z])", lambda found: found[1].upper(), self.python)


def works(*fields: str, text: str, sends: Json, sees: Effect) -> Row:
    return Row(fields, Status.WORKS, text, sends, sees)


def no_effect(*fields: str, text: str, sends: Json, sees: Effect | None = None) -> Row:
    """The answer is the same as without the fields, or what `sees` says."""
    return Row(fields, Status.NO_EFFECT, text, sends, sees)


def refused(
    *fields: str,
    text: str,
    sends: Json,
    param: str | None,
    code: str | None = None,
    http_status: int = 400,
) -> Row:
    return Row(fields, Status.REFUSED, text, sends, None, param, code, http_status, is_error=True)


def unknown(parameter: str, http_status: int, param: str | None, code: str | None = None) -> Row:
    """A path's parameter: what it names is found, and what isn't there is a clear error."""
    return Row(
        (parameter,),
        Status.WORKS,
        "names the object; one that isn't there is refused",
        {parameter: f"no-such-{parameter.replace('_', '-')}"},
        None,
        param,
        code,
        http_status,
        is_error=True,
    )
