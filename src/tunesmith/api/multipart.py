"""A multipart body, read part by part as it arrives, never held as a whole.

The parser pushes, the route wants to pull: it reads small fields into memory and hands a file's
bytes on to the blob store, wherever in the body the file comes. Between the two is a queue that
holds what one network read brought.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tunesmith.domain import errors

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

END_OF_PART = b""

# The parser warns of each form that it can't read: anybody could fill the disk with that.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True)
class Part:
    name: str
    filename: str | None  # as the client sent it; None for a plain field


class MultipartReader:
    """Raises InvalidRequest for a body that isn't what its content type says."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._queue: deque[Part | bytes] = deque()
        self._is_complete = False
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise errors.InvalidRequest(
                "Send the file as multipart/form-data, its boundary in the Content-Type header."
            )
        try:
            self._parser = MultipartParser(options[b"boundary"], self._callbacks())
        except FormParserError as error:
            raise _malformed(error) from error

    async def next_part(self) -> Part | None:
        """The next part, None after the last one. What was left unread of a part is skipped."""
        while await self._has_more():
            item = self._queue.popleft()
            if isinstance(item, Part):
                return item
        return None

    async def read(self) -> bytes:
        """The next bytes of the current part; empty at its end."""
        if not await self._has_more():
            return END_OF_PART
        item = self._queue.popleft()
        assert isinstance(item, bytes), "a part's end comes before the next part"
        return item

    async def _has_more(self) -> bool:
        while not self._queue:
            chunk = await anext(self._body, None)
            if chunk is None:
                if not self._is_complete:
                    raise errors.InvalidRequest("The multipart body ends before its last boundary.")
                return False
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise _malformed(error) from error
        return True

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._disposition = b""
        filename = options.get(b"filename")
        self._queue.append(
            Part(
                name=_text(options.get(b"name", b"")),
                filename=None if filename is None else _text(filename),
            )
        )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self._queue.append(data[start:end])

    def _on_part_end(self) -> None:
        self._queue.append(END_OF_PART)

    def _on_end(self) -> None:
        self._is_complete = True


def _text(raw: bytes) -> str:
    """Names are UTF-8 nearly always; what isn't can still be shown."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _malformed(error: FormParserError) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"The multipart body can't be read: {error}.")
