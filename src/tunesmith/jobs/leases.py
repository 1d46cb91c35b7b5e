"""Holding a job while working on it.

A lease must be renewed in time, also while one long step runs, so a thread of its own does it.
When the lease is lost (the job was cancelled, or this process was too slow and another worker
has it) `is_lost` turns true and the work stops at the next chance. It need not be quick: every
write is guarded by the fence, so a late one changes nothing. When the job's owner has paused it,
`is_paused` turns true: the work stops too, but what was done is kept.
"""

import logging
import threading
from types import TracebackType
from typing import Self

from tunesmith.domain import errors
from tunesmith.domain.jobs import JobStatus, Lease
from tunesmith.store.store import Store

log = logging.getLogger("tunesmith.worker")


class HeldLease:
    """Keeps `lease` alive for the length of a `with` block."""

    def __init__(self, store: Store, lease: Lease, ttl_s: float) -> None:
        self.lease = lease
        self._store = store
        self._ttl_s = ttl_s
        self._done = threading.Event()
        self._lost = threading.Event()
        self._paused = threading.Event()
        self._thread = threading.Thread(
            target=self._keep_alive, name=f"lease-{lease.job_id}", daemon=True
        )

    @property
    def is_lost(self) -> bool:
        return self._lost.is_set()

    @property
    def is_paused(self) -> bool:
        return self._paused.is_set()

    def see(self, status: JobStatus) -> None:
        """Told by whoever wrote something about the job and learned its status by that."""
        if status is JobStatus.PAUSED:
            self._paused.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _keep_alive(self) -> None:
        while not self._done.wait(self._ttl_s / 3):
            try:
                self.see(self._store.jobs.renew(self.lease, self._ttl_s))
            except errors.LeaseLost:
                self._lost.set()
                return
            except Exception:  # a busy database is no reason to drop the job: try again
                log.exception("could not renew the lease of %s", self.lease.job_id)
