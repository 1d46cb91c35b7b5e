"""Bytes that clients sent or that we made, kept under keys of our own making.

A blob is there whole or not at all: obstore writes a staged file beside the key and renames
it. It doesn't sync to the disk, so `put_file` and `join` do that afterwards: when they return,
the blob survives a power failure, and the row that names it may be written. A blob without a row,
left by a process that died in between, is swept up later (`files.py`).
"""

import contextlib
import hashlib
import io
import re
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

import obstore
from obstore.store import LocalStore

from tunesmith.disk import sync
from tunesmith.domain import errors
from tunesmith.store.room import full_disk_told

KEY = re.compile(r"[a-z-]+/[A-Za-z0-9_-]+")

# What is held in memory of a blob that is being written: at most PART_BYTES * (PARTS + 1).
PART_BYTES = 4 * 2**20
PARTS = 2
READ_BYTES = 2**20


def file_blob_key(file_id: str) -> str:
    """Where a file's bytes go; nothing of the client's is in it."""
    return f"files/{file_id}"


def part_blob_key(part_id: str) -> str:
    """Where the bytes of an upload's part go."""
    return f"parts/{part_id}"


class Blobs:
    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._store = LocalStore(root, mkdir=True)
        sync(root.parent)

    @property
    def root(self) -> Path:
        """For another process that is to open the same blobs."""
        return self._root

    def put_file(self, key: str, source: BinaryIO) -> int:
        """Reads `source` from where it stands to its end, a part at a time; gives back the
        number of bytes. Raises StorageFull."""
        with full_disk_told():
            obstore.put(
                self._store,
                _checked(key),
                source,
                use_multipart=True,  # else a source that can't say its size is read whole
                chunk_size=PART_BYTES,
                max_concurrency=PARTS,
            )
            self._sync(key)
        return self.size(key)

    def put_bytes(self, key: str, content: bytes) -> int:
        return self.put_file(key, io.BytesIO(content))

    def join(self, key: str, parts: Iterable[str]) -> str:
        """Writes the bytes of the blobs `parts`, one after the other, as one blob; gives back
        their MD5, in hex. NotFound if there is no such part."""
        digest = hashlib.md5(usedforsecurity=False)
        # Not `put_file` with a source of our own: obstore can't read while it asks for more.
        with obstore.open_writer(
            self._store, _checked(key), buffer_size=PART_BYTES, max_concurrency=PARTS
        ) as target:
            for part in parts:
                with self.open(part) as source:
                    while chunk := source.read(READ_BYTES):
                        digest.update(chunk)
                        target.write(chunk)
        self._sync(key)
        return digest.hexdigest()

    def open(self, key: str) -> BinaryIO:
        """A buffered, seekable reader; NotFound if there is no such blob."""
        reader = _Reader(self._store, key, self.size(key))
        return cast(BinaryIO, io.BufferedReader(reader, READ_BYTES))

    def stream(self, key: str, chunk_bytes: int = READ_BYTES) -> Iterator[bytes]:
        """The blob in chunks of about `chunk_bytes`; NotFound, before the first one, if there
        is no such blob."""
        try:
            found = obstore.get(self._store, _checked(key))
        except FileNotFoundError as error:
            raise _gone() from error
        return (bytes(chunk) for chunk in found.stream(chunk_bytes))

    def size(self, key: str) -> int:
        try:
            return obstore.head(self._store, _checked(key))["size"]
        except FileNotFoundError as error:
            raise _gone() from error

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except errors.NotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        """Idempotent."""
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, _checked(key))

    def written_before(self, moment: datetime) -> Iterator[str]:
        """The keys of all blobs that were whole before `moment`."""
        for page in obstore.list(self._store):
            for found in page:
                if found["last_modified"] < moment:
                    yield found["path"]

    def delete_staged(self, min_age_s: float) -> None:
        """Removes what writers that died left of blobs that never became whole."""
        newest = time.time() - min_age_s
        for path in self._root.glob("*/*#*"):
            if path.stat().st_mtime < newest:
                path.unlink(missing_ok=True)

    def _sync(self, key: str) -> None:
        """The bytes, their name in the folder, and the folder's name in ours."""
        path = self._root / key
        for place in (path, path.parent, self._root):
            sync(place)


class _Reader(io.RawIOBase):
    """A blob as an unbuffered file, any store's."""

    def __init__(self, store: LocalStore, key: str, size_bytes: int) -> None:
        self._store = store
        self._key = key
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}
        position = start[whence] + offset
        if position < 0:
            raise ValueError(f"can't seek to {position}, before the start")
        self._position = position
        return position

    def readall(self) -> bytes:
        content = bytearray(max(0, self._size_bytes - self._position))
        self.readinto(memoryview(content))
        return bytes(content)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer
        length = min(len(buffer), self._size_bytes - self._position)
        if length <= 0:  # obstore refuses an empty range
            return 0
        try:
            part = obstore.get_range(self._store, self._key, start=self._position, length=length)
        except FileNotFoundError as error:
            raise _gone() from error
        buffer[:length] = memoryview(part)
        self._position += length
        return length


def _checked(key: str) -> str:
    assert KEY.fullmatch(key), f"{key!r} is not a blob key of ours"
    return key


def _gone() -> errors.NotFound:
    return errors.NotFound("The content of this file is no longer there.")
