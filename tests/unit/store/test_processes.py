"""Several processes on one store, and what is left when one is killed."""

import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.store.builders import OURS, FixedClock, a_job, add_job, add_part
from tunesmith.domain.jobs import JobStatus, NewEvent
from tunesmith.domain.uploads import UploadStatus
from tunesmith.store.store import Store

ROOT = Path(__file__).parents[3]
TEN_YEARS_S = 86_400 * 365 * 10  # beyond any lease of a process with a real clock

Start = Callable[[str, str], "subprocess.Popen[str]"]


@pytest.fixture
def start(data_dir: Path) -> Iterator[Start]:
    """Starts a function of `processes.py` in a process of its own, by a worker's name."""
    started: list[subprocess.Popen[str]] = []

    def start_one(name: str, worker: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.unit.store.processes", name, data_dir, worker]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def test_no_job_is_given_to_two_processes(store: Store, start: Start) -> None:
    """100 jobs, two processes that begin together: each job is taken once. A false pass would need
    the two never to overlap; each is seen to have taken some."""
    for number in range(100):
        add_job(store, a_job(f"ftjob-{number}"))
    processes = [start("claim_all", f"worker-{number}") for number in (1, 2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = [process.communicate(timeout=60)[0].split() for process in processes]
    assert all(taken)
    assert Counter(taken[0] + taken[1]) == Counter(f"ftjob-{number}" for number in range(100))
    for number in range(100):
        assert len(store.events.page(f"ftjob-{number}", limit=5).items) == 1


def test_killed_process_loses_nothing_that_it_wrote(
    store: Store, data_dir: Path, start: Start, clock: FixedClock
) -> None:
    """Killed in the middle of writing: every event that was reported is there, the next worker gets
    the job, and the dead one's lease is worth nothing."""
    add_job(store, a_job())
    process = start("record_for_ever", "worker-1")
    assert process.stdout is not None
    reported = [int(process.stdout.readline()) for _ in range(30)]
    process.kill()
    reported += [int(line) for line in process.communicate()[0].splitlines()]

    events = store.events.page("ftjob-1", limit=100_000).items
    written = [int(event.message) for event in events][::-1]
    assert written in (reported, [*reported, len(reported)]), "the last may be written, not told"

    with sqlite3.connect(data_dir / "tunesmith.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()

    clock.advance(TEN_YEARS_S)
    claimed = store.jobs.claim("worker-2", [JobStatus.VALIDATING_FILES], ttl_s=600)
    assert claimed is not None
    store.jobs.record(claimed[1], [NewEvent("again", once="0"), NewEvent("on")])
    assert store.events.page("ftjob-1", limit=1).items[0].message == "on"


@pytest.mark.parametrize("num_lines", [1, 22, 38, 54])
def test_killed_process_loses_no_upload_that_it_told_of(
    store: Store, clock: FixedClock, start: Start, num_lines: int
) -> None:
    """Killed anywhere between two durable writes: each upload is pending with all parts that
    were told, or completed with its file, and the pending one can go on."""
    clock.now = datetime.now(UTC)
    process = start("upload_for_ever", "worker")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(num_lines)]
    process.kill()
    lines += process.communicate()[0].splitlines(keepends=True)
    told = Counter(tuple(line.split()) for line in lines if line.endswith("\n"))

    last = max(int(id.rpartition("_")[2]) for _, id in told)
    for number in range(last + 1):
        id = f"upload_worker_{number}"
        content = f"{number:09}".encode()
        upload = store.uploads.find(OURS, id)
        assert upload is not None
        assert told["completed", id] <= (upload.status is UploadStatus.COMPLETED)
        part_ids = [f"part_worker_{number}_{position}" for position in range(3)]
        if upload.status is UploadStatus.PENDING:
            assert number == last
            num_parts = told["part", id]
            for part_id, cut in list(zip(part_ids, cuts(content), strict=True))[num_parts:]:
                # The next one may be there, untold: a client would send it again, as this one.
                add_part(store, f"{part_id}_again", id, cut)
            part_ids = part_ids[:num_parts] + [f"{one}_again" for one in part_ids[num_parts:]]
        completed = store.uploads.complete(OURS, id, part_ids)
        assert completed is not None
        assert completed.file_id is not None
        file = store.files.find(OURS, completed.file_id)
        assert file is not None
        assert b"".join(store.blobs.stream(file.blob_key)) == content
    assert len(store.files.page(OURS, limit=1000).items) == last + 1


def cuts(content: bytes) -> tuple[bytes, bytes, bytes]:
    return content[:2], content[2:3], content[3:]


def test_cancel_stops_a_worker_in_another_process(store: Store, start: Start) -> None:
    add_job(store, a_job())
    process = start("record_until_cancelled", "worker-1")
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    assert store.jobs.cancel(OURS, "ftjob-1") is not None
    num_events = len(store.events.page("ftjob-1", limit=100_000).items)
    assert process.communicate(timeout=30)[0] == "lost\n"
    assert len(store.events.page("ftjob-1", limit=100_000).items) == num_events
