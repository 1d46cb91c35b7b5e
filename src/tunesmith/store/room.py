"""A full disk, in the words of each library that may meet it, is one error of ours."""

import errno
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from tunesmith.domain import errors

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SQLITE_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
_IN_RUST = re.compile(rf"\(os error ({_FULL[0]}|{_FULL[1]})\)")  # obstore, safetensors


@contextmanager
def full_disk_told() -> Iterator[None]:
    """Raises StorageFull where the block failed for lack of room."""
    try:
        yield
    except Exception as error:  # of several libraries; anything else passes as it is
        if isinstance(error, errors.TunesmithError) or not is_full(error):
            raise
        raise errors.StorageFull(
            "The service's disk is full: nothing of this request was kept. Try again later; the "
            "service's operator has to make room."
        ) from error


def is_full(error: BaseException) -> bool:
    """Whether this is what a library raises when the disk (or a quota on it) is full."""
    error = getattr(error, "orig", None) or error  # SQLAlchemy's wrapping
    if isinstance(error, errors.StorageFull):
        return True
    if isinstance(error, OSError):
        return error.errno in _FULL
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) in _SQLITE_FULL
    return _IN_RUST.search(str(error)) is not None
