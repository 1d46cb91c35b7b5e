"""Room at a remote engine: who floods it refuses itself, others still find some."""

from contextlib import ExitStack

import pytest

from tunesmith.api.engine_room import EngineRoom
from tunesmith.domain import errors


def test_a_tenant_that_takes_all_it_can_leaves_room_for_the_next() -> None:
    room = EngineRoom(size=60)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(room.taken("greedy", 10))
        with pytest.raises(errors.RateLimited), room.taken("greedy", 10):
            pass
        held.enter_context(room.taken("modest", 10))
        with pytest.raises(errors.RateLimited), room.taken("greedy", 1):
            pass
    with room.taken("greedy", 30):  # what has ended was given back
        pass


def test_room_that_all_have_filled_together_is_nobodys_fault() -> None:
    room = EngineRoom(size=10)
    with ExitStack() as held:
        for number, amount in enumerate((5, 2, 1, 1)):
            held.enter_context(room.taken(str(number), amount))
        with pytest.raises(errors.Unavailable), room.taken("late", 1):
            pass


def test_what_fails_gives_its_room_back() -> None:
    room = EngineRoom(size=8)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), room.taken("one", 4):
            _ = 1 / 0
