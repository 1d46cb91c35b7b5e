"""What is on the disk whole or not at all, whatever dies while it is written.

Bytes and names outlast a power failure once they have been forced to the disk: a file's bytes
first, then the name that it has in its folder.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED_PREFIX = ".unfinished-"  # of folders that are being written, or removed


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """An empty folder to be filled. It gets its name, and its parents, when the block has ended
    well, after its bytes have reached the disk; otherwise it goes. A folder that somebody else
    gave that name in the meantime stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED_PREFIX, dir=folder.parent))
    try:
        yield unfinished
        for path in (*unfinished.rglob("*"), unfinished):
            sync(path)
        _give_name(unfinished, folder)
    finally:  # half a folder must not fill up a disk that is full already
        shutil.rmtree(unfinished, ignore_errors=True)


def remove_whole(folder: Path) -> None:
    """In two moves, so that a crash in between leaves no half of it under its name."""
    doomed = Path(tempfile.mkdtemp(prefix=UNFINISHED_PREFIX, dir=folder.parent))
    shutil.rmtree(folder.rename(doomed))


def sweep_unfinished(parent: Path) -> None:
    """Removes what writers that died left behind. One that is still at work loses its folder."""
    for path in parent.glob(f"{UNFINISHED_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def sizes_of(folder: Path, *, without: str) -> dict[str, int]:
    """Each file under `folder` with its length in bytes; `without` is the one that keeps them, to
    tell later whether all is there."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != without
    }


def sync(path: Path) -> None:
    """Forces a file's bytes, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give_name(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    sync(folder.parent)
