"""A form with a file in it, the file's bytes on their way into the blob store.

Nothing of the file is known before it is read: it may come before the fields that say what it is
for. So its bytes go to the store as they arrive, and are taken back if the rest of the form can't
be used.
"""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from anyio import to_thread
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from tunesmith.api.bodies import limited, too_large
from tunesmith.api.context import Services
from tunesmith.api.multipart import MultipartReader
from tunesmith.domain import errors

DEFAULT_FILENAME = "file"
MAX_FIELD_BYTES = 64 * 1024
MAX_NUM_FIELDS = 32
FORM_BYTES = 1024 * 1024  # that a body may have beside its file


@dataclass
class ReceivedForm:
    """What a form brought. `size_bytes` is None if there was no file in it."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str = DEFAULT_FILENAME
    size_bytes: int | None = None
    digest: str = ""  # BLAKE2b of the file's bytes, hex

    def content(self) -> str:
        """All that the form says, as text: equal forms have equal ones."""
        return json.dumps([sorted(self.fields.items()), self.filename, self.digest])

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Raises InvalidRequest if there is a field that isn't `known`."""
        unknown = sorted(self.fields.keys() - set(known))
        if unknown:
            raise errors.InvalidRequest(
                f"Additional properties are not allowed ('{unknown[0][:100]}' was unexpected)"
            )

    def required_size(self, file_field: str) -> int:
        """The file's size. Raises InvalidRequest if there was no file."""
        if self.size_bytes is None:
            raise errors.InvalidRequest(f"'{file_field}' is a required property")
        return self.size_bytes


@asynccontextmanager
async def received_form(
    request: Request, services: Services, file_field: str, blob_key: str, max_bytes: int
) -> AsyncIterator[ReceivedForm]:
    """The form of a request, the bytes of the file `file_field` in the blob `blob_key`; if the
    block refuses the form, they are deleted. Raises PayloadTooLarge, InvalidRequest."""
    body = limited(request, max_bytes + FORM_BYTES)
    reader = MultipartReader(request.headers.get("content-type", ""), body)
    received = ReceivedForm()
    try:
        while (part := await reader.next_part()) is not None:
            is_file = part.name == file_field
            if part.name in received.fields or (is_file and received.size_bytes is not None):
                raise errors.InvalidRequest(
                    f"The form has the field '{part.name[:100]}' more than once."
                )
            if is_file:
                received.filename = part.filename or DEFAULT_FILENAME
                received.size_bytes, received.digest = await _store(
                    reader, services, blob_key, max_bytes
                )
            else:
                received.fields[part.name] = await _field(reader, part.name)
            if len(received.fields) > MAX_NUM_FIELDS:
                raise errors.InvalidRequest("The form has too many fields.")
        yield received
    except (errors.TunesmithError, ClientDisconnect):
        # Not after any other exception: the row may have been written. If not, it's swept up.
        await run_in_threadpool(services.store.blobs.delete, blob_key)
        raise


async def _store(
    reader: MultipartReader, services: Services, blob_key: str, max_bytes: int
) -> tuple[int, str]:
    """The file's size and digest."""
    source = _PartSource(reader, asyncio.get_running_loop(), max_bytes)
    try:
        size_bytes = await to_thread.run_sync(
            services.store.blobs.put_file,
            blob_key,
            cast(BinaryIO, source),
            limiter=services.upload_threads,
        )
    except OSError as error:
        # The blob store reports whatever reading raised as an error of its own.
        raise source.failure or error from error
    return size_bytes, source.digest.hexdigest()


async def _field(reader: MultipartReader, name: str) -> str:
    value = b""
    while chunk := await reader.read():
        value += chunk
        if len(value) > MAX_FIELD_BYTES:
            raise errors.InvalidRequest(f"The field '{name[:100]}' is too long.", param=name[:100])
    return value.decode(errors="replace")


class _PartSource(io.RawIOBase):
    """The current part as a plain file, for code that runs in another thread."""

    def __init__(
        self, reader: MultipartReader, loop: asyncio.AbstractEventLoop, max_bytes: int
    ) -> None:
        self._reader = reader
        self._loop = loop
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._rest = b""
        self.digest = hashlib.blake2b()  # twice as fast as SHA-256
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, fewer if fewer have arrived; empty at the end."""
        if not self._rest:
            self._rest = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            self.digest.update(self._rest)
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return taken

    async def _next(self) -> bytes:
        try:
            chunk = await self._reader.read()
            self._num_bytes += len(chunk)
            if self._num_bytes > self._max_bytes:
                raise too_large(self._max_bytes)
        except (errors.TunesmithError, ClientDisconnect) as error:
            self.failure = error
            raise
        return chunk
