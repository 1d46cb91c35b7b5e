"""Several processes on one store, and what is left when one is killed."""

import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.store.builders import OURS, FixedClock, a_job, add_job
from tunesmith.domain.jobs import JobStatus, NewEvent
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


def test_cancel_stops_a_worker_in_another_process(store: Store, start: Start) -> None:
    add_job(store, a_job())
    process = start("record_until_cancelled", "worker-1")
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    assert store.jobs.cancel(OURS, "ftjob-1") is not None
    num_events = len(store.events.page("ftjob-1", limit=100_000).items)
    assert process.communicate(timeout=30)[0] == "lost\n"
    assert len(store.events.page("ftjob-1", limit=100_000).items) == num_events
