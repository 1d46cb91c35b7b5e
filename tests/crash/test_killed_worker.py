"""A trainer is killed at any instant, and what is left is what an undisturbed run leaves.

An undisturbed run is watched first: its durable writes are where the deaths strike. A default run
strikes at least 20 times: each kind of write, and four times by the clock. `make check-long`
strikes 200 times and draws its points anew each time; the seed is in the names of the tests.
"""

import os
import random
from collections.abc import Iterator

import pytest

from tests.crash.strikes import Point
from tests.crash.training import Bench, Outcome

IS_LONG = "CHECK_LONG" in os.environ
NUM_DEATHS = 140 if IS_LONG else 16  # or more: see `points`
WHEN = ("before", "after")
SEED = int(os.environ.get("CRASH_SEED") or (random.randrange(10**6) if IS_LONG else 1))


def kind(label: str) -> str:
    """Commits differ by what they write, everything else by what is done in which folder."""
    verb, place = label.split(maxsplit=1)
    return label if verb == "commit" else f"{verb} {place.split('/')[0]}"


def points(labels: list[str], seed: int, num_deaths: int) -> Iterator[tuple[Point, Point]]:
    """Two deaths of a job, the second one further on in its life. First a place in each kind of
    write in turn, then any place."""
    draw = random.Random(seed)
    kinds: dict[str, list[int]] = {}
    for place, label in enumerate(labels):
        kinds.setdefault(kind(label), []).append(place)
    places = [draw.choice(of_kind) for of_kind in kinds.values()]
    draw.shuffle(places)
    places += [draw.randrange(len(labels)) for _ in range(num_deaths - len(places))]
    for pair in zip(places[0::2], places[1::2], strict=False):
        first, second = sorted(pair)
        # The second worker begins where the first one fell, so it counts from there.
        nth = labels[first : second + 1].count(labels[second])
        yield (
            Point(labels[first], labels[: first + 1].count(labels[first]), draw.choice(WHEN)),
            Point(labels[second], nth, draw.choice(WHEN)),
        )


def check(bench: Bench, job_id: str, undisturbed: Outcome) -> None:
    outcome = bench.outcome(job_id)
    bench.check_steps(outcome)
    assert outcome == undisturbed
    bench.check_nothing_is_left_over()


@pytest.mark.parametrize("seed", [SEED])
def test_deaths_at_every_kind_of_write_leave_no_trace(
    bench: Bench, undisturbed: tuple[Outcome, list[str]], seed: int
) -> None:
    outcome, labels = undisturbed
    num_struck = num_meant = 0
    for pair in points(labels, seed, NUM_DEATHS):
        print(*pair)
        job_id = bench.create_job()
        workers = bench.run(job_id, *pair)
        num_struck += sum(worker.was_struck for worker in workers)
        num_meant += 2
        check(bench, job_id, outcome)
    # By the clock, some writes come a little earlier or later, or not at all.
    assert num_struck > 0.7 * num_meant


@pytest.mark.parametrize("seed", range(SEED, SEED + (15 if IS_LONG else 2)))
def test_deaths_at_any_moment_leave_no_trace(
    bench: Bench, undisturbed: tuple[Outcome, list[str]], seed: int
) -> None:
    outcome, _ = undisturbed
    draw = random.Random(seed)
    job_id = bench.create_job()
    bench.run(job_id, draw.uniform(0.0, 0.6), draw.uniform(0.0, 0.6))
    check(bench, job_id, outcome)


def test_two_deaths_in_a_row_at_the_same_write_leave_no_trace(
    bench: Bench, undisturbed: tuple[Outcome, list[str]]
) -> None:
    """A third one would be the job's end: whoever kills its trainer again and again is given up."""
    outcome, labels = undisturbed
    (publishing,) = {label for label in labels if label.endswith("-> adapters/ADAPTER")}
    job_id = bench.create_job()
    workers = bench.run(job_id, Point(publishing), Point(publishing))
    assert [worker.was_struck for worker in workers] == [True, True, False]
    check(bench, job_id, outcome)


@pytest.mark.parametrize(
    ("end", "when"),
    [
        ("-> runs/JOB/STEP", "after"),
        ("-> adapters/ADAPTER", "after"),
        ("insert checkpoints, insert tuned_models", "after"),
        ("insert files, insert events", "after"),
    ],
)
def test_power_failure_leaves_no_trace(
    bench: Bench, undisturbed: tuple[Outcome, list[str]], end: str, when: str
) -> None:
    """What was not forced to the disk is lost: contents are cut, names are gone."""
    outcome, labels = undisturbed
    label = next(label for label in labels if label.endswith(end))
    job_id = bench.create_job()
    worker, *_ = bench.run(job_id, Point(label, when=when), cut=True)
    assert worker.was_struck
    check(bench, job_id, outcome)


def test_third_death_without_progress_fails_the_job(bench: Bench) -> None:
    label = "commit update jobs(fence,num_crashes,status), insert events"
    job_id = bench.create_job()
    bench.run(job_id, Point(label), Point(label), Point(label))
    job = bench.job(job_id)
    assert job.error
    assert job.error.code == "trainer_crashed"
    bench.check_nothing_is_left_over()
