"""What `test_processes.py` runs in processes of their own, by a function's name."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.unit.store.builders import ERROR, OURS, add_part, an_upload
from tunesmith.domain import errors
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import JobStatus, NewEvent
from tunesmith.domain.uploads import LIFETIME
from tunesmith.store.store import Store, open_store


def claim_all(store: Store, worker: str) -> None:
    """On a line from the test takes jobs until there are none, writes to each, prints their ids."""
    print("ready", flush=True)
    sys.stdin.readline()
    while claimed := store.jobs.claim(worker, [JobStatus.VALIDATING_FILES], ttl_s=600):
        job, lease = claimed
        store.jobs.record(lease, [NewEvent(f"taken by {worker}")])
        store.jobs.move(lease, JobStatus.FAILED, error=ERROR)
        print(job.id, flush=True)


def record_for_ever(store: Store, worker: str) -> None:
    """Takes one job and prints each event's number after the event was written."""
    claimed = store.jobs.claim(worker, [JobStatus.VALIDATING_FILES], ttl_s=600)
    assert claimed is not None
    number = 0
    while True:
        store.jobs.record(claimed[1], [NewEvent(str(number), once=str(number))])
        print(number, flush=True)
        number += 1


def record_until_cancelled(store: Store, worker: str) -> None:
    claimed = store.jobs.claim(worker, [JobStatus.VALIDATING_FILES], ttl_s=600)
    assert claimed is not None
    print("claimed", flush=True)
    try:
        while True:
            store.jobs.record(claimed[1], [NewEvent("step")])
    except errors.LeaseLost:
        print("lost", flush=True)


def upload_for_ever(store: Store, worker: str) -> None:
    """Makes one upload after the other, each of three parts, and prints each thing that a client
    would have been told: what it did, and to which upload."""
    number = 0
    while True:
        id = f"upload_{worker}_{number}"
        now = datetime.now(UTC)
        content = f"{number:09}".encode()
        store.uploads.add(an_upload(id, created_at=now, expires_at=now + LIFETIME, size_bytes=9))
        print("created", id, flush=True)
        cuts = enumerate((content[:2], content[2:3], content[3:]))
        part_ids = []
        for position, cut in cuts:
            part_ids.append(add_part(store, f"part_{worker}_{number}_{position}", id, cut))
            print("part", id, flush=True)
        store.uploads.complete(OURS, id, part_ids)
        print("completed", id, flush=True)
        number += 1


if __name__ == "__main__":
    name, data_dir, worker = sys.argv[1:]
    store = open_store(Path(data_dir), ids=Ids(), clock=lambda: datetime.now(UTC))
    globals()[name](store, worker)
    store.close()
