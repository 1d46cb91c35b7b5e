"""Limits per minute, by a clock that only the test moves."""

import math
import threading

import pytest

from tunesmith.domain.meter import MIN_SWEPT, Meters, Reading


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_limit_may_be_used_at_once_and_comes_back_steadily(clock: Clock) -> None:
    meters = Meters(clock)
    readings = [meters.take("a", 1, 3) for _ in range(4)]
    assert [reading.remaining for reading in readings] == [2, 1, 0, 0]
    assert [reading.empty_in_s for reading in readings] == pytest.approx([20, 40, 60, 60])
    # OpenAI's own example: Limit 3, Used 3, Requested 1. Please try again in 20s.
    assert readings[3] == Reading(limit=3, used=3, empty_in_s=60, wait_s=pytest.approx(20))
    clock.now += 19.9
    assert meters.take("a", 1, 3).wait_s == pytest.approx(0.1)
    clock.now += 0.1
    assert meters.take("a", 1, 3).wait_s == 0


@pytest.mark.parametrize("limit", [1, 3, 7, 60, 997, 30_000, 10**12])
def test_who_waits_as_long_as_told_gets_in(clock: Clock, limit: int) -> None:
    meters = Meters(clock)
    amount = max(limit // 7, 1)
    for _ in range(200):
        reading = meters.take("a", amount, limit)
        if reading.wait_s:
            clock.now += reading.wait_s
            assert meters.take("a", amount, limit).wait_s == 0


@pytest.mark.parametrize(("limit", "amount", "every_s"), [(60, 1, 0.25), (100, 30, 1.0)])
def test_over_a_long_time_no_more_gets_in_than_the_limit(
    clock: Clock, limit: int, amount: int, every_s: float
) -> None:
    """A full minute's worth at the start comes on top, whatever the rhythm."""
    meters = Meters(clock)
    passed = 0
    for _ in range(int(600 / every_s)):
        passed += amount * (meters.take("a", amount, limit).wait_s == 0)
        clock.now += every_s
    assert 10 * limit - amount <= passed <= 11 * limit


def test_what_is_refused_is_not_counted_and_what_never_fits_is_said(clock: Clock) -> None:
    meters = Meters(clock)
    assert meters.take("a", 11, 10).wait_s == math.inf
    assert meters.take("a", 10, 10).remaining == 0


def test_a_correction_gives_back_or_takes_more(clock: Clock) -> None:
    meters = Meters(clock)
    meters.take("a", 60, 60)
    meters.correct("a", -20, 60)
    assert meters.take("a", 20, 60).remaining == 0
    meters.correct("a", 30, 60)
    assert meters.take("a", 1, 60).wait_s == pytest.approx(31)


def test_a_new_limit_holds_from_then_on(clock: Clock) -> None:
    meters = Meters(clock)
    meters.take("a", 10, 10)
    assert meters.take("a", 1, 600).wait_s == pytest.approx(0.1)


def test_memory_is_kept_only_of_who_came_within_a_minute(clock: Clock) -> None:
    meters = Meters(clock)
    for number in range(20 * MIN_SWEPT):
        meters.take(number, 1, 1)
        clock.now += 0.1  # so 600 came within a minute
    assert len(meters) <= MIN_SWEPT + 1


def test_threads_together_get_what_one_would(clock: Clock) -> None:
    meters = Meters(clock)
    passed: list[bool] = []

    def ask() -> None:
        for _ in range(500):
            passed.append(meters.take("a", 1, 1000).wait_s == 0)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(passed), sum(passed)) == (4000, 1000)
