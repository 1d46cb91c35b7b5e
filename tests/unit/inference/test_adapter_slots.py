from pathlib import Path

import pytest

from tunesmith.inference.adapter_slots import AdapterSlots, KnownAdapter

A, B, C = (KnownAdapter(name, Path(name)) for name in "abc")


@pytest.fixture
def two_slots() -> AdapterSlots[str]:
    return AdapterSlots(2)


def use(slots: AdapterSlots[str], adapter: KnownAdapter) -> int:
    """Pins and lets go."""
    number = slots.pin(adapter)
    slots.unpin(adapter)
    return number


def test_the_base_model_has_slot_0_and_is_always_ready(two_slots: AdapterSlots[str]) -> None:
    assert two_slots.can_pin(None)
    assert two_slots.pin(None) == 0
    assert two_slots.is_ready(None)


def test_an_adapter_keeps_its_slot(two_slots: AdapterSlots[str]) -> None:
    assert [two_slots.pin(A), two_slots.pin(B), two_slots.pin(A)] == [1, 2, 1]


def test_the_least_recently_used_leaves_first(two_slots: AdapterSlots[str]) -> None:
    use(two_slots, A)
    use(two_slots, B)
    use(two_slots, A)
    assert use(two_slots, C) == 2  # B's
    assert use(two_slots, A) == 1


def test_a_pinned_adapter_stays(two_slots: AdapterSlots[str]) -> None:
    two_slots.pin(A)
    use(two_slots, B)
    assert use(two_slots, C) == 2
    two_slots.pin(C)
    assert not two_slots.can_pin(B)
    two_slots.unpin(C)
    assert two_slots.can_pin(B)


def test_a_slot_is_pinned_as_long_as_anyone_holds_it(two_slots: AdapterSlots[str]) -> None:
    two_slots.pin(A)
    two_slots.pin(A)
    two_slots.pin(B)
    two_slots.unpin(A)
    assert not two_slots.can_pin(C)
    two_slots.unpin(A)
    assert two_slots.can_pin(C)


def test_an_adapter_is_ready_when_its_weights_are_there(two_slots: AdapterSlots[str]) -> None:
    two_slots.pin(A)
    assert not two_slots.is_ready(A)
    two_slots.place(A, "weights of a")
    assert two_slots.is_ready(A)
    assert two_slots.weights(A) == "weights of a"


def test_missing_weights_are_asked_for_once(two_slots: AdapterSlots[str]) -> None:
    two_slots.pin(A)
    assert two_slots.missing() == [A]
    assert two_slots.missing() == []


def test_an_adapter_that_left_is_asked_for_again(two_slots: AdapterSlots[str]) -> None:
    for adapter in (A, B, C):
        use(two_slots, adapter)
        two_slots.place(adapter, adapter.name)
    two_slots.pin(A)
    assert not two_slots.is_ready(A)
    assert two_slots.missing() == [A]


def test_weights_that_come_too_late_are_dropped() -> None:
    slots: AdapterSlots[str] = AdapterSlots(1)
    use(slots, A)
    use(slots, B)
    slots.place(A, "weights of a")
    slots.place(B, "weights of b")
    assert slots.weights(B) == "weights of b"


def test_a_dropped_adapter_frees_its_slot_unless_it_is_in_use(two_slots: AdapterSlots[str]) -> None:
    two_slots.pin(A)
    two_slots.drop(A)
    assert two_slots.pin(A) == 1
    use(two_slots, B)
    two_slots.drop(B)
    assert two_slots.pin(C) == 2


def test_a_name_loaded_anew_is_another_adapter(two_slots: AdapterSlots[str]) -> None:
    """Sequences under way keep the weights that they began with."""
    again = KnownAdapter("a", Path("elsewhere"))
    two_slots.pin(A)
    two_slots.place(A, "old")
    two_slots.pin(again)
    two_slots.place(again, "new")
    assert (two_slots.weights(A), two_slots.weights(again)) == ("old", "new")
