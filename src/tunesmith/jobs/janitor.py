"""Takes away what nobody needs any more: once at the start, then every now and then.

Nothing else deletes adapters or snapshots, so there is one place that decides what is still
needed. Everything here can be done at any time and twice; what is young is left alone, for its
row may be about to be written.
"""

import logging
import shutil
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.domain import errors
from tunesmith.store.blobs import file_blob_key
from tunesmith.store.files import SWEEP_AGE
from tunesmith.store.store import Store

log = logging.getLogger("tunesmith.worker")

INTERVAL_S = 600.0
MIN_AGE = timedelta(minutes=10)
REPORT_AGE_S = 24 * 3600.0


class Janitor:
    def __init__(
        self,
        store: Store,
        shelf: AdapterShelf,
        runs_folder: Path,
        reports_folder: Path,
        *,
        min_age: timedelta = MIN_AGE,
        min_blob_age: timedelta = SWEEP_AGE,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._runs_folder = runs_folder
        self._reports_folder = reports_folder
        self._min_age_s = min_age.total_seconds()
        self._min_blob_age = min_blob_age
        self._next_round = float("-inf")

    def tidy(self) -> None:
        """A round, if one is due. A full or broken disk is no reason to stop working."""
        if time.monotonic() < self._next_round:
            return
        self._next_round = time.monotonic() + INTERVAL_S
        newest = time.time() - self._min_age_s
        try:
            num_uploads = self._store.uploads.sweep()
            num_blobs = self._store.files.sweep(self._min_blob_age)
            self._store.answered.sweep()
            num_completions = self._store.stored_completions.sweep()
            num_runs = self._remove_ended_runs(newest)
            num_adapters = self._remove_unused_adapters(newest)
            self._remove_old_reports()
        except (OSError, errors.StorageFull):
            log.exception("could not sweep everything up; trying again later")
            return
        if num_uploads or num_blobs or num_completions or num_runs or num_adapters:
            log.info(
                "swept up %d uploads, %d blobs, %d stored completions, %d adapters and the "
                "snapshots of %d jobs",
                *(num_uploads, num_blobs, num_completions, num_adapters, num_runs),
            )

    def _remove_ended_runs(self, newest: float) -> int:
        """A run's folder is made after its job, so one without an unfinished job has ended."""
        folders = []
        for folder in self._runs_folder.glob("*"):
            with suppress(FileNotFoundError):
                if folder.stat().st_mtime < newest:
                    folders.append(folder)
        unfinished = self._store.jobs.unfinished()
        ended = [folder for folder in folders if folder.name not in unfinished]
        for folder in ended:
            shutil.rmtree(folder, ignore_errors=True)
        return len(ended)

    def _remove_old_reports(self) -> None:
        """Those of files that are gone, since they quote them, and those of a day ago, which can be
        made again."""
        for folder in self._reports_folder.glob("*"):
            with suppress(FileNotFoundError):
                is_old = folder.stat().st_mtime < time.time() - REPORT_AGE_S
                if is_old or not self._store.blobs.exists(file_blob_key(folder.name)):
                    shutil.rmtree(folder, ignore_errors=True)

    def _remove_unused_adapters(self, newest: float) -> int:
        """Those of deleted models and of checkpoints that made room for later ones."""
        published = self._shelf.published_before(newest)
        unused = set(published) - self._store.tuned_models.adapters_in_use()
        for adapter_id in unused:
            self._shelf.remove(adapter_id)
        self._shelf.sweep(newest)
        return len(unused)
