"""A trainer is killed at any instant, and what is left is what an undisturbed run leaves.

An undisturbed run is watched first: its durable writes, in their order, are where the deaths
strike. By default each kind of write is struck once, two deaths to a job; `make check-long` strikes
200 times.
"""

import os
import random
from itertools import islice

import pytest

from tests.crash.strikes import Point
from tests.crash.training import Bench, Outcome

IS_LONG = "TUNESMITH_TEST_LONG" in os.environ


@pytest.fixture(scope="session")
def undisturbed(bench: Bench) -> tuple[Outcome, list[str]]:
    """What a job leaves that nobody disturbs, and the labels of its worker's durable writes."""
    job_id = bench.create_job()
    (worker,) = bench.run(job_id)
    outcome = bench.outcome(job_id)
    bench.check_steps(outcome)
    bench.check_nothing_is_left_over()
    return outcome, worker.labels()


def test_try(bench: Bench, undisturbed) -> None:
    outcome, labels = undisturbed
    kinds = list(dict.fromkeys(labels))
    print(len(kinds), "\n".join(kinds))
    half = len(kinds) // 2
    import time
    bad = 0
    for k in range(len(kinds)):
      for when in ("before", "after"):
        job_id = bench.create_job()
        pts = [Point(kinds[k], 1+k%2, when)]
        t = time.time()
        ws = bench.run(job_id, *pts)
        print(pts, [w.was_struck for w in ws], round(time.time()-t,2))
        try:
            got = bench.outcome(job_id)
            bench.check_steps(got)
            assert got == outcome
            bench.check_nothing_is_left_over()
        except AssertionError as e:
            print("FAIL", str(e)[:1500]); bad += 1
    assert not bad
