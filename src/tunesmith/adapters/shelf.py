"""Where published adapters stand: one folder each, whole or absent.

The trainer publishes, the engine reads, the API only knows ids. A folder on the shelf never
changes, so an engine may map its files as long as it likes.
"""

import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from tunesmith.disk import UNFINISHED_PREFIX, sync

_ADAPTER_ID = re.compile(r"[0-9A-Za-z]{8}")


class AdapterShelf:
    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, adapter_id: str) -> Path:
        """Where this adapter is, or would be."""
        assert _ADAPTER_ID.fullmatch(adapter_id), f"{adapter_id!r} is not an adapter id"
        return self._root / adapter_id

    def published_before(self, timestamp: float) -> list[str]:
        """The ids of all adapters that were there at that time (seconds since the epoch)."""
        found = []
        for folder in self._root.glob("*"):
            with suppress(FileNotFoundError):
                if _ADAPTER_ID.fullmatch(folder.name) and folder.stat().st_mtime < timestamp:
                    found.append(folder.name)
        return found

    def publish(self, adapter_id: str, source_folder: Path) -> Path:
        """A copy of `source_folder` under this id; one that is there already stays as it is.

        It appears by one rename, after its bytes have reached the disk: a crash at any moment
        leaves it there whole or not at all, and publishing again is safe.
        """
        target = self.path(adapter_id)
        if target.is_dir():
            return target
        self._root.mkdir(parents=True, exist_ok=True)
        sync(self._root.parent)
        unfinished = self._unfinished(adapter_id)
        try:
            _copy_to_disk(source_folder, unfinished)
            unfinished.rename(target)
            sync(self._root)
        except OSError:
            # Somebody else may have published the same id meanwhile, and have swept ours away.
            if not target.is_dir():
                raise
        finally:
            self._sweep(adapter_id)
        return target

    def remove(self, adapter_id: str) -> None:
        """Takes the adapter away, if it is there."""
        target = self.path(adapter_id)
        if target.is_dir():
            with suppress(FileNotFoundError):  # somebody else was quicker
                target.rename(self._unfinished(adapter_id))
            self._sweep(adapter_id)

    def sweep(self, timestamp: float) -> None:
        """Removes what publishers and removers that died before that time left half done."""
        for folder in self._root.glob(f"{UNFINISHED_PREFIX}*"):
            with suppress(FileNotFoundError):
                if folder.stat().st_mtime < timestamp:
                    shutil.rmtree(folder, ignore_errors=True)

    def _unfinished(self, adapter_id: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{UNFINISHED_PREFIX}{adapter_id}-", dir=self._root))

    def _sweep(self, adapter_id: str) -> None:
        """Removes what publishing or removing this adapter left half done, now or in a crash."""
        for folder in self._root.glob(f"{UNFINISHED_PREFIX}{adapter_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)


def _copy_to_disk(source_folder: Path, target_folder: Path) -> None:
    for file in sorted(source_folder.iterdir()):
        shutil.copyfile(file, target_folder / file.name)
        sync(target_folder / file.name)
    sync(target_folder)
