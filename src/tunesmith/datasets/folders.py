"""Folders that are there whole or not at all, whatever dies while they are written."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED_PREFIX = ".unfinished-"


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """An empty folder to be filled. It gets its name, and its parents, when the block has ended
    well, after its bytes have reached the disk; otherwise it goes. A folder that somebody else
    gave that name in the meantime stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED_PREFIX, dir=folder.parent))
    try:
        yield unfinished
        for path in (*unfinished.iterdir(), unfinished):
            _sync(path)
        _give_name(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def sizes_of(folder: Path) -> dict[str, int]:
    """Each file in the folder with its length in bytes."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def sweep_unfinished(parent: Path) -> None:
    """Removes what writers that died left behind. One that is still at work loses its folder."""
    for path in parent.glob(f"{UNFINISHED_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def _give_name(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
